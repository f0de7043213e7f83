"""One tile: objects, artifacts and noise to pixels, a mask and rows of truth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import galsim
import numpy as np
from astropy.wcs import WCS

from elodin_spark.datasets import artifacts
from elodin_spark.datasets.layout import PIXEL_SCALE_ARCSEC, Placed
from elodin_spark.datasets.sky import Conditions, Pixels
from elodin_spark.datasets.sources import Source, draw_source

#: Objects farther than this outside a tile leave no light in it, px.
REACH_PX = 130.0

Row = dict[str, str | int | float | None]


@dataclass
class Tile:
    """Pixels of a tile and what is known about them.

    Attributes
    ----------
    pixels : ndarray, shape (ny, nx), float32
        Sky-subtracted, nJy.
    mask : ndarray, shape (ny, nx), int16
        Planes of :data:`~elodin_spark.datasets.sky.MASK_BITS`.
    truth : list of dict
        One row per object whose center lies in the tile, without the file's name.
    """

    pixels: Pixels
    mask: artifacts.Mask
    truth: list[Row] = field(default_factory=list)


def draw_tile(
    size_px: int,
    wcs: WCS,
    conditions: Conditions,
    objects: Iterable[Placed],
    *,
    seed: int,
    noise: np.random.Generator,
) -> Tile:
    """Draw a tile.

    Parameters
    ----------
    size_px : int
        Side of the tile, px.
    wcs : astropy.wcs.WCS
    conditions : Conditions
    objects : iterable of Placed
        All that may be seen in it, artifacts of other tiles left out.
    seed : int
        Of the survey; each object draws itself from a stream of its own.
    noise : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    Tile
    """
    tile = Tile(np.zeros((size_px, size_px), np.float32), np.zeros((size_px, size_px), np.int16))
    pixels, mask, sigma = tile.pixels, tile.mask, conditions.noise_njy
    canvas = galsim.ImageF(pixels, xmin=0, ymin=0)
    psf = conditions.psf()
    later: list[tuple[Placed, float, float, float, np.random.Generator]] = []
    for item in objects:
        x, y = (float(v) for v in wcs.all_world2pix(item.ra, item.dec, 0))
        rng = item.stream(seed)
        if item.type == "satellite_trail":
            seen = artifacts.satellite_trail(pixels, mask, x, y, sigma, rng)
            tile.truth.append(_seen_row(item, seen, wcs))
        elif item.type in ("bad_column", "cosmic_ray"):
            later.append((item, x, y, 0.0, rng))
        else:
            source = draw_source(item.type, rng)
            radius = _add(canvas, source, psf, x, y, sigma)
            if item.type == "saturated_star":
                artifacts.spikes(pixels, x, y, source.profile.flux)
                later.append((item, x, y, radius, rng))
            if -0.5 <= x < size_px - 0.5 and -0.5 <= y < size_px - 0.5:
                tile.truth.append(_source_row(item, source, x, y, radius))
    conditions.add_noise(pixels, noise)
    artifacts.clip_saturated(pixels, mask)
    for item, x, y, radius, rng in later:
        if item.type == "saturated_star":
            reach = artifacts.bleed(pixels, mask, x, y, rng)
            row = next(row for row in tile.truth if row["object_id"] == item.object_id)
            row["radius_px"] = max(radius, reach)
        else:
            draw = artifacts.bad_column if item.type == "bad_column" else artifacts.cosmic_ray
            tile.truth.append(_seen_row(item, draw(pixels, mask, x, y, sigma, rng), wcs))
    tile.truth.sort(key=lambda row: int(row["object_id"] or 0))
    return tile


def _add(
    canvas: galsim.Image, source: Source, psf: galsim.GSObject, x: float, y: float, noise: float
) -> float:
    """Add a source to the canvas; return how far from its center it stands out of the noise, px."""
    column, row, half = round(x), round(y), source.stamp_px
    stamp = galsim.ImageF(galsim.BoundsI(column - half, column + half, row - half, row + half))
    galsim.Convolve(source.profile, psf).drawImage(
        image=stamp, scale=PIXEL_SCALE_ARCSEC, center=galsim.PositionD(x, y)
    )
    shared = stamp.bounds & canvas.bounds
    if shared.isDefined():
        canvas[shared] += stamp[shared]
    rows, columns = np.nonzero(stamp.array > 2 * noise)
    if rows.size == 0:
        return float(psf.original.fwhm / PIXEL_SCALE_ARCSEC)
    return float(np.hypot(columns + stamp.xmin - x, rows + stamp.ymin - y).max())


def _source_row(item: Placed, source: Source, x: float, y: float, radius: float) -> Row:
    return {
        "object_id": item.object_id,
        "type": item.type,
        "x": x,
        "y": y,
        "ra": item.ra,
        "dec": item.dec,
        "radius_px": radius,
        "mag": source.mag,
        "ellipticity": source.ellipticity,
        "position_angle_deg": source.position_angle_deg,
        "sersic_n": source.sersic_n,
        "half_light_radius_arcsec": source.half_light_radius_arcsec,
    }


def _seen_row(item: Placed, seen: artifacts.Seen, wcs: WCS) -> Row:
    ra, dec = wcs.all_pix2world(seen.x, seen.y, 0)
    return {
        "object_id": item.object_id,
        "type": item.type,
        "x": seen.x,
        "y": seen.y,
        "ra": float(ra),
        "dec": float(dec),
        "radius_px": seen.radius_px,
        "position_angle_deg": seen.position_angle_deg,
    }
