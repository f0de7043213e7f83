"""Write a synthetic survey and its truth."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.time import Time

from elodin_spark.datasets.layout import (
    ARTIFACT_TYPES,
    PIXEL_SCALE_ARCSEC,
    STREAM_TILE,
    Layout,
    Placed,
    stream,
)
from elodin_spark.errors import ConfigError, InputError, import_extra

if TYPE_CHECKING:
    from elodin_spark.datasets.sky import Conditions
    from elodin_spark.datasets.tile import Row, Tile

#: Columns of ``truth.csv``.
TRUTH_COLUMNS = (
    "object_id",
    "type",
    "tile",
    "x",
    "y",
    "ra",
    "dec",
    "radius_px",
    "mag",
    "ellipticity",
    "position_angle_deg",
    "sersic_n",
    "half_light_radius_arcsec",
)

_DECIMALS = {"x": 4, "y": 4, "ra": 8, "dec": 8, "radius_px": 1}
_FIRST_MJD = 60400.1
_EXPOSURE_S = 30.0
# Wider, and one tangent plane no longer carries the survey; more, and names run out of digits.
_WIDEST_DEG = 5.0
_MOST_PER_SIDE = 999


@dataclass(frozen=True)
class SimulatedSurvey:
    """What :func:`simulate` wrote.

    Attributes
    ----------
    tiles : tuple of Path
        The FITS files, row by row.
    truth : Path
        ``truth.csv``.
    n_objects : int
        Distinct objects in the truth.
    """

    tiles: tuple[Path, ...]
    truth: Path
    n_objects: int


def simulate(
    out: str | Path,
    *,
    tiles: int = 12,
    size_px: int = 512,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedSurvey:
    """Write a synthetic survey with known truth.

    ``OUT/tiles/tile_RRR_CCC.fits`` form a grid as square as possible, row by row from the
    south, neighbors sharing a tenth of their side. Each holds an empty primary HDU with
    the survey's metadata, ``IMAGE`` (float32, nJy, sky-subtracted, 0.2 arcsec/px, TAN about
    the tile's own center) and ``MASK`` (int16 bit planes, numbered by its ``MP_`` keys).
    Galaxies and stars lie on the sky, and appear in each tile that covers them;
    artifacts belong to one tile. The same arguments give the same bytes.

    ``OUT/truth.csv``, written last, holds one row per object per tile in which its center
    lies: ``object_id``, ``type``, ``tile`` (file name), ``x``, ``y`` (0-based px, x =
    column), ``ra``, ``dec`` (ICRS, deg), ``radius_px`` (how far from the center it stands
    out of the noise, in that tile), ``mag`` (AB, total), and where they have meaning
    ``ellipticity`` (1 - b/a), ``position_angle_deg`` (north through east), ``sersic_n`` and
    ``half_light_radius_arcsec`` (along the major axis) of the main component. For a trail,
    a bad column and cosmic rays the center is that of what is visible in the tile, and
    ``radius_px`` is half of its length. An empty field means that the quantity has no
    meaning for the object.

    Parameters
    ----------
    out : str or Path
        Folder to fill; made where absent.
    tiles : int
        Number of tiles.
    size_px : int
        Side of a tile, px, at least 128.
    seed : int
        Surveys of the same seed are the same; in ``[0, 2**31)``.
    progress : callable, optional
        Called with (tiles written, tiles in all) after each tile.

    Returns
    -------
    SimulatedSurvey

    Raises
    ------
    ConfigError
        `tiles`, `size_px` or `seed` is out of range.
    InputError
        `out` is a file or a folder that is not empty.
    MissingDependencyError
        GalSim is not installed.
    """
    layout = Layout(tiles, size_px)
    _check(layout, seed)
    # Here and not above: GalSim takes a second to import, and is an extra.
    import_extra("galsim", "a simulated survey")
    from elodin_spark.datasets.sky import Conditions
    from elodin_spark.datasets.tile import draw_tile

    folder = _empty_folder(Path(out))
    seen_by = _objects_by_tile(layout, layout.place(seed))
    paths, truth = [], []
    for number in range(tiles):
        rng = stream(seed, STREAM_TILE, number)
        conditions = Conditions.draw(rng)
        tile = draw_tile(size_px, layout.tile_wcs(number), conditions, seen_by[number], seed=seed, noise=rng)
        path = folder / "tiles" / layout.name(number)
        _write_tile(path, layout, number, tile, conditions, seed)
        truth += [{"tile": path.name, **row} for row in tile.truth]
        paths.append(path)
        if progress is not None:
            progress(number + 1, tiles)
    _write_truth(folder / "truth.csv", truth)
    return SimulatedSurvey(
        tiles=tuple(paths),
        truth=folder / "truth.csv",
        n_objects=len({row["object_id"] for row in truth}),
    )


def _check(layout: Layout, seed: int) -> None:
    for name, value, least in (
        ("tiles", layout.tiles, 1),
        ("size_px", layout.size_px, 128),
        ("seed", seed, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if seed >= 2**31:
        raise ConfigError(f"seed must be below 2**31, got {seed}")
    if layout.columns > _MOST_PER_SIDE:
        raise ConfigError(
            f"tiles={layout.tiles} makes rows of {layout.columns}; "
            f"at most {_MOST_PER_SIDE}: ask for fewer tiles"
        )
    width_deg = (layout.columns * layout.step_px + layout.size_px) * PIXEL_SCALE_ARCSEC / 3600
    if width_deg > _WIDEST_DEG:
        raise ConfigError(
            f"tiles={layout.tiles} of size_px={layout.size_px} cover {width_deg:.1f} deg; "
            f"at most {_WIDEST_DEG:g} deg: ask for fewer or smaller tiles"
        )


def _empty_folder(out: Path) -> Path:
    try:
        if out.is_dir() and any(out.iterdir()):
            what = "already holds a survey" if (out / "truth.csv").exists() else "is not empty"
            raise InputError(f"{out} {what}; name a new folder, or remove this one first")
        (out / "tiles").mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made a folder: {error.strerror}; name another one") from None
    return out


def _objects_by_tile(layout: Layout, objects: list[Placed]) -> dict[int, list[Placed]]:
    """Which objects may leave light in which tile."""
    from elodin_spark.datasets.tile import REACH_PX

    x, y = layout.survey_wcs().all_world2pix([o.ra for o in objects], [o.dec for o in objects], 0)
    # A tile away, the planes of tile and survey differ by far less than this.
    reach = REACH_PX + 0.01 * layout.size_px
    seen_by: dict[int, list[Placed]] = defaultdict(list)
    row_range, column_range = range(layout.rows), range(layout.columns)
    for i, item in enumerate(objects):
        if item.type in ARTIFACT_TYPES:
            seen_by[item.tile].append(item)
            continue
        for row in _covering(float(y[i]), layout, reach, row_range):
            for column in _covering(float(x[i]), layout, reach, column_range):
                tile = row * layout.columns + column
                if tile < layout.tiles:
                    seen_by[tile].append(item)
    return seen_by


def _covering(position: float, layout: Layout, reach: float, among: range) -> range:
    first = int(np.ceil((position - reach - layout.size_px) / layout.step_px))
    last = int(np.floor((position + reach) / layout.step_px))
    return range(max(first, among.start), min(last + 1, among.stop))


def _write_tile(
    path: Path, layout: Layout, number: int, tile: Tile, conditions: Conditions, seed: int
) -> None:
    from elodin_spark.datasets.sky import GAIN, MASK_BITS, SATURATION_NJY

    mjd = _FIRST_MJD + number * (_EXPOSURE_S + 10) / 86400
    # TAI has no leap seconds, so the text does not depend on a table of them.
    start = Time(mjd, format="mjd", scale="tai")
    primary = fits.PrimaryHDU()
    for key, value, comment in (
        ("TELESCOP", "SIMULATED", "synthetic survey"),
        ("INSTRUME", "elodin_spark", ""),
        ("ORIGIN", "elodin_spark simulate", ""),
        ("TIMESYS", "TAI", ""),
        ("DATE-OBS", start.isot, "start of the exposure"),
        ("MJD-OBS", round(mjd, 8), "[d] start of the exposure"),
        ("EXPTIME", _EXPOSURE_S, "[s]"),
        ("FILTER", "r", ""),
        ("PSFFWHM", round(conditions.fwhm_arcsec, 4), "[arcsec] FWHM of the Moffat PSF"),
        ("SKYNOISE", round(conditions.noise_njy, 4), "[nJy] standard deviation of the sky, 1 px"),
        ("GAIN", GAIN, "electrons per nJy"),
        ("SATURATE", SATURATION_NJY, "[nJy] pixels are cut here"),
        ("SEED", seed, "of the survey"),
        ("TILE", number, "number in the survey"),
    ):
        primary.header[key] = (value, comment)
    wcs = layout.tile_wcs(number).to_header()
    image = fits.ImageHDU(tile.pixels, header=wcs, name="IMAGE")
    image.header["BUNIT"] = ("nJy", "AB zero point 31.4 mag")
    mask = fits.ImageHDU(tile.mask, header=wcs, name="MASK")
    for plane, position in MASK_BITS.items():
        mask.header[f"MP_{plane}"] = (position, "bit of this plane")
    hdus = fits.HDUList([primary, image, mask])
    for hdu in hdus:
        # A fixed text in place of the time of writing: same input, same bytes.
        hdu.add_checksum(when="written by simulate")
    hdus.writeto(path)


def _write_truth(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(TRUTH_COLUMNS)
        for row in rows:
            writer.writerow([_text(name, row.get(name)) for name in TRUTH_COLUMNS])


def _text(name: str, value: str | int | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{_DECIMALS.get(name, 3)}f}"
    return str(value)
