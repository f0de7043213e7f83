"""The synthetic survey: what is drawn is what the truth says, where it says."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from elodin_spark.datasets import (
    ARTIFACT_TYPES,
    FAINT_TYPES,
    SKY_TYPES,
    TRUTH_COLUMNS,
    SimulatedSurvey,
    simulate,
)
from elodin_spark.datasets.layout import STREAM_TILE, Layout, stream
from elodin_spark.errors import ConfigError, InputError, MissingDependencyError

pytest.importorskip("galsim", reason="GalSim is not installed")

SIZE = 512
SEED = 3
quick = settings(deadline=None, max_examples=25)


class Survey:
    """A survey read back from its files."""

    def __init__(self, written: SimulatedSurvey) -> None:
        self.written = written
        with written.truth.open(newline="") as file:
            self.rows = list(csv.DictReader(file))
        self.image, self.mask, self.primary, self.wcs, self.mask_header = {}, {}, {}, {}, {}
        for path in written.tiles:
            with fits.open(path) as hdus:
                self.primary[path.name] = hdus[0].header
                self.image[path.name] = hdus["IMAGE"].data.copy()
                self.mask[path.name] = hdus["MASK"].data.copy()
                self.mask_header[path.name] = hdus["MASK"].header
                self.wcs[path.name] = WCS(hdus["IMAGE"].header)

    def of(self, *types: str) -> list[dict[str, str]]:
        return [row for row in self.rows if row["type"] in types]

    def window(self, row: dict[str, str], half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, columns and rows of the square about an object."""
        x, y = round(float(row["x"])), round(float(row["y"]))
        where = np.s_[y - half : y + half + 1, x - half : x + half + 1]
        ys, xs = np.mgrid[y - half : y + half + 1, x - half : x + half + 1]
        return self.image[row["tile"]][where].astype(float), xs, ys

    def alone(self, row: dict[str, str], half: int, room: float) -> bool:
        """Whole in its tile, no defect in its window, no notable object near."""
        x, y = float(row["x"]), float(row["y"])
        if not (half + 1 < x < SIZE - half - 2 and half + 1 < y < SIZE - half - 2):
            return False
        where = np.s_[round(y) - half : round(y) + half + 1, round(x) - half : round(x) + half + 1]
        if self.mask[row["tile"]][where].any():
            return False
        others = [
            math.hypot(float(o["x"]) - x, float(o["y"]) - y)
            for o in self.rows
            if o["tile"] == row["tile"] and o is not row and float(o["mag"] or 0) < 21.8
            if o["type"] not in ("satellite_trail", "bad_column")
        ]
        return min(others, default=math.inf) > room


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return Survey(simulate(tmp_path_factory.mktemp("survey") / "out", seed=SEED))


def test_it_writes_tiles_and_truth_and_nothing_else(survey: Survey) -> None:
    out = survey.written.truth.parent
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    tiles = {f"tiles/tile_{row:03d}_{column:03d}.fits" for row in range(3) for column in range(4)}
    assert files == tiles | {"truth.csv"}
    assert tuple(survey.rows[0]) == TRUTH_COLUMNS
    assert survey.written.n_objects == len({row["object_id"] for row in survey.rows})


def test_tiles_open_and_verify_without_a_warning(survey: Survey) -> None:
    for path in survey.written.tiles:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(path, checksum=True) as hdus:
                hdus.verify("exception")
                assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "MASK"]
                assert hdus[0].data is None
                assert hdus["IMAGE"].data.dtype == np.dtype(">f4")
                assert hdus["MASK"].data.dtype == np.dtype(">i2")
                assert hdus["IMAGE"].header["BUNIT"] == "nJy"
                assert np.isfinite(hdus["IMAGE"].data).all()
                scale = WCS(hdus["IMAGE"].header).proj_plane_pixel_scales()
        assert [s.to_value("arcsec") for s in scale] == pytest.approx([0.2, 0.2])


def test_each_tile_has_a_tangent_point_and_seeing_of_its_own(survey: Survey) -> None:
    points = {tuple(wcs.wcs.crval) for wcs in survey.wcs.values()}
    seeing = [header["PSFFWHM"] for header in survey.primary.values()]
    assert len(points) == len(set(seeing)) == 12
    assert 0.6 < min(seeing) < max(seeing) < 0.85
    for header in survey.primary.values():
        assert {"TELESCOP", "DATE-OBS", "MJD-OBS", "FILTER", "SEED"} <= set(header)


def test_neighboring_tiles_share_a_tenth_of_their_side(survey: Survey) -> None:
    left, right = survey.wcs["tile_000_000.fits"], survey.wcs["tile_000_001.fits"]
    x, y = left.all_world2pix(*right.all_pix2world(0, 0, 0), 0)
    assert (SIZE - x) / SIZE == pytest.approx(0.1, abs=0.01)
    assert y == pytest.approx(0, abs=0.5)


def test_pixel_and_sky_position_of_the_truth_agree(survey: Survey) -> None:
    for row in survey.rows:
        sky = survey.wcs[row["tile"]].pixel_to_world(float(row["x"]), float(row["y"]))
        told = SkyCoord(float(row["ra"]), float(row["dec"]), unit="deg", frame="icrs")
        assert sky.separation(told).arcsec < 0.01


def test_every_object_has_a_row_in_each_tile_that_holds_its_center(survey: Survey) -> None:
    told = {(row["object_id"], row["tile"]) for row in survey.of(*SKY_TYPES, *FAINT_TYPES)}
    expected = set()
    for item in Layout(12, SIZE).place(SEED):
        for name, wcs in survey.wcs.items():
            x, y = wcs.all_world2pix(item.ra, item.dec, 0)
            inside = -0.5 <= x < SIZE - 0.5 and -0.5 <= y < SIZE - 0.5
            if inside and item.type not in ARTIFACT_TYPES:
                expected.add((str(item.object_id), name))
    assert told == expected


@pytest.mark.parametrize("kind", [*SKY_TYPES, *ARTIFACT_TYPES, *FAINT_TYPES])
def test_every_type_appears(survey: Survey, kind: str) -> None:
    assert len({row["object_id"] for row in survey.of(kind)}) >= 4


@quick
@given(seed=st.integers(0, 2**31 - 1), size_px=st.sampled_from([128, 300, 512]))
def test_every_type_appears_whatever_the_seed(seed: int, size_px: int) -> None:
    types = {item.type for item in Layout(12, size_px).place(seed)}
    assert types == {*SKY_TYPES, *ARTIFACT_TYPES, *FAINT_TYPES}


def test_a_tile_holds_about_eight_notable_sources(survey: Survey) -> None:
    counts = [
        sum(row["tile"] == path.name for row in survey.of(*SKY_TYPES, "saturated_star"))
        for path in survey.written.tiles
    ]
    assert 7 <= np.mean(counts) <= 12
    assert min(counts) >= 5


def test_stars_hold_the_flux_of_their_magnitude(survey: Survey) -> None:
    stars = [row for row in survey.of("star") if survey.alone(row, 16, 70)]
    assert len(stars) >= 3
    for row in stars:
        pixels, xs, ys = survey.window(row, 16)
        aperture = np.hypot(xs - float(row["x"]), ys - float(row["y"])) < 15
        assert pixels[aperture].sum() == pytest.approx(10 ** (0.4 * (31.4 - float(row["mag"]))), rel=0.03)


def test_stars_are_at_their_place_to_a_tenth_of_a_pixel(survey: Survey) -> None:
    stars = [row for row in survey.of("star") if survey.alone(row, 8, 40)]
    assert len(stars) >= 3
    for row in stars:
        pixels, xs, ys = survey.window(row, 8)
        light = np.where(pixels > 100, pixels, 0)
        assert (light * xs).sum() / light.sum() == pytest.approx(float(row["x"]), abs=0.1)
        assert (light * ys).sum() / light.sum() == pytest.approx(float(row["y"]), abs=0.1)


def test_galaxies_hold_the_flux_of_their_magnitude_at_their_center(survey: Survey) -> None:
    galaxies = [
        row for row in survey.of("elliptical", "spiral", "edge_on", "irregular") if survey.alone(row, 44, 80)
    ]
    assert {row["type"] for row in galaxies} == {"elliptical", "spiral", "edge_on", "irregular"}
    for row in galaxies:
        pixels, xs, ys = survey.window(row, 44)
        assert pixels.sum() == pytest.approx(10 ** (0.4 * (31.4 - float(row["mag"]))), rel=0.08)
        # Well above the noise, so that faint sources and noise do not pull the center away.
        light = np.where(pixels > 100, pixels, 0)
        center = (light * xs).sum() / light.sum(), (light * ys).sum() / light.sum()
        assert math.hypot(center[0] - float(row["x"]), center[1] - float(row["y"])) < 2.5


def test_position_angles_run_from_north_through_east(survey: Survey) -> None:
    disks = [row for row in survey.of("edge_on") if survey.alone(row, 44, 80)]
    assert len(disks) >= 3
    for row in disks:
        pixels, xs, ys = survey.window(row, 44)
        bodies, _ = ndimage.label(pixels > 100)
        light = np.where(bodies == bodies[44, 44], pixels, 0)
        ra, dec = survey.wcs[row["tile"]].all_pix2world(xs, ys, 0)
        east = (ra - float(row["ra"])) * np.cos(np.radians(dec))
        north = dec - float(row["dec"])
        angle = 0.5 * np.degrees(
            np.arctan2(2 * (light * east * north).sum(), (light * (north**2 - east**2)).sum())
        )
        away = (angle - float(row["position_angle_deg"]) + 90) % 180 - 90
        assert abs(away) < 3


def test_an_object_in_an_overlap_is_at_the_same_place_in_both_tiles(survey: Survey) -> None:
    seen: dict[str, list[SkyCoord]] = {}
    for row in survey.of("star", "elliptical", "faint_star"):
        x, y = float(row["x"]), float(row["y"])
        if float(row["mag"]) > 22 or not survey.alone(row, 8, 30):
            continue
        pixels, xs, ys = survey.window(row, 5)
        light = np.maximum(pixels, 0)
        cx, cy = (light * xs).sum() / light.sum(), (light * ys).sum() / light.sum()
        assert math.hypot(cx - x, cy - y) < 1.5
        seen.setdefault(row["object_id"], []).append(survey.wcs[row["tile"]].pixel_to_world(cx, cy))
    pairs = [places for places in seen.values() if len(places) > 1]
    assert len(pairs) >= 3
    for first, *others in pairs:
        for other in others:
            assert first.separation(other).arcsec < 0.1


def test_an_object_in_two_tiles_has_one_shape_and_one_brightness(survey: Survey) -> None:
    told: dict[str, set[tuple[str, ...]]] = {}
    for row in survey.rows:
        kept = tuple(row[name] for name in ("type", "ra", "dec", *TRUTH_COLUMNS[8:]))
        told.setdefault(row["object_id"], set()).add(kept)
    assert len(told) < len(survey.rows)
    assert all(len(rows) == 1 for rows in told.values())


def test_artifacts_belong_to_one_tile(survey: Survey) -> None:
    for kind in ARTIFACT_TYPES:
        owners = [row["object_id"] for row in survey.of(kind)]
        assert len(owners) == len(set(owners))


def test_mask_planes_mark_the_artifacts(survey: Survey) -> None:
    plane = {"satellite_trail": "TRAIL", "bad_column": "BAD", "cosmic_ray": "CR", "saturated_star": "SAT"}
    for kind, name in plane.items():
        for row in survey.of(kind):
            bit = 1 << survey.mask_header[row["tile"]][f"MP_{name}"]
            marked = survey.mask[row["tile"]] & bit > 0
            x, y, radius = float(row["x"]), float(row["y"]), float(row["radius_px"])
            rows, columns = np.nonzero(marked)
            distance = np.hypot(columns - x, rows - y)
            assert distance.min() < (radius if kind == "cosmic_ray" else 3)
            noise = survey.primary[row["tile"]]["SKYNOISE"]
            assert np.median(survey.image[row["tile"]][marked]) > 3 * noise


def test_pixels_are_cut_where_they_are_marked_as_saturated(survey: Survey) -> None:
    for name, pixels in survey.image.items():
        limit = survey.primary[name]["SATURATE"]
        header, mask = survey.mask_header[name], survey.mask[name]
        sat, later = 1 << header["MP_SAT"], 1 << header["MP_CR"] | 1 << header["MP_BAD"]
        assert (mask[pixels >= limit] & (sat | later)).all()
        assert (pixels[(mask & sat > 0) & (mask & later == 0)] == limit).all()


def test_sky_is_flat_with_the_noise_of_the_header(survey: Survey) -> None:
    for name, pixels in survey.image.items():
        middle = float(np.median(pixels))
        # Differences of neighboring pixels leave the light of the objects out.
        noise = 1.4826 * float(np.median(np.abs(np.diff(pixels, axis=1)))) / math.sqrt(2)
        assert noise == pytest.approx(survey.primary[name]["SKYNOISE"], rel=0.1)
        assert abs(middle) < 0.35 * noise


def test_same_seed_gives_the_same_bytes_and_another_seed_another_survey(tmp_path: Path) -> None:
    def contents(seed: int, name: str) -> list[bytes]:
        done = simulate(tmp_path / name, tiles=2, size_px=200, seed=seed)
        return [path.read_bytes() for path in (*done.tiles, done.truth)]

    first = contents(7, "a")
    assert contents(7, "b") == first
    other = contents(8, "c")
    assert all(x != y for x, y in zip(first, other, strict=True))


def test_a_tile_drawn_on_its_own_is_the_one_in_the_survey(survey: Survey) -> None:
    from elodin_spark.datasets.sky import Conditions
    from elodin_spark.datasets.tile import draw_tile

    layout = Layout(12, SIZE)
    rng = stream(SEED, STREAM_TILE, 5)
    objects = [o for o in layout.place(SEED) if o.type not in ARTIFACT_TYPES or o.tile == 5]
    tile = draw_tile(SIZE, layout.tile_wcs(5), Conditions.draw(rng), objects, seed=SEED, noise=rng)
    np.testing.assert_array_equal(tile.pixels, survey.image[layout.name(5)])
    np.testing.assert_array_equal(tile.mask, survey.mask[layout.name(5)])


def test_progress_is_told_after_each_tile(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate(tmp_path / "out", tiles=3, size_px=128, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(("tiles", "size_px"), [(1, 128), (1, 131), (5, 160)])
def test_small_surveys_work(tmp_path: Path, tiles: int, size_px: int) -> None:
    survey = Survey(simulate(tmp_path / "out", tiles=tiles, size_px=size_px, seed=11))
    assert len(survey.image) == tiles
    assert all(pixels.shape == (size_px, size_px) for pixels in survey.image.values())
    assert survey.of(*SKY_TYPES)
    assert survey.of(*ARTIFACT_TYPES)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"tiles": 0}, "tiles"),
        ({"tiles": True}, "tiles"),
        ({"tiles": 10**6, "size_px": 128}, "fewer tiles"),
        ({"size_px": 127}, "at least 128"),
        ({"size_px": 512.0}, "size_px"),
        ({"tiles": 100, "size_px": 16384}, "smaller tiles"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_written(
    tmp_path: Path, bad: dict[str, int], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        simulate(tmp_path / "out", **bad)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_survey_is_refused(tmp_path: Path) -> None:
    done = simulate(tmp_path, tiles=1, size_px=128)
    before = done.truth.read_bytes()
    with pytest.raises(InputError, match="already holds a survey; name a new folder"):
        simulate(tmp_path, tiles=1, size_px=128, seed=1)
    assert done.truth.read_bytes() == before


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        simulate(tmp_path, tiles=1, size_px=128)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="cannot be made a folder"):
        simulate(tmp_path / "out", tiles=1, size_px=128)


def test_without_galsim_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(MissingDependencyError, match="simulate"):
        simulate(tmp_path / "out", tiles=1, size_px=128)


def test_importing_the_room_does_not_import_galsim() -> None:
    code = "import sys, elodin_spark.datasets; sys.exit('galsim' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
