"""The network of a run: its weights, runtime and converted model, resolved once, on the driver."""

from __future__ import annotations

from dataclasses import dataclass, replace

from elodin_spark.config.mistakes import of_network
from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.fingerprints.labels import check_labels
from elodin_spark.fingerprints.runtimes.base import NetworkSpec, RuntimeName
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.runtimes.selection import choose_runtime, model_for
from elodin_spark.fingerprints.weights.resolve import resolve_settings
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.provenance import joined_id, network_id


@dataclass(frozen=True)
class ResolvedNetwork:
    """What the stages of a run have to know of its network.

    Attributes
    ----------
    settings : FingerprintsSettings
        Of which runtime and precision are not ``auto``.
    weights : Weights
    model : ModelFile or None
        The converted network, where the runtime reads one in place of the weights.
    joined : tuple of ResolvedNetwork
        The further networks, each alone, whose vectors are joined to those of this one.
    """

    settings: FingerprintsSettings
    weights: Weights
    model: ModelFile | None = None
    joined: tuple[ResolvedNetwork, ...] = ()

    @property
    def parts(self) -> tuple[ResolvedNetwork, ...]:
        """Each network alone, the first first."""
        return (replace(self, settings=self.settings.parts[0], joined=()), *self.joined)

    @property
    def runtime(self) -> RuntimeName:
        """What runs it."""
        return self.settings.runtime  # type: ignore[return-value]  # not auto

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits: see :func:`elodin_spark.provenance.network_id`."""
        settings, model = self.settings, self.model
        if self.joined:
            return joined_id([part.name for part in self.parts], settings.factors)
        return network_id(
            self.weights.sha256,
            settings.arithmetic,
            self.runtime,
            None if model is None else model.sha256,
            settings.layer,
            settings.augmentations,
        )

    def untransformed(self) -> ResolvedNetwork:
        """The same network, whose vectors, and classes or units, are its own."""
        plain = self.settings.untransformed()
        if self.settings.labels == "units":
            plain = plain.model_copy(update={"labels": "units"})
        return replace(self, settings=plain)

    def networks(self) -> tuple[NetworkSpec, ...]:
        """What each network is built from in a worker, the first's first."""
        return tuple(
            NetworkSpec(
                part.weights,
                part.settings.backbone,
                part.settings.input_px,
                part.settings.batch_size,
                part.settings.threads,
                part.runtime,
                part.settings.arithmetic,
                part.model,
                part.settings.layer,
                part.settings.augmentations,
            )
            for part in self.parts
        )


def resolve_network(
    settings: FingerprintsSettings, weights: Weights | None = None, before: str | None = None
) -> ResolvedNetwork:
    """Choose the runtime of a network, and convert it where that wants it.

    Parameters
    ----------
    settings : FingerprintsSettings
    weights : Weights, optional
        Those that the settings name; resolved by default.
    before : str, optional
        Runtime that earlier vectors of the same catalog were made with; ``auto`` stays with it.

    Returns
    -------
    ResolvedNetwork

    Raises
    ------
    ConfigError
        Labels are to be classes, and the weights have no head. Else as
        :func:`~elodin_spark.fingerprints.runtimes.selection.choose_runtime` and
        :func:`~elodin_spark.fingerprints.runtimes.selection.model_for`.
    WeightsError, MissingDependencyError
        Likewise.
    """
    weights = resolve_settings(settings) if weights is None else weights
    check_labels(settings.labels, weights)
    runtime = choose_runtime(settings, before).runtime
    settings = settings.model_copy(update={"runtime": runtime})
    found = []
    for number, (part, some) in enumerate(zip(settings.parts, weights.parts, strict=True)):
        with of_network(number):
            found.append(ResolvedNetwork(part, some, model_for(part, runtime, some)))
    first, *others = found
    return ResolvedNetwork(settings, weights, first.model, tuple(others))
