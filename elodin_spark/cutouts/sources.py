"""Sources detected on an image.

Detection and measurement are those of Source Extractor (Bertin & Arnouts 1996, A&AS 117,
393) as SEP has them (Barbary 2016, JOSS 1, 58).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import ImageError, import_extra

#: Side of the boxes in which sky and noise are estimated, px.
SKY_BOX_PX = 64
#: Most pixels above the threshold at one time, and most parts of one blend, tried before giving up.
MAX_ACTIVE_PIXELS = 2**23
MAX_BLEND_PARTS = 2**14

#: Sources of neighboring strips closer than this are one, px.
_SAME_PX = 2.0
#: Kron ellipses: measured out to 6 times the moments, 2.5 times the Kron radius summed, as Source
#: Extractor's MAG_AUTO with its smallest radius of 3.5 px.
_KRON_RANGE, _KRON_FACTOR, _KRON_MIN_PX = 6.0, 2.5, 3.5
#: Pixels by which the level of a variance is found.
_LEVEL_PIXELS = 2**18
#: SEP keeps its limits for the whole process.
_LIMITS = threading.Lock()


@dataclass(frozen=True)
class Sources:
    """Sources of one image, sorted by row, then column.

    Attributes
    ----------
    x, y : ndarray, shape (n,), float64
        Barycenter, px, from 0; integers are the centers of pixels.
    flux : ndarray, shape (n,), float64
        Above the sky, in the unit of the image, within the Kron ellipse (FLUX_AUTO); within the
        isophote where no ellipse could be measured.
    mag : ndarray, shape (n,), float64, or None
        ``zero_point - 2.5 log10(flux)``; NaN where the flux is not positive. None without a
        zero point.
    a, b : ndarray, shape (n,), float64
        Semi-axes of the second moments, px.
    theta_deg : ndarray, shape (n,), float64
        Angle of the major axis from +x towards +y, in [-90, 90].
    ellipticity : ndarray, shape (n,), float64
        ``1 - b / a``.
    half_light_px : ndarray, shape (n,), float64
        Radius of the circle that holds half the flux; NaN where it could not be measured.
    boxes : ndarray, shape (n, 4), int32
        ``x0, y0, x1, y1`` of the isophote, px, half-open.
    flags : ndarray, shape (n,), int32
        SEP's: 1 blended, 2 cut off by the edge of the image, and so on.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    mag: NDArray[np.float64] | None
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    theta_deg: NDArray[np.float64]
    ellipticity: NDArray[np.float64]
    half_light_px: NDArray[np.float64]
    boxes: NDArray[np.int32]
    flags: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: NDArray[Any]) -> Sources:
        """The sources `index`, or those where it is true, in its order."""
        values = _columns(self)
        taken: dict[str, Any] = {n: None if v is None else v[index] for n, v in values.items()}
        return Sources(**taken)


def detect_sources(
    pixels: np.ndarray,
    mask: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    *,
    threshold_sigma: float = 3.0,
    min_area_px: int = 5,
    deblend_levels: int = 32,
    deblend_contrast: float = 0.005,
    zero_point: float | None = None,
) -> Sources:
    """Detect and measure the sources of an image.

    The sky and its noise are estimated in boxes of :data:`SKY_BOX_PX`; a source is at least
    `min_area_px` connected pixels that exceed the sky, smoothed by a 3 x 3 px kernel, by
    `threshold_sigma` times the local noise. Beyond `pixels` itself this takes about 12 bytes a
    pixel (float32 copies less the sky and of the noise, and masks), with a variance 21; see
    :func:`detect_sources_in_strips` where that is too much.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx)
        Of any numeric type and byte order. NaN and infinite pixels count as masked.
    mask : ndarray, shape (ny, nx), bool, optional
        True where a pixel is not to be used.
    variance : ndarray, shape (ny, nx), optional
        Of the pixels, up to a factor: it says where the image is noisier than elsewhere, and the image
        itself how noisy it is. Where it is infinite or NaN the pixel is not used; where it is 0 or negative,
        the noise is that of the surroundings.
    threshold_sigma : float
    min_area_px : int
    deblend_levels : int
        Thresholds between the detection threshold and the peak at which a blend may part.
    deblend_contrast : float
        Least fraction of the flux of a blend that a part must hold; 1 parts nothing.
    zero_point : float, optional
        Magnitude of unit flux, mag.

    Returns
    -------
    Sources
        None where the image is constant or wholly masked.

    Raises
    ------
    ImageError
        Kind ``too_many_sources``: more pixels above the threshold, or more parts of one blend, than
        the limits of this module.
    """
    sep = import_extra("sep", "cutouts.generator sources")

    values, bad = _prepared(pixels, mask, variance)
    if bad.all() or values.size == 0:
        return _empty(zero_point)
    spread = float(np.ptp(values[~bad]))
    if spread == 0.0:
        return _empty(zero_point)
    height, width = values.shape
    box = {"bw": min(SKY_BOX_PX, width), "bh": min(SKY_BOX_PX, height)}
    background = sep.Background(values, mask=bad, **box)
    background.subfrom(values)
    noise = background.rms(dtype=np.float32)
    # Where the noise steps, the spline through the boxes swings below the quietest of them, even
    # below zero. Without noise whatever exceeds the sky by more than rounding is a source.
    quietest = float(noise[box["bh"] // 2 :: box["bh"], box["bw"] // 2 :: box["bw"]].min())
    np.maximum(noise, np.float32(max(quietest, 1e-6 * spread)), out=noise)
    if variance is not None:
        _follow(noise, variance, bad)
    found = _extract(
        values,
        noise,
        bad,
        thresh=threshold_sigma,
        minarea=min_area_px,
        deblend_nthresh=deblend_levels,
        deblend_cont=deblend_contrast,
    )
    del noise
    return _measure(values, bad, found, zero_point)


def detect_sources_in_strips(
    read_rows: Callable[[int, int], tuple[np.ndarray, np.ndarray | None, np.ndarray | None]],
    shape: tuple[int, int],
    *,
    strip_px: int = 2048,
    margin_px: int = 256,
    **options: Any,
) -> Sources:
    """Detect sources strip by strip, in memory that does not grow with the height of an image.

    Strips overlap by `margin_px` on each side; a source belongs to the strip that holds its
    barycenter. What it costs: ``2 * margin_px / strip_px`` more pixels are looked at, sources
    taller than the margin are cut, and the sky next to a seam, so the threshold, is estimated from
    other boxes than in the whole image, by which a few of the faintest come and go.

    Parameters
    ----------
    read_rows : callable
        ``read_rows(y0, y1)`` gives the pixels of these rows, their mask and their variance, or None for it.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    strip_px, margin_px : int
        Rows.
    **options
        As of :func:`detect_sources`.

    Returns
    -------
    Sources

    Raises
    ------
    ImageError
        As :func:`detect_sources`.
    """
    height, _ = shape
    parts: list[Sources] = []
    for start in range(0, height, strip_px):
        stop = min(start + strip_px, height)
        y0, y1 = max(start - margin_px, 0), min(stop + margin_px, height)
        rows, mask, variance = read_rows(y0, y1)
        found = _moved(detect_sources(rows, mask, variance, **options), y0)
        low = -math.inf if start == 0 else start - _SAME_PX
        high = math.inf if stop == height else stop + _SAME_PX
        found = found.take((found.y >= low) & (found.y < high))
        parts.append(_without_repeats(parts[-1], found, start) if parts else found)
    return _ordered(_joined(parts) if parts else _empty(options.get("zero_point")))


def _follow(noise: NDArray[np.float32], variance: np.ndarray, bad: NDArray[np.bool_]) -> None:
    """Make the noise vary as the variance does, its level being kept."""
    known = (variance > 0) & ~bad
    if not known.any():
        return
    sigma = np.sqrt(variance[known].astype(np.float32, copy=False))
    measured = noise[known]
    stride = max(1, len(sigma) // _LEVEL_PIXELS)
    level = np.median(measured[::stride] / sigma[::stride])
    noise[known] = level * sigma


def _prepared(
    pixels: np.ndarray, mask: np.ndarray | None, variance: np.ndarray | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A native float32 copy, zero where not known, and where that is."""
    if pixels.ndim != 2:
        raise ImageError(f"sources are detected on one channel, not on an array of shape {pixels.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array(pixels, dtype=np.float32, order="C")
    bad = ~np.isfinite(values)
    if mask is not None:
        bad |= np.asarray(mask, bool)
    if variance is not None:
        bad |= ~np.isfinite(variance)
    values[bad] = 0.0
    return values, bad


def _extract(
    values: NDArray[np.float32], noise: NDArray[np.float32], bad: NDArray[np.bool_], **options: Any
) -> np.ndarray:
    """SEP's detection, with limits raised step by step where an image needs it."""
    sep = import_extra("sep", "cutouts.generator sources")

    with _LIMITS:
        before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
        pixels, parts = before
        try:
            while True:
                sep.set_extract_pixstack(pixels)
                sep.set_sub_object_limit(parts)
                try:
                    # The filter of Source Extractor: the threshold is in units of the unsmoothed noise.
                    found: np.ndarray = sep.extract(
                        values, err=noise, mask=bad, filter_type="conv", **options
                    )
                    return found
                except Exception as error:  # SEP raises plain Exceptions
                    message = str(error)
                    if "pixel buffer full" in message and pixels < MAX_ACTIVE_PIXELS:
                        pixels = min(8 * pixels, MAX_ACTIVE_PIXELS)
                    elif "deblending overflow" in message and parts < MAX_BLEND_PARTS:
                        parts = min(8 * parts, MAX_BLEND_PARTS)
                    elif "pixel buffer full" in message or "deblending overflow" in message:
                        raise ImageError(
                            f"too much of the image exceeds {options['thresh']:g} sigma to tell its "
                            "sources apart; raise threshold_sigma, min_area_px or deblend_contrast of "
                            "cutouts.generator, or mask the bright regions",
                            kind="too_many_sources",
                        ) from None
                    else:
                        raise
        finally:
            sep.set_extract_pixstack(before[0])
            sep.set_sub_object_limit(before[1])


def _measure(
    values: NDArray[np.float32], bad: NDArray[np.bool_], found: np.ndarray, zero_point: float | None
) -> Sources:
    sep = import_extra("sep", "cutouts.generator sources")

    if not len(found):
        return _empty(zero_point)
    x, y, a, b = (np.ascontiguousarray(found[name], np.float64) for name in ("x", "y", "a", "b"))
    # Rounding takes SEP's angles past a right angle, which its own photometry then refuses.
    theta = np.clip(found["theta"].astype(np.float64), -math.pi / 2, math.pi / 2)
    kron, _ = sep.kron_radius(values, x, y, a, b, theta, _KRON_RANGE, mask=bad)
    usable = np.isfinite(kron) & (kron > 0)
    kron = np.where(usable, kron, 0.0)
    flux, _, _ = sep.sum_ellipse(values, x, y, a, b, theta, _KRON_FACTOR * kron, mask=bad, subpix=1)
    small = kron * np.sqrt(a * b) < _KRON_MIN_PX / _KRON_FACTOR
    circles, _, _ = sep.sum_circle(values, x[small], y[small], _KRON_MIN_PX, mask=bad, subpix=5)
    flux[small] = circles
    flux = np.where(np.isfinite(flux), flux, found["flux"])
    radius, flags = sep.flux_radius(values, x, y, 6.0 * a, 0.5, normflux=flux, mask=bad, subpix=5)
    known = (flux > 0) & np.isfinite(radius) & (radius > 0) & (flags & sep.APER_NONPOSITIVE == 0)
    boxes = np.stack([found["xmin"], found["ymin"], found["xmax"] + 1, found["ymax"] + 1], axis=1)
    return _ordered(
        Sources(
            x=x,
            y=y,
            flux=flux,
            mag=None if zero_point is None else _magnitudes(flux, zero_point),
            a=a,
            b=b,
            theta_deg=np.degrees(theta),
            ellipticity=1.0 - b / a,
            half_light_px=np.where(known, radius, np.nan),
            boxes=boxes.astype(np.int32),
            flags=found["flag"].astype(np.int32),
        )
    )


def _magnitudes(flux: NDArray[np.float64], zero_point: float) -> NDArray[np.float64]:
    positive = flux > 0
    logarithm = np.log10(flux, where=positive, out=np.full(flux.shape, np.nan))
    return zero_point - 2.5 * logarithm


def _empty(zero_point: float | None) -> Sources:
    none = np.empty(0)
    mag = None if zero_point is None else none
    boxes, flags = np.empty((0, 4), np.int32), np.empty(0, np.int32)
    return Sources(none, none, none, mag, none, none, none, none, none, boxes, flags)


def _ordered(sources: Sources) -> Sources:
    return sources.take(np.lexsort((sources.x, sources.y)))


def _moved(sources: Sources, rows: int) -> Sources:
    values = _columns(sources)
    values["y"] = sources.y + rows
    values["boxes"] = sources.boxes + np.array([0, rows, 0, rows], np.int32)
    return Sources(**values)


def _columns(sources: Sources) -> dict[str, Any]:
    return {f.name: getattr(sources, f.name) for f in fields(sources)}


def _joined(parts: list[Sources]) -> Sources:
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Sources)}
    joined: dict[str, Any] = {
        name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()
    }
    return Sources(**joined)


def _without_repeats(above: Sources, found: Sources, seam: int) -> Sources:
    """`found` less those at the seam that the strip before has already."""
    from scipy.spatial import cKDTree

    theirs = np.abs(above.y - seam) < 2 * _SAME_PX
    mine = np.abs(found.y - seam) < 2 * _SAME_PX
    if not theirs.any() or not mine.any():
        return found
    tree = cKDTree(np.stack([above.x[theirs], above.y[theirs]], axis=1))
    distance, _ = tree.query(np.stack([found.x, found.y], axis=1), distance_upper_bound=_SAME_PX)
    return found.take(~(mine & (distance <= _SAME_PX)))
