"""Described images to windows: rows of ``schema.TILED``.

Windows refer to the pixel grid of the image after its image steps, which is the grid of the
file where no step moves pixels. Sky positions are those of the window centres, traced back
through the steps to the file and its WCS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark import ids, schema
from elodin_spark.cutouts.generators import windows
from elodin_spark.cutouts.pixels import to_uint8
from elodin_spark.cutouts.steps import INTENSITY_STEPS, apply_steps, default_steps, resize
from elodin_spark.errors import ImageError
from elodin_spark.images import sky
from elodin_spark.images.describe import read_pixels
from elodin_spark.images.listing import is_fits
from elodin_spark.settings import Blobs, FullImage, Settings, SlidingWindow, Step
from elodin_spark.stage import Locate, Stage

#: Most rows in a batch.
ROWS = 64
#: A batch is passed on when its pixels reach this many bytes, however few its rows.
BATCH_BYTES = 64 * 2**20
#: Most bytes in one value of an Arrow binary column.
MAX_WINDOW_BYTES = 2**31 - 2**20

JPEG_QUALITY = 90

Row = dict[str, Any]


@dataclass(frozen=True)
class TileSpec:
    """Batches of ``schema.IMAGES`` to batches of ``schema.TILED`` of at most :data:`ROWS` rows.

    Of each image comes first a row with ``image`` set, then one row a window. An image that
    cannot be read or cut gives its row with ``status`` "failed" and a row with ``failure`` set; so
    does one that could not be described. Where single windows of an image fail, each gives
    a ``failure`` row with its ``cutout_id``, and the others are kept. No windows (an image
    without blobs) is no failure.

    Parameters
    ----------
    generator : FullImage, SlidingWindow or Blobs
    image_steps : "auto" or tuple of Step
        Of each image before it is cut.
    cutout_steps : tuple of Step
        Of each window; they change its pixels and thumbnail, not its place.
    thumbnail_px : int
        Side of the thumbnails, px.
    """

    generator: FullImage | SlidingWindow | Blobs
    image_steps: Literal["auto"] | tuple[Step, ...] = "auto"
    cutout_steps: tuple[Step, ...] = ()
    thumbnail_px: int = 96

    @classmethod
    def from_settings(cls, settings: Settings) -> TileSpec:
        """The spec of a run."""
        cutouts = settings.cutouts
        return cls(cutouts.generator, settings.images.steps, cutouts.steps, cutouts.thumbnail_px)

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
        return _Tile(self)


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
        JPEG of quality 90, grey or RGB.
    """
    import cv2

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


class _Tile:
    output_schema: pa.Schema = schema.TILED

    def __init__(self, spec: TileSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pending: list[Row] = []
        size = 0
        for batch in batches:
            for image in batch.to_pylist():
                for row in self._rows(image):
                    pending.append(row)
                    size += len(row.get("pixels") or b"")
                    if len(pending) >= ROWS or size >= BATCH_BYTES:
                        yield schema.rows_to_batch(pending, schema.TILED)
                        pending, size = [], 0
        if pending:
            yield schema.rows_to_batch(pending, schema.TILED)

    def _rows(self, image: Row) -> Iterator[Row]:
        """All rows of one image. Nothing it does to a library goes further than its own rows."""
        if image["status"] != "ok":
            kind, _, message = (image["error"] or "unreadable: not described").partition(": ")
            yield {"image": image}
            yield _failure("images", image, ImageError(message, kind=kind))
            return
        stage = "images"
        try:
            pixels = self._read(image)
            stage = "cutouts"
            cutting = _Cutting(self._spec, image, pixels)
            cutting.cut_first()
        except Exception as error:
            problem = _as_image_error(error)
            yield {"image": image | {"status": "failed", "error": f"{problem.kind}: {problem}"}}
            yield _failure(stage, image, problem)
            return
        del pixels
        yield {"image": image}
        yield from cutting.rows()

    def _read(self, image: Row) -> np.ndarray:
        pixels = read_pixels(image["uri"], image["hdu"])
        height, width = pixels.shape[:2]
        if (width, height) != (image["width"], image["height"]):
            raise ImageError(
                f"the image has {width} x {height} px but was described as {image['width']} x "
                f"{image['height']} px: the file has changed; describe it again"
            )
        return pixels


class _Cutting:
    """One image on its way to windows."""

    def __init__(self, spec: TileSpec, image: Row, pixels: np.ndarray) -> None:
        self._spec, self._image = spec, image
        self._first: Row | None = None
        self._upwards = is_fits(image["uri"])
        self._pixels, affine = apply_steps(pixels, default_steps(pixels, spec.image_steps))
        self._boxes = windows(spec.generator, self._pixels)
        self._ra, self._dec = self._sky(affine)
        if not any(step.type in INTENSITY_STEPS for step in spec.cutout_steps):
            # Once for the image rather than once for each of its overlapping windows.
            self._pixels = to_uint8(self._pixels)

    def cut_first(self) -> None:
        """Raise what is wrong with the first window, so that a setting no window fits fails the image."""
        self._first = self._row(0) if len(self._boxes) else None

    def rows(self) -> Iterator[Row]:
        if self._first is not None:
            yield self._first
            self._first = None
        for number in range(1, len(self._boxes)):
            try:
                row = self._row(number)
            except Exception as error:
                row = _failure("cutouts", self._image, _as_image_error(error), self._id(number))
            yield row

    def _row(self, number: int) -> Row:
        x0, y0, x1, y1 = (int(value) for value in self._boxes[number])
        cut, _ = apply_steps(self._pixels[y0:y1, x0:x1], self._spec.cutout_steps)
        if cut.size > MAX_WINDOW_BYTES:
            raise ImageError(
                f"a window of {x1 - x0} x {y1 - y0} px is too large to pass on; add a Resize step",
                kind="too_large",
            )
        cut = to_uint8(cut)
        ra, dec = self._ra[number], self._dec[number]
        known = math.isfinite(ra) and math.isfinite(dec)
        return {
            "cutout_id": self._id(number),
            "image_id": self._image["image_id"],
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
            "ra": float(ra) if known else None,
            "dec": float(dec) if known else None,
            "thumbnail": thumbnail(cut, self._spec.thumbnail_px, self._upwards),
            "pixel_shape": list(cut.shape),
            "pixels": cut.tobytes(),
        }

    def _id(self, number: int) -> int:
        x0, y0, x1, y1 = (int(value) for value in self._boxes[number])
        return ids.cutout_id(self._image["path"], self._image["hdu"], x0, y0, x1, y1)

    def _sky(self, affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """ICRS positions of the centres of all windows, deg; NaN where there are none."""
        boxes = self._boxes.astype(np.float64)
        centres = np.stack([(boxes[:, 0] + boxes[:, 2] - 1) / 2, (boxes[:, 1] + boxes[:, 3] - 1) / 2])
        x, y, _ = affine @ np.concatenate([centres, np.ones((1, len(boxes)))])
        if self._image["wcs"] is None or not len(boxes):
            return np.full(len(boxes), np.nan), np.full(len(boxes), np.nan)
        return sky.pixel_to_sky(sky.wcs_of(self._image["wcs"]), x, y)


def _as_image_error(error: Exception) -> ImageError:
    return error if isinstance(error, ImageError) else ImageError(f"{type(error).__name__}: {error}")


def _failure(stage: str, image: Row, error: ImageError, cutout_id: int | None = None) -> Row:
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
