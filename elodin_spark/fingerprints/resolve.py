"""The network of a run: its weights, runtime and converted model, resolved once, on the driver."""

from __future__ import annotations

from dataclasses import dataclass, replace

from elodin_spark.config.settings import FingerprintsSettings
from elodin_spark.fingerprints.labels import check_labels
from elodin_spark.fingerprints.runtimes.base import RuntimeName
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.runtimes.selection import choose_runtime, model_for
from elodin_spark.fingerprints.weights.resolve import resolve_settings
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.provenance import network_id


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
    """

    settings: FingerprintsSettings
    weights: Weights
    model: ModelFile | None = None

    @property
    def runtime(self) -> RuntimeName:
        """What runs it."""
        return self.settings.runtime  # type: ignore[return-value]  # not auto

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits: see :func:`elodin_spark.provenance.network_id`."""
        settings, model = self.settings, self.model
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
    model = model_for(settings, runtime, weights)
    return ResolvedNetwork(settings.model_copy(update={"runtime": runtime}), weights, model)
