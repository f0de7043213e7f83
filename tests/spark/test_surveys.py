"""Whole runs on surveys as they are: bands to color, positions, sources, the same sky twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from helpers import hostile

from elodin_spark import Catalog
from elodin_spark.config.load import dump_settings
from elodin_spark.planning import plan_config

pytestmark = [
    pytest.mark.spark,
    pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning"),  # of the oracles
]

PIXELS_KEPT = ["cutouts"]  # cut alone, so that pixels are written and no network is started


@pytest.fixture
def tiles(survey) -> Path:
    return survey.tiles[0].parent


def test_three_bands_of_one_field_become_one_color_image(shared_data, small_settings, spark, tmp_path):
    settings = small_settings(
        shared_data / "sdss_field",
        images={
            "paths": str(shared_data / "sdss_field" / "*.fits.bz2"),
            "color": {
                "grouping": {"kind": "pattern", "pattern": "frame-{band}-*.fits.bz2"},
                "channels": ["i", "r", "g"],
            },
        },
        cutouts={"generator": {"kind": "sliding_window", "size": 400, "step": 400}},
    )
    catalog = Catalog.create(tmp_path / "catalog", settings)
    report = catalog.run(PIXELS_KEPT)
    assert (report.n_images, report.n_failures) == (1, 0)
    (image,) = catalog.table("images").to_pylist()
    assert image["path"] == "frame-{band}-003918-3-0213.fits.bz2"
    assert [plane["band"] for plane in image["planes"]][:3] == ["i", "r", "g"]
    rows = catalog.table("cutouts").to_pylist()
    assert len(rows) == 6 * 4
    header = fits.getheader(shared_data / "sdss_field" / "frame-r-003918-3-0213.fits.bz2")
    sky = WCS(header).pixel_to_world(rows[0]["x0"] + 199.5, rows[0]["y0"] + 199.5).icrs
    assert sky.separation(SkyCoord(rows[0]["ra"], rows[0]["dec"], unit="deg")).arcsec < 0.01
    assert catalog.run(PIXELS_KEPT).batches_done == 0, "all five files belong to what is done"


def test_a_band_that_is_missing_is_a_failure_and_not_a_gray_picture(small_settings, tiles, spark, tmp_path):
    for band, source in zip("grg", sorted(tiles.glob("*.fits")), strict=False):
        (tmp_path / f"{source.stem}_{band}.fits").write_bytes(source.read_bytes())
    settings = small_settings(
        tmp_path,
        images={
            "paths": str(tmp_path / "*.fits"),
            "hdu": "IMAGE",
            "color": {
                "grouping": {"kind": "pattern", "pattern": "*_{band}.fits"},
                "channels": ["r", "r", "r"],
            },
        },
    )
    catalog = Catalog.create(tmp_path / "catalog", settings)
    report = catalog.run(PIXELS_KEPT)
    assert (report.n_images, report.n_failures) == (1, 2)
    assert {row["kind"] for row in catalog.table("failures").to_pylist()} == {"missing_band"}


def test_positions_of_a_catalog_are_cut_where_they_lie_and_the_others_reported(
    small_settings, tiles, spark, tmp_path
):
    rng = np.random.default_rng(8)
    places = {}
    for n, file in enumerate(sorted(tiles.glob("*.fits"))):
        wcs = WCS(fits.getheader(file, "IMAGE"))
        sky = wcs.pixel_to_world(*rng.uniform(20, 170, (2, 3)))
        places |= {f"t{n}_{i}": (p.ra.deg, p.dec.deg) for i, p in enumerate(sky)}
    places["far"] = (10.0, -80.0)
    lines = [f"{name},{float(ra)!r},{float(dec)!r}" for name, (ra, dec) in places.items()]
    (tmp_path / "positions.csv").write_text("\n".join(["id,ra,dec", *map(str, lines), "bad,1,95"]) + "\n")
    generator = {"kind": "positions", "catalog": str(tmp_path / "positions.csv"), "size": ["6 arcsec", 40]}
    settings = small_settings(
        tiles, images={"paths": str(tiles), "hdu": "IMAGE"}, cutouts={"generator": generator}
    )
    catalog = Catalog.create(tmp_path / "catalog", settings)
    catalog.run(["cutouts", "positions"])
    expected = set()
    for file in tiles.glob("*.fits"):
        wcs = WCS(fits.getheader(file, "IMAGE"))
        for name, (ra, dec) in places.items():
            if name == "far":
                continue
            x, y = wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
            if -0.5 <= x < 191.5 and -0.5 <= y < 191.5:
                expected |= {(file.name, name, size) for size in (30, 40)}
    images = {row["image_id"]: row["path"] for row in catalog.table("images").to_pylist()}
    rows = catalog.table("cutouts").to_pylist()
    found = {(images[row["image_id"]], row["position_id"], row["x1"] - row["x0"]) for row in rows}
    assert found == expected
    assert len(rows) == len(expected)
    assert catalog.unmatched_positions()["position_id"].to_pylist() == ["far"]
    assert catalog.info()["products"]["positions"]["refused"] == 1
    (tmp_path / "plan.yaml").write_text(dump_settings(settings))
    planned = plan_config(tmp_path / "plan.yaml", sample=0)["windows"]
    assert (planned["count"], planned["how"]) == (len(rows), "exact")


def test_the_same_sky_in_overlapping_tiles_is_found(small_settings, tiles, spark, tmp_path):
    settings = small_settings(
        tiles,
        images={"paths": str(tiles), "hdu": "IMAGE"},
        cutouts={"generator": {"kind": "sliding_window", "size": 16, "step": 8}},
        run={"repeats_arcsec": 1.2},
    )
    catalog = Catalog.create(tmp_path / "catalog", settings)
    catalog.run(["cutouts", "repeats"])
    rows = catalog.table("cutouts").to_pylist()
    sky = SkyCoord([row["ra"] for row in rows], [row["dec"] for row in rows], unit="deg")
    expected = {}
    for i, row in enumerate(rows):
        for j, separation in enumerate(sky[i].separation(sky).arcsec):
            if rows[j]["image_id"] != row["image_id"] and separation <= 1.2:
                expected[tuple(sorted((row["cutout_id"], rows[j]["cutout_id"])))] = separation
    found = catalog.repeats().to_pylist()
    assert expected
    assert {tuple(sorted((row["id_a"], row["id_b"]))) for row in found} == expected.keys()
    assert len(found) == len(expected)
    for row in found:
        assert row["sep_arcsec"] == pytest.approx(
            expected[tuple(sorted((row["id_a"], row["id_b"])))], abs=1e-4
        )


def test_sources_are_cut_and_found_again_by_their_neighbors(small_settings, tiles, spark, tmp_path):
    settings = small_settings(
        tiles,
        images={"paths": str(tiles), "hdu": "IMAGE"},
        cutouts={
            "generator": {"kind": "sources", "size": 32, "zero_point": 31.4},
            "quality": {"masked": {"reject_above": 0.3}, "bad_bits": ["TRAIL", "BAD", "SAT"]},
        },
    )
    catalog = Catalog.create(tmp_path / "catalog", settings)
    catalog.run(["cutouts", "fingerprints", "index"])
    rows = catalog.table("cutouts").to_pylist()
    kept = [row for row in rows if row["rejected"] is None]
    assert len(kept) == catalog.table("fingerprints").num_rows > 10
    assert all(row["source"]["mag"] < 31.4 for row in kept)
    found = catalog.neighbors(kept[0]["cutout_id"], 5)
    assert {row["neighbor_id"] for row in found} <= {row["cutout_id"] for row in kept}


def test_a_run_survives_hostile_files_and_names_each(small_settings, spark, tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    good = hostile.good_files()
    bad = {name: content for name, content in hostile.deceptive().items() if "bomb" not in name}
    bad |= {"cut.fits": good["plain.fits"][:9000], "empty.fits": b""}
    cut = {"plain-named.fits.gz", "plain-named.fits.fz", "gz-named.fits", "png-named.tif"}
    for name, content in {**bad, **dict.fromkeys(hostile.ODD_NAMES, good["plain.fits"])}.items():
        (folder / name).write_bytes(content)
    hostile.write_special(folder)
    (folder / "unreadable.fits").unlink()
    catalog = Catalog.create(tmp_path / "catalog", small_settings(folder))
    report = catalog.run(PIXELS_KEPT)
    failures = catalog.table("failures").to_pylist()
    special = {"round.fits", "dangling.fits", "endless.fits", "pipe.fits"}
    refused = (bad.keys() - cut) | special
    assert sorted(Path(row["uri"]).name for row in failures) == sorted(refused)
    assert all(row["kind"] and len(row["message"]) > 15 for row in failures)
    assert (report.n_images, report.n_failures) == (len(cut) + len(hostile.ODD_NAMES), len(refused))
