"""The windows of one image, by any generator, and what they were laid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.base import Length
from elodin_spark.config.settings import (
    Blobs,
    FullImage,
    Generator,
    Positions,
    QualitySettings,
    SlidingWindow,
    Sources,
    length_px,
)
from elodin_spark.cutouts.generators import blob_windows, full_image, sliding_windows
from elodin_spark.cutouts.picture import WHOLE_PIXELS, Picture
from elodin_spark.cutouts.positions import positions_in_image
from elodin_spark.cutouts.quality import unusable
from elodin_spark.cutouts.sources import Sources as Detected
from elodin_spark.cutouts.sources import detect_sources_in_strips
from elodin_spark.cutouts.sourcewindows import source_windows
from elodin_spark.cutouts.steps import Affine
from elodin_spark.errors import ImageError
from elodin_spark.images.planes import Plane

Row = Mapping[str, Any]
Targets = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Layout:
    """Windows of one image, in the order they are cut.

    Attributes
    ----------
    windows : ndarray, shape (n, 4), int32
        ``x0, y0, x1, y1``, px, half-open, on the grid of the image after its steps; each once.
    shifted : ndarray, shape (n,), bool
        Moved inside the image by the generator.
    position_ids : list of str, optional
        The position each was laid for.
    sources : list of dict, optional
        The source each was laid for, as :data:`elodin_spark.schema.SOURCE`.
    """

    windows: NDArray[np.int32]
    shifted: NDArray[np.bool_]
    position_ids: list[str] | None = None
    sources: list[dict[str, Any]] | None = field(default=None)

    def __len__(self) -> int:
        return len(self.windows)

    def take(self, rows: NDArray[np.intp]) -> Layout:
        """Some of the windows."""
        return Layout(
            self.windows[rows],
            self.shifted[rows],
            None if self.position_ids is None else [self.position_ids[i] for i in rows],
            None if self.sources is None else [self.sources[i] for i in rows],
        )


def lay_windows(
    generator: Generator,
    picture: Picture,
    plane: Plane,
    image: Row,
    targets: Targets = (),
    quality: QualitySettings | None = None,
) -> Layout:
    """Lay the windows of a generator on an image.

    Parameters
    ----------
    generator : Generator
    picture : Picture
        The image after its steps.
    plane : Plane
        The image before; sources are detected on it.
    image : mapping
        A row of ``schema.IMAGES``.
    targets : sequence of mapping
        Positions of a catalog that may lie on the image, as ``schema.TARGET``.
    quality : QualitySettings, optional
        Which pixels are spoilt or blank, for the detection of sources; by default those of the defaults.

    Returns
    -------
    Layout

    Raises
    ------
    ImageError
        Kinds ``smaller_than_window``; ``no_scale``: a size is an angle and the image has no
        pixel scale; ``too_large``; ``moved``: steps move pixels where that is not allowed.
    """
    height, width = picture.shape[:2]
    match generator:
        case FullImage():
            return _layout(full_image(height, width))
        case SlidingWindow():
            return sliding_layout(picture.shape, pixel_scale(image, picture.affine), generator)
        case Blobs():
            if height * width > WHOLE_PIXELS:
                raise ImageError(
                    f"the image has {width} x {height} px, more than blobs can be found in ({WHOLE_PIXELS}); "
                    "use sliding_window or sources, or cut the image into tiles first",
                    kind="too_large",
                )
            pixels = picture.read(0, 0, width, height)
            return _layout(
                blob_windows(
                    pixels, generator.sigma, generator.threshold, generator.padding, generator.min_size
                )
            )
        case Positions():
            refuse_moved(generator.kind, picture.affine)
            return position_layout(image, picture.shape, generator, targets)
        case Sources():
            return _around_sources(generator, picture, plane, image, quality or QualitySettings())


def pixel_scale(image: Row, affine: Affine) -> float | None:
    """Pixel scale of an image after its steps, arcsec/px; None without a WCS."""
    if image["pixel_scale"] is None:
        return None
    return float(image["pixel_scale"] * np.sqrt(abs(np.linalg.det(affine[:2, :2]))))


def _layout(windows: NDArray[np.int32]) -> Layout:
    return Layout(windows, np.zeros(len(windows), bool))


def sliding_layout(shape: tuple[int, ...], scale: float | None, generator: SlidingWindow) -> Layout:
    """Sliding windows by the shape of an image alone.

    Parameters
    ----------
    shape : tuple of int
        Of the image after its steps, (ny, nx) or (ny, nx, 3).
    scale : float or None
        Its pixel scale, arcsec/px, where known.
    generator : SlidingWindow

    Returns
    -------
    Layout

    Raises
    ------
    ImageError
        Kinds ``smaller_than_window``, ``no_scale``, ``step_too_large``.
    """
    height, width = shape[:2]
    parts, shifted = [], []
    for length in generator.size:
        size = _px(length, scale)
        step = max(1, size // 2) if generator.step is None else _px(generator.step, scale)
        if step > size:
            raise ImageError(
                f"a step of {step} px is larger than windows of {size} px: pixels between are lost",
                kind="step_too_large",
            )
        windows = sliding_windows(height, width, size, step, generator.edge)
        parts.append(windows)
        shifted.append((windows[:, 0] % step != 0) | (windows[:, 1] % step != 0))
    laid = Layout(np.concatenate(parts), np.concatenate(shifted))
    return laid if len(parts) == 1 else _unique(laid)  # windows of one size differ


def position_layout(image: Row, shape: tuple[int, ...], generator: Positions, targets: Targets) -> Layout:
    """Windows around the positions that lie on an image whose steps move no pixels.

    Parameters
    ----------
    image : mapping
        A row of ``schema.IMAGES``.
    shape : tuple of int
        Of the image, (ny, nx) or (ny, nx, 3).
    generator : Positions
    targets : sequence of mapping
        Positions that may lie on it, as ``schema.TARGET``.

    Returns
    -------
    Layout

    Raises
    ------
    ImageError
        Kinds ``smaller_than_window``, ``no_scale``.
    """
    if not targets or image["wcs"] is None:
        return Layout(np.empty((0, 4), np.int32), np.empty(0, bool), [])
    height, width = shape[:2]
    scale = pixel_scale(image, np.eye(3))
    ra, dec = (np.array([target[name] for target in targets], np.float64) for name in ("ra", "dec"))
    windows, shifted, names = [], [], []
    for length in generator.size:
        found = positions_in_image(image["wcs"], width, height, ra, dec, _px(length, scale), generator.edge)
        windows.append(found.windows)
        shifted.append(found.shifted)
        names += [targets[i]["position_id"] for i in found.position]
    return _unique(Layout(np.concatenate(windows), np.concatenate(shifted), names))


def _px(length: Length, scale: float | None) -> int:
    px = length_px(length, scale)
    if px is None:
        raise ImageError(
            f"a length of {length} needs a pixel scale, and the image has no celestial WCS; give it in px",
            kind="no_scale",
        )
    return max(px, 1)


def _around_sources(
    generator: Sources, picture: Picture, plane: Plane, image: Row, quality: QualitySettings
) -> Layout:
    refuse_moved(generator.kind, picture.affine)
    height, width = plane.shape[:2]

    def read_rows(y0: int, y1: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        pixels = plane.read(y0, y1)
        bad = unusable(pixels, quality, plane.mask(y0, y1), plane.mask_bits, plane.bad_bits)
        values = pixels.astype(np.float32, copy=False)
        return (values if values.ndim == 2 else values.mean(axis=2)), bad, plane.variance(y0, y1)

    found = detect_sources_in_strips(
        read_rows,
        (height, width),
        threshold_sigma=generator.threshold_sigma,
        min_area_px=generator.min_area_px,
        zero_point=generator.zero_point,
    )
    windows, shifted, rows = [], [], []
    for length in generator.size or (None,):
        if length is None:
            laid = source_windows(found, (height, width), extent_factor=generator.extent_factor)
        else:
            laid = source_windows(
                found, (height, width), size_px=_px(length, pixel_scale(image, picture.affine))
            )
        windows.append(laid.windows)
        shifted.append(laid.shifted)
        rows += [_source(found, int(i)) for i in laid.source]
    return _unique(Layout(np.concatenate(windows), np.concatenate(shifted), sources=rows))


def _source(found: Detected, i: int) -> dict[str, Any]:
    def number(values: NDArray[np.float64] | None) -> float | None:
        return None if values is None or not np.isfinite(values[i]) else float(values[i])

    return {
        "flux": number(found.flux),
        "mag": number(found.mag),
        "x": number(found.x),
        "y": number(found.y),
        "a": number(found.a),
        "b": number(found.b),
        "theta_deg": number(found.theta_deg),
        "half_light_px": number(found.half_light_px),
        "flags": int(found.flags[i]),
    }


def refuse_moved(kind: str, affine: Affine) -> None:
    """Raise ImageError of kind ``moved`` where steps move pixels."""
    if not np.array_equal(affine, np.eye(3)):
        raise ImageError(
            f"{kind} lie on the pixels of the file, and images.steps move them; drop Crop, Resize, Rotate, "
            "FlipLR and FlipUD from images.steps, or put them into cutouts.steps",
            kind="moved",
        )


def _unique(layout: Layout) -> Layout:
    """Each window once (its ID is its place), in the order they first come."""
    _, first = np.unique(layout.windows, axis=0, return_index=True)
    if len(first) == len(layout):
        return layout
    return layout.take(np.sort(first))
