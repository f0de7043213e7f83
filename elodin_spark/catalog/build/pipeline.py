"""The stages from files to fingerprints: the one place where they are put together.

    files -> images (described) -> windows with their pixels -> fingerprints

Whether the network sees windows or, in dense mode, whole images is decided here and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elodin_spark import schema
from elodin_spark.config.settings import FingerprintsSettings, FullImage, Settings, SlidingWindow
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.dense import DenseSpec
from elodin_spark.fingerprints.resolve import ResolvedNetwork
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.transform import TransformFile
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.sampling.stage import CutoutIdsSpec, KeepCutoutsSpec
from elodin_spark.stage import Fused, PrefetchSpec, StageSpec, fuse


def from_files(settings: Settings, *stages: StageSpec, described: bool = False) -> Fused:
    """Stages over files, or over images that are `described` already."""
    first = () if described else (DescribeSpec.from_settings(settings.images),)
    return fuse(*first, *stages)


def cutting(settings: Settings, *, described: bool = False) -> Fused:
    """From files, or images, to windows with their pixels."""
    return from_files(settings, TileSpec.from_settings(settings), described=described)


def listing_windows(settings: Settings, *, described: bool = False) -> Fused:
    """From files, or images, to the IDs of their windows that are not rejected."""
    return from_files(settings, TileSpec.from_settings(bare(settings)), CutoutIdsSpec(), described=described)


def fingerprinting(
    settings: Settings,
    network: ResolvedNetwork,
    recipe: str,
    *,
    described: bool = False,
    keep_pixels: bool = False,
    transform: TransformFile | None = None,
    known: Path | None = None,
    chosen: NDArray[np.int64] | None = None,
    copied: bool = False,
) -> Fused:
    """From files, or images, to fingerprints, in one pass.

    Parameters
    ----------
    settings : Settings
        Of images and cutouts; those of the network are `network.settings`.
    network : ResolvedNetwork
    recipe : str
        Written beside each vector.
    described : bool, optional
        The input is images.
    keep_pixels : bool, optional
        Pass the pixels on.
    transform : TransformFile, optional
        What is made of the vectors, where that is fitted.
    known : Path, optional
        File of windows that need not go through the network.
    chosen : ndarray of int64, optional
        Of all windows fingerprint these alone, by their IDs.
    copied : bool, optional
        Fingerprint a :func:`copy <elodin_spark.fingerprints.copies.learned_copy>` of each.
    """
    tile, how = TileSpec.from_settings(settings), network.settings
    last = FingerprintSpec.from_network(network, recipe, keep_pixels, transform, known, copied)
    stages: list[StageSpec]
    if how.mode == "dense":
        stages = [DenseSpec(tile, last, how.block_px, how.halo_px)]
        if chosen is not None:
            stages.append(KeepCutoutsSpec(last.output_schema, chosen))
    else:
        stages = [tile]
        if chosen is not None:
            stages.append(KeepCutoutsSpec(schema.TILED, chosen))
        if how.prefetch:
            stages.append(PrefetchSpec(schema.TILED, how.prefetch))
        stages.append(last)
    return from_files(settings, *stages, described=described)


def fingerprinting_windows(
    network: ResolvedNetwork,
    recipe: str,
    *,
    transform: TransformFile | None = None,
    known: Path | None = None,
    chosen: NDArray[np.int64] | None = None,
    copied: bool = False,
) -> Fused:
    """From windows that are cut already to fingerprints; parameters as of :func:`fingerprinting`.

    Raises
    ------
    ConfigError
        The mode is dense.
    """
    require_windows(network.settings)
    last = FingerprintSpec.from_network(network, recipe, transform=transform, known=known, copied=copied)
    return fuse(*(() if chosen is None else (KeepCutoutsSpec(schema.TILED, chosen),)), last)


def fingerprinting_whole(
    settings: Settings,
    network: ResolvedNetwork,
    recipe: str,
    *,
    hdu: int | str | None,
    transform: TransformFile | None,
) -> Fused:
    """From the file of an image to its fingerprint, the whole image being the window.

    Whatever its band and date, as it is: without a limit at its edges and without texture.
    """
    cutouts, quality = settings.cutouts, settings.cutouts.quality
    generator: FullImage | SlidingWindow = FullImage()
    if network.settings.mode == "dense":
        assert isinstance(cutouts.generator, SlidingWindow)
        generator = SlidingWindow(size=cutouts.generator.size[:1], step=cutouts.generator.size[0])
    update = {
        "generator": generator,
        "quality": quality if quality is None else quality.model_copy(update={"min_edge_px": 0}),
        "texture": (),
    }
    images = settings.images.model_copy(update={"hdu": hdu, "bands": None, "mjd": None})
    whole = settings.model_copy(update={"images": images, "cutouts": cutouts.model_copy(update=update)})
    return fingerprinting(whole, network, recipe, transform=transform)


def bare(settings: Settings) -> Settings:
    """The same windows, without thumbnails and texture."""
    cutouts = settings.cutouts.model_copy(update={"thumbnail_px": 0, "texture": ()})
    return settings.model_copy(update={"cutouts": cutouts})


def require_windows(settings: FingerprintsSettings) -> None:
    """Refuse cutting and fingerprinting apart where the network sees whole images.

    Raises
    ------
    ConfigError
        The mode is dense.
    """
    if settings.mode == "dense":
        raise ConfigError(
            "fingerprints.mode dense runs the network over whole images, so it cuts and fingerprints at once:"
            " run the stages cutouts and fingerprints together, or set fingerprints.mode=window"
        )
