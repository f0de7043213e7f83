"""Some cutouts of an archive before it is run: what networks and their precision are measured on."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark import schema
from elodin_spark.catalog.build.pipeline import cutting
from elodin_spark.config.settings import Positions, Settings
from elodin_spark.errors import ImageError
from elodin_spark.fingerprints.rows import window_of
from elodin_spark.ids import stable_id
from elodin_spark.images.listing import ImageFile, files_to_batches
from elodin_spark.sampling.sample import sample_keys

#: Images the sample comes from, where each has enough windows.
IMAGES = 32
#: Windows of one image that it is chosen from, where they suffice: its other windows are taken to be alike.
MOST_WINDOWS = 4096

Window = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SampledCutout:
    """One window of the sample, and where it is from.

    Attributes
    ----------
    cutout_id : int
    path : str
        Of its image below the archive root, as ``images.path``.
    window : ndarray of uint8, shape (h, w) or (h, w, 3)
    x0, y0, x1, y1 : int
        Its place, px, half-open.
    ra, dec : float or None
        ICRS position of its center, deg.
    thumbnail : bytes or None
        JPEG, where the settings ask for one.
    """

    cutout_id: int
    path: str
    window: Window
    x0: int
    y0: int
    x1: int
    y1: int
    ra: float | None
    dec: float | None
    thumbnail: bytes | None


#: A cutout with what it is chosen by.
_Keyed = tuple[int, int, SampledCutout]


def sample_windows(settings: Settings, files: Sequence[ImageFile], count: int) -> list[Window]:
    """The windows of :func:`sample_cutouts`."""
    return [cutout.window for cutout in sample_cutouts(settings, files, count)]


def sample_cutouts(
    settings: Settings,
    files: Sequence[ImageFile],
    count: int,
    *,
    paths: Collection[str] | None = None,
    cutout_ids: Collection[int] | None = None,
    progress: Callable[[int], None] = lambda done: None,
    barren: Callable[[str], None] = lambda path: None,
) -> list[SampledCutout]:
    """Cut a sample, in this process.

    The images come in the order of a hash of their paths, and so do the windows of an image and
    those of the sample: the same archive and seed give the same windows. Images that cannot be
    used are passed over. Each gives an equal share; where some have less, the others give more.

    Parameters
    ----------
    settings : Settings
        Color images and catalogs of positions are put together on Spark.
    files : sequence of ImageFile
        The archive.
    count : int
        Windows wanted. No more images are looked at once so many had none, unless `cutout_ids` are given.
    paths : collection of str, optional
        Take only windows of these images, by their paths below the archive root.
    cutout_ids : collection of int, optional
        Take only these windows: images are cut until enough of them are found.
    progress : callable, optional
        Called with how many windows are found so far.
    barren : callable, optional
        Called with the path of each image that was looked at and has none.

    Returns
    -------
    list of SampledCutout
        At most `count`; without structure or not, but none that a rule of quality rejects.
    """
    if paths is not None and settings.images.color is None:
        files = [file for file in files if file.path in paths]
    keys = sample_keys(np.array([stable_id(file.path) for file in files], np.int64), settings.seed)
    ordered = [file for _, file in sorted(zip(keys.tolist(), files, strict=True))]
    # Of few images more each than their share, for some may have less.
    share = math.ceil(2 * count / max(1, min(2 * IMAGES, len(files))))
    images = (
        image for image in _images(ordered, settings) if paths is None or image.path in paths
    )  # of a color image the path is known once it is put together
    wanted = count if cutout_ids is None else min(count, len(cutout_ids))
    looked: list[_Image] = []
    there: list[float] = []
    found: list[list[_Keyed]] = []
    for image in images:
        some, number = _chosen(image, settings.seed, share, cutout_ids)
        looked.append(image)
        there.append(number)
        found.append(some)
        progress(min(_total(found), count))
        if not number:
            barren(image.path)
        if _total(found) >= wanted or (cutout_ids is None and there.count(0) >= count):
            break
    if _total(found) < wanted:
        more = _share(there, wanted)
        for at, image in enumerate(looked):
            if there[at] > share:
                found[at], _ = _chosen(image, settings.seed, more, cutout_ids)
                progress(min(_total(found), count))
    keyed = sorted((each for some in found for each in some), key=lambda each: each[:2])
    return [cutout for *_, cutout in keyed[:count]]


@dataclass(frozen=True)
class _Image:
    """An image, or the images of a file, that can be cut."""

    path: str
    cut: Callable[[], Iterator[pa.RecordBatch]]  # of schema.TILED


def _total(found: list[list[_Keyed]]) -> int:
    return sum(map(len, found))


def _share(there: Sequence[float], wanted: int) -> int:
    """The least number of each that sums up to those wanted, of as many as there are; else all."""
    low, high = 0, wanted
    while low < high:
        share = (low + high) // 2
        low, high = (low, share) if sum(min(share, each) for each in there) >= wanted else (share + 1, high)
    return low


def _images(files: list[ImageFile], settings: Settings) -> Iterator[_Image]:
    """Each file or, where they are put together, each image."""
    if settings.images.color is None and not isinstance(settings.cutouts.generator, Positions):
        for file in files:
            yield _Image(file.path, partial(_cut_file, file, settings))
        return
    for row in _joined(files, settings):
        yield _Image(row["path"], partial(_cut_row, row, settings))


def _cut_file(file: ImageFile, settings: Settings) -> Iterator[pa.RecordBatch]:
    return iter(cutting(settings).build(str)(files_to_batches([file])))


def _cut_row(row: dict[str, Any], settings: Settings) -> Iterator[pa.RecordBatch]:
    tile = cutting(settings, described=True)
    return iter(tile.build(str)(iter([schema.rows_to_batch([row], schema.TARGETED)])))


def _joined(files: list[ImageFile], settings: Settings) -> Iterator[dict[str, Any]]:
    """Rows of ``schema.TARGETED`` in the order of a hash."""
    # Here, not above: other archives need no Spark for this.
    from elodin_spark.spark.inputs import input_batches
    from elodin_spark.spark.session import session

    # The planes of a color image may be in any of the files; positions lie on some of any image's.
    some = files if settings.images.color is not None else files[: 2 * IMAGES]
    whole = settings.run.model_copy(update={"batch_images": max(1, len(some))})
    with session(settings.spark, data_source=False) as spark:
        batches = input_batches(spark, some, settings.model_copy(update={"run": whole}))
        rows = [row for batch in batches for row in batch.rows.toArrow().to_pylist()]
    usable = [row for row in rows if row["status"] == "ok"]
    keys = sample_keys([row["image_id"] for row in usable], settings.seed).tolist()
    for _, _, row in sorted((key, row["image_id"], row) for key, row in zip(keys, usable, strict=True)):
        yield {name: row.get(name) for name in schema.TARGETED.names}


def _chosen(
    image: _Image, seed: int, share: int, cutout_ids: Collection[int] | None = None
) -> tuple[list[_Keyed], float]:
    """Up to `share` windows of an image, those with the smallest keys, and how many it has.

    That is infinity where not all were looked at.
    """
    kept: list[_Keyed] = []
    seen = 0
    there = 0.0
    for batch in image.cut():
        rows = batch.filter(batch.column("pixels").is_valid())
        keys = sample_keys(rows.column("cutout_id").to_numpy(), seed).tolist()
        for i, key in enumerate(keys):
            entry = (-key, rows.column("cutout_id")[i].as_py())
            if cutout_ids is not None and entry[1] not in cutout_ids:
                continue
            there += 1
            if len(kept) == share and entry < kept[0][:2]:
                continue
            pixels, shape = rows.column("pixels")[i].as_buffer(), rows.column("pixel_shape")[i].as_py()
            try:
                window = window_of(pixels, shape)
            except ImageError:
                continue
            # A copy: the window must not keep its whole batch in memory.
            cutout = SampledCutout(path=image.path, window=window.copy(), **_place(rows, i))
            push = heapq.heappush if len(kept) < share else heapq.heappushpop
            push(kept, (*entry, cutout))
        seen += batch.num_rows
        if cutout_ids is None and seen >= MOST_WINDOWS and len(kept) == share:
            there = math.inf
            break
    return [(-key, cutout_id, cutout) for key, cutout_id, cutout in kept], there


def _place(rows: pa.RecordBatch, i: int) -> dict[str, Any]:
    names = ("cutout_id", "x0", "y0", "x1", "y1", "ra", "dec", "thumbnail")
    return {name: rows.column(name)[i].as_py() for name in names}
