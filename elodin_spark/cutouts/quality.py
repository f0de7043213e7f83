"""How good the pixels of each window are, and what is done about it.

All windows of an image are measured together. Fractions are counted with summed-area tables
(Crow 1984, SIGGRAPH 18, 207): four look-ups a window, however large it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.config.quality import FractionRule, QualitySettings
from elodin_spark.cutouts.skylevel import Layer, sky_and_sigma
from elodin_spark.errors import ImageError
from elodin_spark.images.dqbits import SATURATION_NAMES
from elodin_spark.schema import QUALITY

#: Pixels of a band of rows: with a mask of 32 bits 1 MB.
_BAND_PIXELS = 2**18


class Verdict(IntEnum):
    """What becomes of a window."""

    KEEP = 0
    FILL = 1
    REJECT = 2


@dataclass(frozen=True)
class Quality:
    """Quality of the n windows of an image.

    Attributes
    ----------
    nodata_fraction : ndarray, shape (n,), float32
        Of the pixels: NaN, infinite, or blank.
    masked_fraction : ndarray, shape (n,), float32, or None
        With any of the bad bits set; None without a mask, and where the mask has none of these bits, for
        then nobody knows.
    bit_fractions : dict of str to ndarray, shape (n,), float32, or None
        By name of the bit; bits that no pixel of the image has are left out. None without a mask.
    saturated_fraction : ndarray, shape (n,), float32, or None
        None without a saturation level.
    edge_px : ndarray, shape (n,), int32
        Between the window and the nearest edge of the image.
    shifted : ndarray, shape (n,), bool, or None
        Moved inside the image by its generator.
    sky, sky_sigma : ndarray, shape (n,), float32
        Sigma-clipped median, and sigma by the median absolute deviation, in the unit of the image;
        NaN with fewer than :data:`elodin_spark.cutouts.skylevel.MIN_SKY_PX` known pixels.
    """

    nodata_fraction: NDArray[np.float32]
    masked_fraction: NDArray[np.float32] | None
    bit_fractions: dict[str, NDArray[np.float32]] | None
    saturated_fraction: NDArray[np.float32] | None
    edge_px: NDArray[np.int32]
    shifted: NDArray[np.bool_] | None
    sky: NDArray[np.float32]
    sky_sigma: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.edge_px)

    def columns(self) -> dict[str, pa.Array]:
        """The columns of :data:`QUALITY`; what is not known is null."""
        n = len(self)
        unknown = pa.nulls(n, pa.float32())
        arrays = {
            "nodata_fraction": pa.array(self.nodata_fraction),
            "masked_fraction": unknown if self.masked_fraction is None else pa.array(self.masked_fraction),
            "mask_fractions": _as_map(self.bit_fractions, n),
            "saturated_fraction": (
                unknown if self.saturated_fraction is None else pa.array(self.saturated_fraction)
            ),
            "edge_px": pa.array(self.edge_px),
            "shifted": pa.nulls(n, pa.bool_()) if self.shifted is None else pa.array(self.shifted),
            "sky": pa.array(self.sky, mask=np.isnan(self.sky)),
            "sky_sigma": pa.array(self.sky_sigma, mask=np.isnan(self.sky_sigma)),
        }
        return {name: arrays[name].cast(QUALITY.field(name).type) for name in QUALITY.names}


def window_quality(
    pixels: np.ndarray,
    windows: ArrayLike,
    *,
    mask: np.ndarray | None = None,
    mask_bits: Mapping[str, int] | None = None,
    bad_bits: tuple[str, ...] = (),
    saturation_level: float | None = None,
    blank: float | None = None,
    shifted: NDArray[np.bool_] | None = None,
    sample_px: int = 512,
) -> Quality:
    """Measure the windows of an image.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (ny, nx, 3)
        Physical values, before any stretch. Of colors, a pixel lacks data or is saturated where
        any channel does or is; the sky is that of the channels' mean.
    windows : array_like, shape (n, 4)
        ``x0, y0, x1, y1`` on the image, px, half-open.
    mask : ndarray, shape (ny, nx), integer, optional
        The mask plane.
    mask_bits : mapping of str to int, optional
        Number of each named bit, the lowest being 0.
    bad_bits : tuple of str
        Bits that spoil a pixel for ``masked_fraction``, the sky and the noise. Names
        that `mask_bits` lacks are passed over, as not every image of an archive has all bits; where it
        lacks all, ``masked_fraction`` is not known.
    saturation_level : float, optional
        Pixels at or above it are saturated.
    blank : float, optional
        Pixels of exactly this value hold no data.
    shifted : ndarray, shape (n,), bool, optional
        Passed on.
    sample_px : int
        Sky and noise are those of about as many pixels, spread evenly over the window; of
        all of them where the window has no more than twice as many.

    Returns
    -------
    Quality
    """
    boxes = np.asarray(windows, np.int64).reshape(-1, 4)
    edges = [boxes[:, 0], boxes[:, 1], pixels.shape[1] - boxes[:, 2], pixels.shape[0] - boxes[:, 3]]
    edge_px = np.minimum.reduce(edges).astype(np.int32)
    if len(boxes) and edge_px.min() < 0:
        raise ValueError("a window leaves the pixels that are given")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    layers: dict[str, Layer] = {"nodata": lambda part: no_data(pixels[part], blank)}
    if saturation_level is not None:
        layers["saturated"] = lambda part: _saturated(pixels[part], saturation_level)
    bits: list[str] = []
    if mask is not None:
        numbers = dict(mask_bits or {})
        present = _bits_present(mask, boxes)
        bits = [name for name, number in numbers.items() if present >> number & 1]
        if any(name in numbers for name in bad_bits):
            bad = _number_of(numbers, bad_bits, mask)
            layers["masked"] = lambda part: _with_bits(mask[part], bad)
        for name in bits:
            wanted = _number_of(numbers, (name,), mask)
            layers[f"bit {name}"] = lambda part, wanted=wanted: _with_bits(mask[part], wanted)  # type: ignore[misc]
    counts = _counts(layers, boxes, areas, (pixels.shape[0], pixels.shape[1]))
    fractions = {name: (count / areas).astype(np.float32) for name, count in counts.items()}
    sky, sky_sigma = sky_and_sigma(pixels, layers.get("masked"), blank, boxes, sample_px)
    return Quality(
        nodata_fraction=fractions["nodata"],
        masked_fraction=fractions.get("masked"),
        bit_fractions=None if mask is None else {name: fractions[f"bit {name}"] for name in bits},
        saturated_fraction=fractions.get("saturated"),
        edge_px=edge_px,
        shifted=shifted,
        sky=sky,
        sky_sigma=sky_sigma,
    )


def no_data(pixels: np.ndarray, blank: float | None = None) -> NDArray[np.bool_]:
    """Where pixels are NaN, infinite or exactly `blank`; for colors, in any channel. Shape (ny, nx)."""
    unknown = ~np.isfinite(pixels)
    if blank is not None:
        unknown |= pixels == blank
    return unknown.any(axis=2) if unknown.ndim == 3 else unknown


def unusable(
    pixels: np.ndarray,
    settings: QualitySettings,
    mask: np.ndarray | None,
    mask_bits: Mapping[str, int],
    bad_bits: tuple[str, ...],
) -> NDArray[np.bool_]:
    """Where no source can be measured: without data, or with a bad bit other than of saturation.

    The light of saturated pixels is real: without them a bright star would be taken for the ring around it.

    Parameters
    ----------
    pixels, mask, mask_bits
        As of :func:`window_quality`.
    settings : QualitySettings
    bad_bits : tuple of str
        Where the settings name none.

    Returns
    -------
    ndarray, shape (ny, nx), bool
    """
    bad = no_data(pixels, settings.blank_value)
    if mask is not None:
        names = bad_bits if settings.bad_bits is None else settings.bad_bits
        spoilt = tuple(name for name in names if name not in SATURATION_NAMES)
        bad |= _with_bits(mask, _number_of(mask_bits, spoilt, mask))
    return bad


def pixels_to_fill(
    pixels: np.ndarray,
    settings: QualitySettings,
    *,
    mask: np.ndarray | None = None,
    mask_bits: Mapping[str, int] | None = None,
    bad_bits: tuple[str, ...] = (),
    saturation_level: float | None = None,
) -> NDArray[np.bool_]:
    """The pixels that are replaced in windows whose verdict is FILL: those of every rule that fills.

    Parameters
    ----------
    pixels, mask, mask_bits, bad_bits, saturation_level
        As of :func:`window_quality`; of an image or of one window.
    settings : QualitySettings

    Returns
    -------
    ndarray, shape (ny, nx), bool
    """
    wanted = np.zeros(pixels.shape[:2], bool)
    if settings.nodata.fill_above is not None:
        wanted |= no_data(pixels, settings.blank_value)
    if settings.saturated.fill_above is not None and saturation_level is not None:
        wanted |= _saturated(pixels, saturation_level)
    if mask is not None:
        names = [name for name, rule in settings.bits.items() if rule.fill_above is not None]
        names += bad_bits if settings.masked.fill_above is not None else ()
        wanted |= _with_bits(mask, _number_of(mask_bits or {}, tuple(names), mask))
    return wanted


def judge(quality: Quality, settings: QualitySettings) -> tuple[NDArray[np.uint8], list[str | None]]:
    """What becomes of each window. One without any data is rejected whatever the rules.

    Parameters
    ----------
    quality : Quality
        Of n windows.
    settings : QualitySettings

    Returns
    -------
    verdicts : ndarray, shape (n,), uint8
        Of :class:`Verdict`.
    reasons : list of str or None
        Why a window was rejected, the first reason of several.
    """
    verdicts = np.full(len(quality), Verdict.KEEP, np.uint8)
    reasons: list[str | None] = [None] * len(quality)
    # There is nothing in it that a vector or a label could be of.
    for i in np.flatnonzero(quality.nodata_fraction == 1):
        verdicts[i], reasons[i] = Verdict.REJECT, "no pixel of the window has data"
    rules: list[tuple[str, NDArray[np.float32] | None, FractionRule]] = [
        ("no data", quality.nodata_fraction, settings.nodata),
        ("a bad bit of the mask", quality.masked_fraction, settings.masked),
        ("saturation", quality.saturated_fraction, settings.saturated),
    ]
    rules += [
        (f"mask bit {name}", (quality.bit_fractions or {}).get(name), rule)
        for name, rule in settings.bits.items()
    ]
    for what, fractions, rule in rules:
        if fractions is None:
            continue
        if rule.fill_above is not None:
            above = (fractions > np.float32(rule.fill_above)) & (verdicts == Verdict.KEEP)
            verdicts[above] = Verdict.FILL
        if rule.reject_above is not None:
            for i in np.flatnonzero(fractions > np.float32(rule.reject_above)):
                verdicts[i] = Verdict.REJECT
                reasons[i] = reasons[i] or (
                    f"{fractions[i]:.3f} of the window has {what}, more than {rule.reject_above:g}"
                )
    for i in np.flatnonzero(quality.edge_px < settings.min_edge_px):
        verdicts[i] = Verdict.REJECT
        reasons[i] = reasons[i] or (
            f"the window is {quality.edge_px[i]} px from the edge of the image, less than "
            f"{settings.min_edge_px}"
        )
    return verdicts, reasons


def _as_map(fractions: dict[str, NDArray[np.float32]] | None, n: int) -> pa.Array:
    """One map a window, of the bits it has; null where there was no mask."""
    if fractions is None:
        return pa.nulls(n, QUALITY.field("mask_fractions").type)
    names = sorted(fractions)
    table = np.stack([fractions[name] for name in names], axis=1) if names else np.empty((n, 0), np.float32)
    window, bit = np.nonzero(table)
    starts = np.searchsorted(window, np.arange(n + 1)).astype(np.int32)
    keys = pa.array(np.array(names, object)[bit], type=pa.string())
    values = pa.array(table[window, bit], type=pa.float32())
    return pa.MapArray.from_arrays(pa.array(starts), keys, values)


def _saturated(pixels: np.ndarray, level: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        reached = pixels >= level
    return np.asarray(reached.any(axis=2) if reached.ndim == 3 else reached)


def _number_of(numbers: Mapping[str, int], names: tuple[str, ...], mask: np.ndarray) -> int:
    """The bits of those names that there are, as a number."""
    wanted = 0
    for name in names:
        if name in numbers:
            wanted |= 1 << numbers[name]
    width = 8 * mask.dtype.itemsize
    if wanted >> width:
        raise ImageError(
            f"the mask has {width} bits, but bit {wanted.bit_length() - 1} is named; "
            "name the bits of this mask",
            kind="bad_mask",
        )
    return wanted


def _bits_present(mask: np.ndarray, boxes: NDArray[np.int64]) -> int:
    """All bits that any pixel of the rows of the windows has."""
    if not len(boxes):
        return 0
    rows = mask[boxes[:, 1].min() : boxes[:, 3].max()]
    return int(np.bitwise_or.reduce(rows, axis=None)) % (1 << 8 * mask.dtype.itemsize)


def _with_bits(mask: np.ndarray, wanted: int) -> NDArray[np.bool_]:
    """Where any of the bits is set."""
    if not wanted:
        return np.zeros(mask.shape, bool)
    unsigned = np.dtype(f"u{mask.dtype.itemsize}").newbyteorder(mask.dtype.byteorder)
    return np.bitwise_and(mask.view(unsigned), unsigned.type(wanted)) != 0


def _counts(
    layers: Mapping[str, Layer], boxes: NDArray[np.int64], areas: NDArray[np.int64], shape: tuple[int, int]
) -> dict[str, NDArray[np.int64]]:
    """True pixels of each layer in each window."""
    counts = {name: np.zeros(len(boxes), np.int64) for name in layers}
    if not len(boxes):
        return counts
    if areas.sum() <= shape[0] * shape[1] // 2:  # tables of the image would cost more
        for number, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            for name, layer in layers.items():
                counts[name][number] = np.count_nonzero(layer((slice(y0, y1), slice(x0, x1))))
        return counts
    import cv2

    # The table is worked out in bands that stay in the processor's cache, and only its rows at
    # edges of windows are kept.
    edges = np.unique(boxes[:, [1, 3]])
    tables = {name: np.zeros((len(edges), shape[1] + 1), np.int32) for name in layers}
    above = {name: np.zeros(shape[1] + 1, np.int32) for name in layers}
    band = max(_BAND_PIXELS // shape[1], 1)
    for start in range(int(edges[0]), int(edges[-1]), band):
        stop = min(start + band, int(edges[-1]))
        here = np.flatnonzero((edges > start) & (edges <= stop))
        for name, layer in layers.items():
            flags = layer((slice(start, stop), slice(None)))
            if flags.any():
                table = cv2.integral(np.ascontiguousarray(flags).view(np.uint8), sdepth=cv2.CV_32S)
                tables[name][here] = above[name] + table[edges[here] - start]
                above[name] = above[name] + table[-1]
            else:
                tables[name][here] = above[name]
    x0, x1 = boxes[:, 0], boxes[:, 2]
    top, bottom = np.searchsorted(edges, boxes[:, 1]), np.searchsorted(edges, boxes[:, 3])
    for name, table in tables.items():
        counts[name] += table[bottom, x1] - table[top, x1] - table[bottom, x0] + table[top, x0]
    return counts
