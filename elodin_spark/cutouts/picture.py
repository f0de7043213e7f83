"""An image on its way to windows: read by boxes, its processing steps applied.

An image of moderate size is read and processed whole. A larger one is read box by box, for
which its steps must treat each pixel by itself once their numbers are settled from a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, Protocol

import numpy as np

from elodin_spark.cutouts.pixels import gray, to_uint8
from elodin_spark.cutouts.steps import Affine, apply_steps, default_steps
from elodin_spark.cutouts.stretch import AsinhLevels, fit_asinh, sample_rows
from elodin_spark.errors import ImageError
from elodin_spark.images.align import Grid
from elodin_spark.images.colour import STRIP_ROWS, ColourImage, LazyPlane
from elodin_spark.images.planes import Plane, open_plane
from elodin_spark.settings import AsinhStretch, ColourSettings, GrayScale, Step

#: Images of more pixels are read box by box. Whole, one takes 8 bytes a pixel.
WHOLE_PIXELS = 2**26

Row = Mapping[str, Any]


class Picture(Protocol):
    """An image after its steps. Boxes are ``x0, y0, x1, y1`` in px, half-open, on its grid."""

    shape: tuple[int, ...]
    #: From its grid to that of the file, shape (3, 3).
    affine: Affine

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Processed pixels, uint8 unless a later step wants other; shape (y1 - y0, x1 - x0[, 3])."""
        ...


class WholePicture:
    """An image that is processed at once.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
    steps : "auto" or sequence of Step
    as_bytes : bool
        Convert to 8 bits once, rather than once for each of the overlapping windows.
    """

    def __init__(self, pixels: np.ndarray, steps: Literal["auto"] | Sequence[Step], as_bytes: bool) -> None:
        self._pixels, self.affine = apply_steps(pixels, default_steps(pixels, steps))
        self.shape = self._pixels.shape
        self._as_bytes = as_bytes

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """See :class:`Picture`."""
        if self._as_bytes:
            self._pixels, self._as_bytes = to_uint8(self._pixels), False
        return self._pixels[y0:y1, x0:x1]


class LazyPicture:
    """An image that is read box by box.

    Parameters
    ----------
    plane : Plane
    steps : "auto" or sequence of Step
        AsinhStretch and GrayScale only.

    Raises
    ------
    ImageError
        Kind ``too_large``: a step needs the whole image.
    """

    def __init__(self, plane: Plane, steps: Literal["auto"] | Sequence[Step]) -> None:
        height, width = plane.shape[:2]
        sample = np.concatenate([plane.read(int(row), int(row) + 1) for row in sample_rows(height, width)])
        self._plane = plane
        self._steps: list[AsinhLevels | GrayScale | None] = []
        for step in default_steps(sample, steps):
            match step.model():
                case GrayScale():
                    sample = gray(sample)
                    self._steps.append(GrayScale())
                case AsinhStretch(black_sigma=black, softening_sigma=softening, white_percentile=white):
                    levels = fit_asinh(sample, black, softening, white)
                    self._steps.append(levels)
                    sample = np.zeros(sample.shape, np.float32) if levels is None else levels.apply(sample)
                case _:
                    raise _too_large(height, width, step.type)
        self.shape: tuple[int, ...] = (height, width, *sample.shape[2:])
        self.affine = np.eye(3)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """See :class:`Picture`."""
        pixels = self._plane.read(y0, y1, x0, x1)
        for step in self._steps:
            if isinstance(step, GrayScale):
                pixels = gray(pixels)
            else:
                pixels = np.zeros(pixels.shape, np.float32) if step is None else step.apply(pixels)
        return pixels


class _ColourPicture:
    """Several bands as one image of three channels."""

    def __init__(self, image: ColourImage) -> None:
        self._image = image
        self.shape: tuple[int, ...] = (image.grid.height, image.grid.width, 3)
        self.affine = np.eye(3)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        return self._image.read((x0, y0, x1, y1))


class _HeldPlane:
    """A plane whose pixels are in memory."""

    def __init__(self, plane: Plane, pixels: np.ndarray) -> None:
        self._plane, self._pixels = plane, pixels
        self.shape = plane.shape
        self.mask_bits = plane.mask_bits
        self.saturation_level = plane.saturation_level
        self.mask, self.variance = plane.mask, plane.variance

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray:
        return self._pixels[y0:y1, x0:x1]


@contextmanager
def open_picture(
    image: Row,
    steps: Literal["auto"] | Sequence[Step],
    colour: ColourSettings | None,
    storage: Mapping[str, Any],
    as_bytes: bool,
    keep_raw: bool = False,
) -> Iterator[tuple[Picture, Plane]]:
    """Open an image of the images table.

    Parameters
    ----------
    image : mapping
        A row of ``schema.IMAGES``.
    steps : "auto" or sequence of Step
    colour : ColourSettings, optional
        How planes of several bands become one image, where the row lists planes.
    storage : mapping
        Options of a remote store.
    as_bytes : bool
        No later step wants more than 8 bits.
    keep_raw : bool
        The unprocessed pixels will be read too: of an image that is read whole they are kept,
        so that nothing is decompressed twice.

    Yields
    ------
    picture : Picture
    plane : Plane
        Unprocessed pixels and mask; of a colour image, those of its reference band.

    Raises
    ------
    ImageError
    """
    with ExitStack() as stack:
        if image.get("planes") and colour is not None:
            planes = {
                plane["band"]: stack.enter_context(open_plane(plane["uri"], plane["hdu"], storage))
                for plane in image["planes"]
                if plane["band"] in colour.bands
            }
            reference = planes[colour.reference_band]
            picture: Picture = _ColourPicture(_compose(image, planes, colour))
            height, width = picture.shape[:2]
            if height * width <= WHOLE_PIXELS:
                # Once for the image rather than once for each of the overlapping windows.
                strips = range(0, height, STRIP_ROWS)
                rows = [picture.read(0, y0, width, min(y0 + STRIP_ROWS, height)) for y0 in strips]
                picture = WholePicture(np.concatenate(rows), () if steps == "auto" else steps, as_bytes)
            elif steps != "auto" and steps:
                raise _too_large(height, width, "images.steps of a colour image")
            yield picture, reference
            return
        plane = stack.enter_context(open_plane(image["uri"], image["hdu"], storage))
        height, width = plane.shape[:2]
        if (width, height) != (image["width"], image["height"]):
            raise ImageError(
                f"the image has {width} x {height} px but was described as {image['width']} x "
                f"{image['height']} px: the file has changed; describe it again"
            )
        if height * width > WHOLE_PIXELS:
            yield LazyPicture(plane, steps), plane
        else:
            pixels = plane.read(0, height)
            raw: Plane = _HeldPlane(plane, pixels) if keep_raw else plane
            yield WholePicture(pixels, steps, as_bytes), raw


def _too_large(height: int, width: int, what: str) -> ImageError:
    return ImageError(
        f"the image has {width} x {height} px; {what} needs it whole in memory, for which {WHOLE_PIXELS} px "
        "is the limit: leave it out of the settings, or cut the image into tiles first",
        kind="too_large",
    )


def _compose(image: Row, planes: Mapping[str, Plane], colour: ColourSettings) -> ColourImage:
    headers = {plane["band"]: plane.get("wcs") for plane in image["planes"]}

    def lazy(band: str, plane: Plane) -> LazyPlane:
        height, width = plane.shape[:2]
        grid = Grid(headers[band], width, height)
        return LazyPlane(grid, lambda box: plane.read(box[1], box[3], box[0], box[2]))

    return ColourImage({band: lazy(band, plane) for band, plane in planes.items()}, colour)
