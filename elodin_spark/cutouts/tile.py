"""Described images to windows: rows of ``schema.TILED``.

Windows refer to the pixel grid of the image after its image steps, which is the grid of the
file where no step moves pixels. Sky positions are those of the window centers, traced back
through the steps to the file and its WCS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark import ids, schema
from elodin_spark.config.settings import ColorSettings, Generator, QualitySettings, Settings, Step
from elodin_spark.cutouts.layout import Layout, lay_windows
from elodin_spark.cutouts.picture import Picture, open_picture
from elodin_spark.cutouts.pixelbuffer import PixelBuffer
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.skycells import healpix29
from elodin_spark.cutouts.steps import INTENSITY_STEPS, apply_steps, resize
from elodin_spark.cutouts.texture import Texture, texture
from elodin_spark.cutouts.windowquality import BoxQuality, measure_box
from elodin_spark.errors import ImageError
from elodin_spark.images import sky
from elodin_spark.images.planes import Plane
from elodin_spark.images.uris import is_fits
from elodin_spark.stage import Locate, Stage

#: Most rows in a batch.
ROWS = 64
#: A batch is passed on when its pixels reach this many bytes, however few its rows.
BATCH_BYTES = 64 * 2**20
#: Most bytes in an Arrow binary column, and so in one value of it.
MAX_WINDOW_BYTES = 2**31 - 2**20
#: Windows are read together while their common box has no more pixels than this.
BOX_PIXELS = 2**24

JPEG_QUALITY = 90

Row = dict[str, Any]


@dataclass(frozen=True)
class TileSpec:
    """``schema.IMAGES`` or ``schema.TARGETED`` to ``schema.TILED``, at most :data:`ROWS` rows a batch.

    Of each image comes first a row with ``image`` set, then one row a window. An image that
    cannot be read or cut gives its row with ``status`` "failed" and a row with ``failure`` set; so
    does one that could not be described. Where single windows of an image fail, each gives
    a ``failure`` row with its ``cutout_id``, and the others are kept. No windows (an image
    without blobs) is no failure.

    Parameters
    ----------
    generator : Generator
    image_steps : "auto" or tuple of Step
        Of each image before it is cut.
    cutout_steps : tuple of Step
        Of each window; they change its pixels and thumbnail, not its place.
    thumbnail_px : int
        Side of the thumbnails, px; 0 for none.
    quality : QualitySettings, optional
        What is measured of each window, and which are filled or rejected. A rejected window
        keeps its row, with the reason, and has no pixels.
    color : ColorSettings, optional
        How the planes of a band group become one image.
    storage : tuple of (str, object)
        Options of a remote store.
    texture : tuple of str
        Kinds of :func:`~elodin_spark.cutouts.texture.texture` to measure.
    """

    generator: Generator
    image_steps: Literal["auto"] | tuple[Step, ...] = "auto"
    cutout_steps: tuple[Step, ...] = ()
    thumbnail_px: int = 96
    quality: QualitySettings | None = None
    color: ColorSettings | None = None
    storage: tuple[tuple[str, Any], ...] = ()
    texture: tuple[Texture, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> TileSpec:
        """The spec of a run."""
        cutouts = settings.cutouts
        return cls(
            cutouts.generator,
            settings.images.steps,
            cutouts.steps,
            cutouts.thumbnail_px,
            cutouts.quality,
            settings.images.color,
            tuple(settings.images.storage.items()),
            cutouts.texture,
        )

    @property
    def output_schema(self) -> pa.Schema:
        """``schema.TILED``."""
        return schema.TILED

    @property
    def files(self) -> tuple[str, ...]:
        """None are needed."""
        return ()

    def build(self, locate: Locate) -> Stage:
        """Build the stage; there is nothing to locate."""
        return TileStage(self)


def thumbnail(pixels: NDArray[np.uint8], side_px: int, upwards: bool = False) -> bytes:
    """Encode pixels as a small square JPEG.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3), uint8
    side_px : int
    upwards : bool
        Row 0 is the bottom of the picture, as in FITS.

    Returns
    -------
    bytes
        JPEG of quality 90, gray or RGB.
    """
    import cv2

    height, width = pixels.shape[:2]
    factor = height // side_px
    if factor > 1 and width == height and height % factor == 0:
        pixels = resize(pixels, height // factor)  # means of whole pixels, which are quick
    small = resize(pixels, side_px)
    if upwards:
        small = small[::-1]
    if small.ndim == 3:
        small = small[..., ::-1]  # OpenCV writes BGR
    done, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(small), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not done:
        raise ImageError(f"a thumbnail of {side_px} px could not be written as JPEG")
    return encoded.tobytes()


class TileStage:
    """The stage of a :class:`TileSpec`, and the frame of others that cut."""

    output_schema: pa.Schema = schema.TILED

    def __init__(self, spec: TileSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Cut the images."""
        pending: list[Row] = []
        pixels = PixelBuffer()
        for batch in batches:
            for image in batch.to_pylist():
                for row in self._rows(image):
                    # Here, not where they are cut: the batch may have ended between the two.
                    if (cut := row.get("pixels")) is not None:
                        if len(pixels) and len(pixels) + cut.size > MAX_WINDOW_BYTES:
                            yield _batch(pending, pixels, self.output_schema)
                            pending = []
                        row["pixels"] = pixels.add(cut)
                    pending.append(row)
                    if len(pending) >= ROWS or len(pixels) >= BATCH_BYTES:
                        yield _batch(pending, pixels, self.output_schema)
                        pending = []
        if pending:
            yield _batch(pending, pixels, self.output_schema)

    def cut(self, image: Row, picture: Picture, plane: Plane, layout: Layout) -> Iterator[Row]:
        """Rows of the windows of an image; raises before the first where none can be had."""
        return Cutting(self._spec, image, picture, plane, layout).rows()

    def _rows(self, image: Row) -> Iterator[Row]:
        """All rows of one image. Nothing it does to a library goes further than its own rows."""
        targets = image.pop("targets", None) or ()
        if image["status"] != "ok":
            kind, _, message = (image["error"] or "unreadable: not described").partition(": ")
            yield {"image": image}
            yield failure_row("images", image, ImageError(message, kind=kind))
            return
        spec, stage = self._spec, "images"
        as_bytes = not any(step.type in INTENSITY_STEPS for step in spec.cutout_steps)
        with ExitStack() as stack:
            try:
                opened = open_picture(
                    image,
                    spec.image_steps,
                    spec.color,
                    dict(spec.storage),
                    as_bytes,
                    spec.quality is not None,
                    "auto" if spec.quality is None else spec.quality.blank,
                )
                picture, plane = stack.enter_context(opened)
                stage = "cutouts"
                layout = lay_windows(spec.generator, picture, plane, image, targets, spec.quality)
                rows = self.cut(image, picture, plane, layout)
                first = next(rows, None)
            except Exception as error:
                problem = _as_image_error(error)
                yield {"image": image | {"status": "failed", "error": f"{problem.kind}: {problem}"}}
                yield failure_row(stage, image, problem)
                return
            yield {"image": image}
            if first is not None:
                yield first
            yield from rows


class Cutting:
    """The windows of one image on their way to rows.

    Parameters
    ----------
    spec : TileSpec
    image : mapping
        A row of ``schema.IMAGES``.
    picture : Picture
    plane : Plane
    layout : Layout
    keep_pixels : bool
        Whether rows have the pixels of their windows, uint8 arrays of shape (h, w) or (h, w, 3).
    """

    def __init__(
        self,
        spec: TileSpec,
        image: Row,
        picture: Picture,
        plane: Plane,
        layout: Layout,
        keep_pixels: bool = True,
    ) -> None:
        self._spec, self._image, self._picture, self._plane = spec, image, picture, plane
        self._layout, self._keep_pixels = layout, keep_pixels
        self._upwards = is_fits(image["uri"])
        self._windows: list[list[int]] = layout.windows.tolist()
        ra, dec = self._sky()
        columns = {
            "cutout_id": ids.cutout_ids(image["path"], image["hdu"], self._windows),
            "ra": _known(ra, dec, ra),
            "dec": _known(ra, dec, dec),
            "healpix": healpix29(ra, dec).to_pylist(),
        }
        if layout.position_ids is not None:
            columns["position_id"] = layout.position_ids
        if layout.sources is not None:
            columns["source"] = layout.sources
        # Values first, for many windows at once; pixels follow window by window.
        self._columns = columns

    def rows(self, strict: bool = True) -> Iterator[Row]:
        """Rows of the windows; where `strict`, raises if the first fails: a setting that fits no window."""
        done = 0
        for box, members in self._boxes():
            x0, y0, x1, y1 = box
            try:
                pixels = self._picture.read(x0, y0, x1, y1)
                quality = measure_box(
                    self._spec.quality, self._plane, self._picture.affine, box, members, self._layout
                )
            except Exception as error:  # a large image is read box by box, and may be damaged further down
                if strict and not done:
                    raise
                for number in members:
                    yield self._refused(int(number), error)
                done += len(members)
                continue
            for place, number in enumerate(members):
                try:
                    row = self._row(int(number), pixels, box, quality, place)
                except Exception as error:
                    if strict and not done:
                        raise
                    row = self._refused(int(number), error)
                done += 1
                yield row

    def _refused(self, number: int, error: Exception) -> Row:
        return failure_row("cutouts", self._image, _as_image_error(error), self._columns["cutout_id"][number])

    def _boxes(self) -> Iterator[tuple[tuple[int, int, int, int], NDArray[np.intp]]]:
        """Windows that share their rows, and the box that holds them: read together.

        From top to bottom, so that compressed rows are decompressed once.
        """
        columns = self._layout.windows
        order = np.lexsort((columns[:, 0], columns[:, 3], columns[:, 1]))
        windows = columns[order].tolist()
        start = 0
        while start < len(order):
            x0, y0, x1, y1 = windows[start]
            stop = start + 1
            while stop < len(order):
                left, top, right, bottom = windows[stop]
                if (top, bottom) != (y0, y1) or (max(right, x1) - x0) * (y1 - y0) > BOX_PIXELS:
                    break
                if left > x1 and self._layout.position_ids is not None:
                    break  # far apart on a row: what lies between is not read
                x1, stop = max(x1, right), stop + 1
            yield (x0, y0, x1, y1), order[start:stop]
            start = stop

    def _row(
        self,
        number: int,
        pixels: np.ndarray,
        box: tuple[int, int, int, int],
        quality: BoxQuality | None,
        place: int,
    ) -> Row:
        x0, y0, x1, y1 = self._windows[number]
        row: Row = {"image_id": self._image["image_id"], "x0": x0, "y0": y0, "x1": x1, "y1": y1}
        for name, values in self._columns.items():
            row[name] = values[number]
        cut = pixels[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]]
        if quality is not None:
            row |= quality.columns[place]
            if quality.reasons[place] is not None:
                return row | {"rejected": quality.reasons[place]}
            cut = quality.filled(place, cut, (x0 - box[0], y0 - box[1], x1 - box[0], y1 - box[1]))
        if self._spec.cutout_steps:
            cut, _ = apply_steps(cut, self._spec.cutout_steps)
        if cut.size > MAX_WINDOW_BYTES:
            raise ImageError(
                f"a window of {x1 - x0} x {y1 - y0} px is too large to pass on; add a Resize step",
                kind="too_large",
            )
        cut = to_uint8(cut)
        for kind in self._spec.texture:
            row[kind] = texture(cut, kind)
        if side := self._spec.thumbnail_px:
            row["thumbnail"] = thumbnail(cut, side, self._upwards)
        if not self._keep_pixels:
            return row
        return row | {"pixel_shape": list(cut.shape), "pixels": cut}

    def _sky(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """ICRS positions of the centers of all windows, deg; NaN where there are none."""
        boxes = self._layout.windows.astype(np.float64)
        centers = np.stack([(boxes[:, 0] + boxes[:, 2] - 1) / 2, (boxes[:, 1] + boxes[:, 3] - 1) / 2])
        x, y, _ = self._picture.affine @ np.concatenate([centers, np.ones((1, len(boxes)))])
        if self._image["wcs"] is None or not len(boxes):
            return np.full(len(boxes), np.nan), np.full(len(boxes), np.nan)
        return sky.pixel_to_sky(sky.wcs_of(self._image["wcs"]), x, y)


def _known(
    ra: NDArray[np.float64], dec: NDArray[np.float64], values: NDArray[np.float64]
) -> list[float | None]:
    there = np.isfinite(ra) & np.isfinite(dec)
    return [value if known else None for value, known in zip(values.tolist(), there.tolist(), strict=True)]


def _batch(rows: list[Row], pixels: PixelBuffer, columns_of: pa.Schema) -> pa.RecordBatch:
    """Rows as one batch; their `pixels` are places in the buffer, which is emptied."""
    column = pixels.take([row.pop("pixels", None) for row in rows])
    return schema.rows_to_batch(rows, columns_of, {"pixels": column})


def _as_image_error(error: Exception) -> ImageError:
    return error if isinstance(error, ImageError) else ImageError(f"{type(error).__name__}: {error}")


def failure_row(stage: str, image: Mapping[str, Any], error: ImageError, cutout_id: int | None = None) -> Row:
    """The row of a refusal, of a whole image or of one of its windows."""
    return {
        "failure": {
            "stage": stage,
            "uri": image["uri"],
            "hdu": image["hdu"],
            "cutout_id": cutout_id,
            "kind": error.kind,
            "message": str(error),
        }
    }
