"""An image on its way to windows: read by boxes, its processing steps applied.

An image of moderate size is read and processed whole. A larger one is read box by box, for
which its steps must treat each pixel by itself once their numbers are settled from a sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.settings import AsinhStretch, ColorSettings, GrayScale, GrayToRGB, Step
from elodin_spark.cutouts.padding import KnownPlane
from elodin_spark.cutouts.pixels import STRIP_PIXELS, gray, rgb, seen_as_rgb, to_uint8
from elodin_spark.cutouts.steps import Affine, apply_steps, default_steps
from elodin_spark.cutouts.stretch import AsinhLevels, fit_asinh, sample_rows
from elodin_spark.errors import ImageError
from elodin_spark.images.align import Grid
from elodin_spark.images.color import STRIP_ROWS, ColorImage, LazyPlane
from elodin_spark.images.planes import Plane, open_plane

#: Images of more pixels are read box by box. Whole, one takes 8 bytes a pixel.
WHOLE_PIXELS = 2**26

#: Steps that treat each pixel by itself once their numbers are settled.
POINTWISE = frozenset(("AsinhStretch", "GrayScale", "GrayToRGB"))

Row = Mapping[str, Any]
Blank = Literal["auto"] | float | None


class Picture(Protocol):
    """An image after its steps. Boxes are ``x0, y0, x1, y1`` in px, half-open, on its grid."""

    shape: tuple[int, ...]
    #: From its grid to that of the file, shape (3, 3).
    affine: Affine

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """Processed pixels, uint8 unless a later step wants other; shape (y1 - y0, x1 - x0[, 3])."""
        ...


class Rows(Protocol):
    """What is read by rows: a :class:`Plane`, or an array that looks like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(ny, nx) or (ny, nx, 3)."""
        ...

    @property
    def seekable(self) -> bool:
        """Whether single rows cost no more than their share."""
        ...

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray:
        """Pixels of a window, the caller's own where they can be written to."""
        ...

    def read_rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Whole rows."""
        ...


class HeldRows:
    """An array as rows to read."""

    seekable = True

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels.view()
        self._pixels.setflags(write=False)  # nobody works in what is read again
        self.shape: tuple[int, ...] = pixels.shape

    def read(self, y0: int, y1: int, x0: int = 0, x1: int | None = None) -> np.ndarray:
        """Pixels of a window, not copied."""
        return self._pixels[y0:y1, x0:x1]

    def read_rows(self, wanted: Sequence[int]) -> np.ndarray:
        """Whole rows, copied."""
        return self._pixels[wanted]


class WholePicture:
    """An image that is processed at once.

    Parameters
    ----------
    plane : Plane
        Or anything with its `shape`, `seekable`, `read` and `read_rows`.
    steps : "auto" or sequence of Step
    as_bytes : bool
        Convert to 8 bits once, rather than once for each of the overlapping windows.
    """

    def __init__(self, plane: Rows, steps: Literal["auto"] | Sequence[Step], as_bytes: bool) -> None:
        height = plane.shape[0]
        if not plane.seekable:
            plane = HeldRows(plane.read(0, height))
        chosen = default_steps(plane.read(0, 1), steps)
        if chosen and as_bytes and all(step.type in POINTWISE for step in chosen):
            # Strip by strip: a fraction of the time and of the memory.
            self._pixels, self.affine = _bytes_by_strips(plane, chosen), np.eye(3)
        else:
            self._pixels, self.affine = apply_steps(plane.read(0, height), chosen)
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
        Or anything with its `shape`, `seekable`, `read` and `read_rows`.
    steps : "auto" or sequence of Step
        AsinhStretch, GrayScale and GrayToRGB only.

    Raises
    ------
    ImageError
        Kind ``too_large``: a step needs the whole image.
    """

    def __init__(self, plane: Rows, steps: Literal["auto"] | Sequence[Step]) -> None:
        height, width = plane.shape[:2]
        sample = plane.read_rows(sample_rows(height, width).tolist())
        self._plane = plane
        self._steps: list[AsinhLevels | GrayScale | GrayToRGB | None] = []
        chosen = default_steps(sample, steps)
        for number, step in enumerate(chosen, start=1):
            match step.model():
                case GrayScale():
                    sample = gray(sample)
                    self._steps.append(GrayScale())
                case GrayToRGB():
                    sample = rgb(sample)
                    self._steps.append(GrayToRGB())
                case AsinhStretch(black_sigma=black, softening_sigma=softening, white_percentile=white):
                    levels = fit_asinh(sample, black, softening, white)
                    self._steps.append(levels)
                    if number < len(chosen):  # a later step looks at the values
                        blank = np.zeros(sample.shape, np.float32)
                        sample = blank if levels is None else levels.apply(sample)
                case _:
                    raise _too_large(height, width, step.type)
        self.shape: tuple[int, ...] = (height, width, *sample.shape[2:])
        self.affine = np.eye(3)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """See :class:`Picture`."""
        return self._stepped(self._plane.read(y0, y1, x0, x1), self._steps)

    def read_bytes(self, y0: int, out: NDArray[np.uint8]) -> None:
        """Write whole rows from `y0` on to `out` as 8 bits."""
        pixels = self._plane.read(y0, y0 + len(out))
        last = self._steps[-1] if self._steps else None
        if isinstance(last, AsinhLevels):
            pixels = self._stepped(pixels, self._steps[:-1])
            own = pixels.flags.writeable and pixels.dtype == np.float32
            last.apply_as_bytes(pixels, out, pixels if own else np.empty(pixels.shape, np.float32))
        else:
            out[...] = to_uint8(self._stepped(pixels, self._steps))

    @staticmethod
    def _stepped(
        pixels: np.ndarray, steps: Sequence[AsinhLevels | GrayScale | GrayToRGB | None]
    ) -> np.ndarray:
        for step in steps:
            if isinstance(step, GrayScale):
                pixels = gray(pixels)
            elif isinstance(step, GrayToRGB):
                pixels = rgb(pixels)
            elif step is None:
                pixels = np.zeros(pixels.shape, np.float32)
            else:
                pixels = step.apply(pixels)
        return pixels


def _bytes_by_strips(plane: Rows, steps: Sequence[Step]) -> NDArray[np.uint8]:
    """Steps that treat each pixel by itself, and 8 bits; the same as on the whole image."""
    height = plane.shape[0]
    color = steps[-1].type == "GrayToRGB"  # last, so that its work is done on bytes of one channel
    lazy = LazyPicture(plane, steps[:-1] if color else steps)
    out = np.empty(lazy.shape, np.uint8)
    step = max(1, STRIP_PIXELS // math.prod(plane.shape[1:]))
    for y0 in range(0, height, step):
        lazy.read_bytes(y0, out[y0 : y0 + step])
    return seen_as_rgb(out) if color and out.ndim == 2 else out


class _ColorPicture:
    """Several bands as one image of three channels."""

    def __init__(self, image: ColorImage) -> None:
        self._image = image
        self.shape: tuple[int, ...] = (image.grid.height, image.grid.width, 3)
        self.affine = np.eye(3)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        return self._image.read((x0, y0, x1, y1))


class _HeldPlane(HeldRows):
    """A plane whose pixels are in memory."""

    def __init__(self, plane: Plane, pixels: np.ndarray) -> None:
        super().__init__(pixels)
        self.mask_bits, self.bad_bits = plane.mask_bits, plane.bad_bits
        self.saturation_level = plane.saturation_level
        self.flux_unit = plane.flux_unit
        self.mask, self.variance = plane.mask, plane.variance


@contextmanager
def open_picture(
    image: Row,
    steps: Literal["auto"] | Sequence[Step],
    color: ColorSettings | None,
    storage: Mapping[str, Any],
    as_bytes: bool,
    keep_raw: bool = False,
    blank: Blank = "auto",
) -> Iterator[tuple[Picture, Plane]]:
    """Open an image of the images table.

    Parameters
    ----------
    image : mapping
        A row of ``schema.IMAGES``.
    steps : "auto" or sequence of Step
    color : ColorSettings, optional
        How planes of several bands become one image, where the row lists planes.
    storage : mapping
        Options of a remote store.
    as_bytes : bool
        No later step wants more than 8 bits.
    keep_raw : bool
        The unprocessed pixels will be read too: of an image that is read whole they are kept where
        reading them again means decompressing or fetching them again.
    blank : "auto", float or None
        The value of pixels that hold no data, as of :class:`~elodin_spark.cutouts.padding.KnownPlane`.

    Yields
    ------
    picture : Picture
    plane : Plane
        Unprocessed pixels, NaN where blank, and mask; of a color image, those of its reference band.

    Raises
    ------
    ImageError
    """
    with ExitStack() as stack:
        if image.get("planes") and color is not None:
            planes: dict[str, Plane] = {
                plane["band"]: KnownPlane(
                    stack.enter_context(open_plane(plane["uri"], plane["hdu"], storage)), blank
                )
                for plane in image["planes"]
                if plane["band"] in color.bands
            }
            reference = planes[color.reference_band]
            picture: Picture = _ColorPicture(_compose(image, planes, color))
            height, width = picture.shape[:2]
            if height * width <= WHOLE_PIXELS:
                # Once for the image rather than once for each of the overlapping windows.
                strips = range(0, height, STRIP_ROWS)
                rows = [picture.read(0, y0, width, min(y0 + STRIP_ROWS, height)) for y0 in strips]
                held = HeldRows(np.concatenate(rows))
                picture = WholePicture(held, () if steps == "auto" else steps, as_bytes)
            elif steps != "auto" and steps:
                raise _too_large(height, width, "images.steps of a color image")
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
            known = KnownPlane(plane, blank)
            yield LazyPicture(known, steps), known
        else:
            raw: Plane = plane if plane.seekable else _HeldPlane(plane, plane.read(0, height))
            known = KnownPlane(raw, blank)
            picture = WholePicture(known, steps, as_bytes)
            again: Plane = known if keep_raw else KnownPlane(plane, blank)
            del raw, known  # what nobody reads again need not stay in memory
            yield picture, again


def _too_large(height: int, width: int, what: str) -> ImageError:
    return ImageError(
        f"the image has {width} x {height} px; {what} needs it whole in memory, for which {WHOLE_PIXELS} px "
        "is the limit: leave it out of the settings, or cut the image into tiles first",
        kind="too_large",
    )


def _compose(image: Row, planes: Mapping[str, Plane], color: ColorSettings) -> ColorImage:
    headers = {plane["band"]: plane.get("wcs") for plane in image["planes"]}

    def lazy(band: str, plane: Plane) -> LazyPlane:
        height, width = plane.shape[:2]
        grid = Grid(headers[band], width, height)
        return LazyPlane(grid, lambda box: plane.read(box[1], box[3], box[0], box[2]), plane.flux_unit)

    return ColorImage({band: lazy(band, plane) for band, plane in planes.items()}, color)
