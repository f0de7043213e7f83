"""Whether a run could be in dense mode, and with which settings."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from elodin_spark.config.settings import Settings, SlidingWindow
from elodin_spark.config.shipped import own_network
from elodin_spark.config.transform import AUTO_COPIES


class Dense(NamedTuple):
    """How dense mode goes through an image.

    Attributes
    ----------
    generator : SlidingWindow
    block_px, halo_px : int
    """

    generator: SlidingWindow
    block_px: int
    halo_px: int


def dense_settings(settings: Settings) -> Settings | None:
    """Settings of the same windows in dense mode, or None where it cannot give them.

    Windows that were shifted inside the image would not lie on its cells and are dropped.
    """
    if settings.fingerprints.mode == "dense":
        return settings
    if not isinstance(settings.cutouts.generator, SlidingWindow):
        return None
    values = settings.model_dump(mode="json")
    # What nobody asked for is left out: what is joined by default, what the weights want of windows, copies.
    network = settings.fingerprints
    if network.joined_by_default:
        network = network.alone()
        values["fingerprints"] = network.model_dump(mode="json")
    if network.copies == AUTO_COPIES:
        values["fingerprints"]["copies"] = 0
    own = own_network(network.weights, network.backbone)
    if (network.layer, network.augmentations) == (own.get("layer"), own["augmentations"]):
        values["fingerprints"] |= {"layer": None, "augmentations": None}
    values["fingerprints"]["mode"] = "dense"
    values["cutouts"]["generator"]["edge"] = "drop"
    try:
        return Settings.model_validate(values)
    except ValidationError:
        return None


def dense_of(settings: Settings) -> Dense | None:
    """What counting needs of :func:`dense_settings`."""
    chosen = dense_settings(settings)
    if chosen is None or not isinstance(chosen.cutouts.generator, SlidingWindow):
        return None
    return Dense(chosen.cutouts.generator, chosen.fingerprints.block_px, chosen.fingerprints.halo_px)


def overrides_of(settings: Settings) -> list[str]:
    """What to add to the command line for dense mode."""
    generator, words = settings.cutouts.generator, ["fingerprints.mode=dense"]
    if isinstance(generator, SlidingWindow) and generator.edge != "drop":
        words.append("cutouts.generator.edge=drop")
    return words
