"""Planes in several bands to one image of three channels, 8 bits each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.color import ChannelStretch, ColorSettings, LuptonStretch
from elodin_spark.errors import ImageError
from elodin_spark.images.align import Alignment, Box, Grid, align
from elodin_spark.images.photometry import FluxUnit

#: About how many pixels of each band statistics are taken from; larger images are sampled regularly.
SAMPLE_PIXELS = 2**19
#: Rows composed at once.
STRIP_ROWS = 256
#: Brightness, of 1, from which pixels of the Lupton stretch have the hue of their surroundings: there
#: detectors saturate, in one band before another, and a hue of their own would be false.
CORE_BRIGHTNESS = 0.8
#: Brightness from which, and up to that of cores, pixels say which hue that is, and how far from a core.
RIM_BRIGHTNESS = 0.4
CORE_RADIUS_PX = 12
#: "auto" of the Lupton stretch, in units of the noise of the mean of the channels.
AUTO_STRETCH_SIGMA = 30.0
AUTO_MINIMUM_SIGMA = 0.5

_CLIP_SIGMA, _CLIP_ROUNDS = 3.0, 10
_MAD_TO_SIGMA = 1.482602218505602  # of a normal distribution
#: Columns and rows of the boxes that a sample is taken from.
_SAMPLE_BOX = (4096, 512)


@dataclass(frozen=True)
class _Lupton:
    q: float
    stretch: float
    minimum: tuple[float, float, float]


@dataclass(frozen=True)
class _Asinh:
    """Levels of one channel; None where all its values are alike."""

    black: float
    softening: float
    white: float


@dataclass(frozen=True)
class ColorStretch:
    """A stretch whose numbers are settled: no pixel depends on others farther than :attr:`reach_px`.

    Made by :meth:`fit`; small and picklable.

    Attributes
    ----------
    channels : tuple of tuple of str
        Bands of red, green and blue.
    sky, noise, weights : dict of str to float
        Of each band, in its own unit; the weights are those in use.
    levels : object
        Where black and white are.
    """

    channels: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    sky: Mapping[str, float]
    noise: Mapping[str, float]
    weights: Mapping[str, float]
    levels: _Lupton | tuple[_Asinh | None, _Asinh | None, _Asinh | None]

    @classmethod
    def fit(
        cls,
        samples: Mapping[str, np.ndarray],
        settings: ColorSettings,
        units: Mapping[str, FluxUnit | None] | None = None,
    ) -> ColorStretch:
        """Take the numbers from a sample.

        The sky of a band is the median and its noise the standard deviation after
        clipping at 3 sigma.

        Parameters
        ----------
        samples : mapping of str to ndarray, shape (n,) or (ny, nx)
            Values of each band at the same positions; only those known in every band count.
        settings : ColorSettings
        units : mapping of str to FluxUnit, optional
            What a unit of each band is worth. Where all are known, bands without a weight of their own
            are brought to the unit of the reference band.

        Raises
        ------
        ImageError
            Kinds ``missing_band``; ``no_overlap``: no position is known in every band.
        """
        bands = settings.bands
        _require(bands, samples)
        if len({samples[band].shape for band in bands}) > 1:
            raise ValueError("samples of the bands must have one shape")
        known = np.logical_and.reduce([np.isfinite(samples[band]) for band in bands])
        if not known.any():
            raise ImageError(
                f"no pixel is known in every one of the bands {', '.join(bands)}; correct the grouping",
                kind="no_overlap",
            )
        values = {band: samples[band][known].astype(np.float32, copy=False) for band in bands}
        statistics = {band: _sky_and_noise(values[band]) for band in bands}
        sky = {band: statistics[band][0] for band in bands}
        noise = {band: statistics[band][1] for band in bands}
        if settings.weights == "noise":
            weights = {band: 1.0 / noise[band] if noise[band] > 0 else 1.0 for band in bands}
        else:
            weights = _unit_weights(settings, units or {}) | settings.weights
        stretch = settings.stretch
        if isinstance(stretch, LuptonStretch):
            noise_of_mean = _mean_noise(settings, noise, weights)
            return cls(settings.channels, sky, noise, weights, _lupton_levels(stretch, noise_of_mean))
        red, green, blue = (
            _asinh_levels(_mixed(values, channel, sky, weights), stretch) for channel in settings.channels
        )
        return cls(settings.channels, sky, noise, weights, (red, green, blue))

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands of the channels, each once."""
        return tuple(self.sky)

    @property
    def reach_px(self) -> int:
        """How far a pixel of the result may depend on others, px."""
        return CORE_RADIUS_PX if isinstance(self.levels, _Lupton) else 0

    def apply(self, planes: Mapping[str, np.ndarray]) -> NDArray[np.uint8]:
        """Compose pixels.

        Parameters
        ----------
        planes : mapping of str to ndarray, shape (ny, nx), float32
            Aligned values of each band, with their sky. The result is that of the whole image but for a
            margin of :attr:`reach_px`.

        Returns
        -------
        ndarray, shape (ny, nx, 3), uint8
            Red, green, blue. Black where any of the bands is not known: two of three
            channels would be a color that is not there.

        Raises
        ------
        ImageError
            Kind ``missing_band``.
        """
        _require(self.bands, planes)
        known = np.logical_and.reduce([np.isfinite(planes[band]) for band in self.bands])
        mixed = [_mixed(planes, channel, self.sky, self.weights) for channel in self.channels]
        for channel in mixed:
            channel[~known] = 0  # takes no part in what follows
        if isinstance(self.levels, _Lupton):
            out = _lupton(mixed, self.levels)
        else:
            stretched = (_asinh(values, level) for values, level in zip(mixed, self.levels, strict=True))
            out = np.stack([_to_8_bits(values) for values in stretched], axis=-1)
        out[~known] = 0
        return out


@dataclass(frozen=True)
class LazyPlane:
    """One band as it can be read in parts.

    Attributes
    ----------
    grid : Grid
    read : callable
        From a box (x0, y0, x1, y1), px, half-open, inside the plane, to its values, shape
        (y1 - y0, x1 - x0), float32, NaN where unknown.
    unit : FluxUnit or None
        What one unit of a pixel is worth, where that is known.
    """

    grid: Grid
    read: Callable[[Box], np.ndarray]
    unit: FluxUnit | None = None


class ColorImage:
    """Bands of one sky as one image of three channels, composed box by box.

    Its pixel grid and WCS are those of the reference band. Boxes composed one by one
    equal the whole.

    Parameters
    ----------
    planes : mapping of str to LazyPlane
        Of the bands of `settings`; others are left alone.
    settings : ColorSettings
    stretch : ColorStretch, optional
        By default fitted to a regular sample, for which every plane is read once.

    Raises
    ------
    ImageError
        Kinds ``missing_band``, ``no_wcs``, ``no_overlap``.
    """

    def __init__(
        self, planes: Mapping[str, LazyPlane], settings: ColorSettings, stretch: ColorStretch | None = None
    ) -> None:
        _require(settings.bands, planes)
        self.grid = planes[settings.reference_band].grid
        self._planes = {band: planes[band] for band in settings.bands}
        self.alignments = {
            band: _aligned(band, self.grid, plane.grid) for band, plane in self._planes.items()
        }
        units = {band: plane.unit for band, plane in self._planes.items()}
        self.stretch = stretch or ColorStretch.fit(self.sample(), settings, units)

    def sample(self, pixels: int = SAMPLE_PIXELS) -> dict[str, NDArray[np.float32]]:
        """Values of every band at regular positions, about `pixels` of them; shape (n,), NaN if unknown."""
        step = max(1, math.ceil(math.sqrt(self.grid.width * self.grid.height / pixels)))
        samples: dict[str, list[NDArray[np.float32]]] = {band: [] for band in self._planes}
        for box in _boxes(self.grid, *_SAMPLE_BOX):
            x0, y0, x1, y1 = box
            columns, rows = (
                np.arange(-(-x0 // step) * step, x1, step),
                np.arange(-(-y0 // step) * step, y1, step),
            )
            x, y = (axis.ravel() for axis in np.meshgrid(columns, rows))
            for band, plane in self._planes.items():
                alignment = self.alignments[band]
                window = alignment.window(box)
                samples[band].append(alignment.nearest(plane.read(window), window, x, y))
        return {band: np.concatenate(parts) for band, parts in samples.items()}

    def bands(self, box: Box) -> dict[str, NDArray[np.float32]]:
        """Aligned values of every band in a box (x0, y0, x1, y1) of the reference grid."""
        aligned = {}
        for band, plane in self._planes.items():
            alignment = self.alignments[band]
            window = alignment.window(box)
            aligned[band] = alignment.resample(plane.read(window), window, box, self.stretch.sky[band])
        return aligned

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Compose a box (x0, y0, x1, y1) of the reference grid; shape (y1 - y0, x1 - x0, 3)."""
        x0, y0, x1, y1 = box
        reach = self.stretch.reach_px
        left, bottom = max(x0 - reach, 0), max(y0 - reach, 0)
        wider = (left, bottom, min(x1 + reach, self.grid.width), min(y1 + reach, self.grid.height))
        composed = self.stretch.apply(self.bands(wider))
        return np.ascontiguousarray(composed[y0 - bottom : y1 - bottom, x0 - left : x1 - left])


def _require(bands: tuple[str, ...], given: Mapping[str, object]) -> None:
    missing = [band for band in bands if band not in given]
    if missing:
        raise ImageError(
            f"there is no plane of band {', '.join(missing)}; there are {', '.join(given) or 'none'}",
            kind="missing_band",
        )


def _aligned(band: str, target: Grid, source: Grid) -> Alignment:
    try:
        return align(target, source)
    except ImageError as error:
        raise ImageError(f"band {band}: {error}", kind=error.kind) from None


def _boxes(grid: Grid, width: int, height: int) -> Iterator[Box]:
    for y0 in range(0, grid.height, height):
        for x0 in range(0, grid.width, width):
            yield (x0, y0, min(x0 + width, grid.width), min(y0 + height, grid.height))


def _sky_and_noise(values: NDArray[np.float32]) -> tuple[float, float]:
    from astropy.stats import sigma_clipped_stats

    with np.errstate(over="ignore", invalid="ignore"):
        _, sky, noise = sigma_clipped_stats(
            values.astype(np.float64), sigma=_CLIP_SIGMA, maxiters=_CLIP_ROUNDS, cenfunc="median"
        )
    return float(sky), float(noise)


def _mixed(
    planes: Mapping[str, np.ndarray],
    channel: tuple[str, ...],
    sky: Mapping[str, float],
    weights: Mapping[str, float],
) -> NDArray[np.float32]:
    """Mean of the weighted values above the sky of the bands of one channel; a new array."""
    total: NDArray[np.float32] | None = None
    with np.errstate(over="ignore", invalid="ignore"):
        for band in channel:
            values = np.subtract(planes[band], np.float32(sky[band]), dtype=np.float32)
            values *= np.float32(weights[band] / len(channel))
            total = values if total is None else np.add(total, values, out=total)
    assert total is not None  # a channel has a band
    return total


def _mean_noise(settings: ColorSettings, noise: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Noise of the mean of the channels, that of the bands being independent."""
    shares = dict.fromkeys(settings.bands, 0.0)
    for channel in settings.channels:
        for band in channel:
            shares[band] += weights[band] / (3 * len(channel))
    return math.sqrt(sum((shares[band] * noise[band]) ** 2 for band in shares))


def _lupton_levels(stretch: LuptonStretch, noise: float) -> _Lupton:
    # Without noise nothing says how bright is bright; the image is flat but for a few pixels.
    unit = noise if noise > 0 else 1.0
    scale = AUTO_STRETCH_SIGMA * unit if stretch.stretch == "auto" else stretch.stretch
    given = -AUTO_MINIMUM_SIGMA * noise if stretch.minimum == "auto" else stretch.minimum
    # One black for all channels keeps the sky gray.
    return _Lupton(stretch.q, scale, given if isinstance(given, tuple) else (given, given, given))


def _unit_weights(settings: ColorSettings, units: Mapping[str, FluxUnit | None]) -> dict[str, float]:
    known = [unit for band in settings.bands if (unit := units.get(band)) is not None]
    reference = units.get(settings.reference_band)
    if reference is None or len(known) < len(settings.bands) or len({unit.surface for unit in known}) > 1:
        return dict.fromkeys(settings.bands, 1.0)
    return {band: unit.value / reference.value for band, unit in zip(settings.bands, known, strict=True)}


def _brightness(intensity: NDArray[np.float32], levels: _Lupton) -> NDArray[np.float32]:
    """Of the Lupton stretch, 0.1 at a tenth of ``stretch`` above black."""
    scaled = np.arcsinh(intensity * np.float32(levels.q / levels.stretch))
    return scaled * np.float32(0.1 / math.asinh(0.1 * levels.q))


def _with_steady_cores(channels: list[NDArray[np.float32]], levels: _Lupton) -> list[NDArray[np.float32]]:
    """Channels whose brightest pixels have the hue of the rim around them, and their own mean.

    Lupton et al. 2004, section 2, give saturated pixels the mean color of their neighbors. What is
    saturated is told by brightness alone, as few archives say it for each band.
    """
    above = [channel - np.float32(black) for channel, black in zip(channels, levels.minimum, strict=True)]
    intensity = (above[0] + above[1] + above[2]) / np.float32(3)
    brightness = _brightness(intensity, levels)
    core = brightness > CORE_BRIGHTNESS
    if not core.any():
        return channels
    from scipy.ndimage import gaussian_filter

    rim = ~core & (brightness > RIM_BRIGHTNESS)
    # Faint pixels do not count less than bright ones of the same rim: hue, not flux, is what is averaged.
    share = np.where(rim, np.float32(1) / np.where(rim, intensity, 1), np.float32(0))
    options = {"sigma": CORE_RADIUS_PX / 3, "radius": CORE_RADIUS_PX, "mode": "constant"}
    weight = gaussian_filter(rim.astype(np.float32), **options)[core]
    told = weight > 0
    out = []
    for channel, values, black in zip(channels, above, levels.minimum, strict=True):
        hue = gaussian_filter(values * share, **options)[core]
        steady = np.maximum(hue, 0) / np.where(told, weight, 1) * intensity[core]
        changed = channel.copy()
        changed[core] = np.where(told, steady + np.float32(black), channel[core])
        out.append(changed)
    return out


def _lupton(channels: list[NDArray[np.float32]], levels: _Lupton) -> NDArray[np.uint8]:
    from astropy.visualization import LuptonAsinhStretch, ManualInterval, make_lupton_rgb

    with np.errstate(all="ignore"):
        channels = _with_steady_cores(channels, levels)
    with np.errstate(all="ignore"):  # astropy divides by an intensity of 0 before it leaves it out
        scaled = make_lupton_rgb(
            *channels,
            # Only its vmin counts, and without a vmax it would look at the data.
            interval=[ManualInterval(vmin=float(value), vmax=float(value) + 1) for value in levels.minimum],
            stretch_object=LuptonAsinhStretch(stretch=levels.stretch, Q=levels.q),
            output_dtype=np.float64,  # its uint8 is cut off, not rounded
        )
    return _to_8_bits(scaled)


def _asinh_levels(values: NDArray[np.float32], stretch: ChannelStretch) -> _Asinh | None:
    """As ``elodin_spark.cutouts.stretch.asinh_stretch`` has them for one image."""
    sky = float(np.median(values))
    deviations = np.abs(values - sky)
    noise = float(np.median(deviations))
    if noise == 0 and deviations.any():
        noise = float(np.median(deviations[deviations > 0]))
    noise *= _MAD_TO_SIGMA
    black = sky - stretch.black_sigma * noise
    white = float(np.percentile(values, stretch.white_percentile))
    if white <= black:
        white = float(values.max())
    if not (white > black and noise > 0 and math.isfinite(white - black)):
        return None
    return _Asinh(black, stretch.softening_sigma * noise, white)


def _asinh(values: NDArray[np.float32], levels: _Asinh | None) -> NDArray[np.float32]:
    if levels is None:
        return np.zeros_like(values)
    with np.errstate(over="ignore", invalid="ignore"):
        values = (values - np.float32(levels.black)) / np.float32(levels.softening)
        np.arcsinh(values, out=values)
        values /= np.float32(math.asinh((levels.white - levels.black) / levels.softening))
    return values


def _to_8_bits(values: np.ndarray) -> NDArray[np.uint8]:
    return np.rint(np.clip(np.nan_to_num(values, nan=0.0) * 255, 0, 255)).astype(np.uint8)
