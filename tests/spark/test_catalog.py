"""The main job on real images, held against oracles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from helpers.oracles import (
    brute_force_jaccard,
    brute_force_l2,
    overlap,
    sliding_count,
    without_overlaps,
)
from helpers.pixels import read_pixels

from elodin_spark import Catalog
from elodin_spark.config.settings import Blobs
from elodin_spark.cutouts.steps import apply_steps, default_steps
from elodin_spark.images.listing import list_files

pytestmark = pytest.mark.spark

GENERATORS: dict[str, dict[str, Any]] = {
    "full_image": {"kind": "full_image"},
    "sliding_window": {"kind": "sliding_window", "size": 224, "step": 200},
    "blobs": {"kind": "blobs", "sigma": 10, "padding": 40},
}


@pytest.fixture(scope="module")
def real_images(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Hubble pictures and the SDSS field below one root."""
    root = tmp_path_factory.mktemp("real")
    for name in ("hubble", "sdss_field"):
        (root / name).symlink_to(shared_data / name)
    return root


@pytest.fixture(scope="module", params=list(GENERATORS))
def catalog(request, real_images, small_settings, spark, tmp_path_factory) -> Catalog:
    settings = small_settings(
        real_images,
        cutouts={"generator": GENERATORS[request.param]},
        projection={"methods": ["tsne"], "perplexity": 5, "sample": 60},
        run={"batch_images": 5},
    )
    made = Catalog.create(tmp_path_factory.mktemp("catalog") / request.param, settings)
    report = made.run()
    assert (report.n_images, report.n_failures, report.batches_done) == (14, 0, 3)
    return made


@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")  # of the oracle
def test_the_whole_job_gives_what_its_oracles_say(catalog, real_images):
    cutouts = {row["cutout_id"]: row for row in catalog.table("cutouts").to_pylist()}
    images = {row["image_id"]: row for row in catalog.table("images").to_pylist()}
    assert len(cutouts) == catalog.table("cutouts").num_rows == catalog.table("fingerprints").num_rows
    check_counts(catalog, cutouts, images)
    check_positions(cutouts, images)
    check_neighbors(catalog, cutouts)
    assert all(path.stat().st_size > 10_000 for path in catalog.figures())
    assert [path.name for path in catalog.figures()] == ["map_tsne.png", "sky.png", "units.png"]


def check_counts(catalog: Catalog, cutouts: dict, images: dict) -> None:
    generator = catalog.settings.cutouts.generator
    for image in images.values():
        found = [row for row in cutouts.values() if row["image_id"] == image["image_id"]]
        if generator.kind == "full_image":
            expected = 1
        elif generator.kind == "sliding_window":
            expected = sliding_count(image["width"], 224, 200) * sliding_count(image["height"], 224, 200)
        else:
            expected = blob_count(image, generator)
        assert len(found) == expected, image["path"]
        for row in found:
            assert 0 <= row["x0"] < row["x1"] <= image["width"]
            assert 0 <= row["y0"] < row["y1"] <= image["height"]


def blob_count(image: dict, generator: Blobs) -> int:
    """Windows of an image by scikit-image's labeling and one box after the other."""
    from scipy.ndimage import gaussian_filter
    from skimage.measure import label, regionprops

    pixels = read_pixels(image["uri"], image["hdu"])
    pixels, _ = apply_steps(pixels, default_steps(pixels, "auto"))
    gray = np.rint(pixels @ np.array([0.299, 0.587, 0.114])) if pixels.ndim == 3 else pixels
    smooth = gaussian_filter(gray.astype(np.float64), generator.sigma, mode="nearest")
    boxes = set()
    height, width = smooth.shape
    for region in regionprops(label(smooth > generator.threshold * smooth.mean(), connectivity=2)):
        y0, x0, y1, x1 = region.bbox
        side = max(y1 - y0, x1 - x0) + 2 * generator.padding
        side = min(max(side, generator.min_size), width, height)
        corners = []
        for low, high, length in ((x0, x1, width), (y0, y1, height)):
            start = int(np.floor((low + high - side) / 2))
            corners.append(min(max(start, 0), length - side))
        boxes.add((*corners, side))
    return len(boxes)


def check_positions(cutouts: dict, images: dict) -> None:
    checked = 0
    for image in images.values():
        rows = [row for row in cutouts.values() if row["image_id"] == image["image_id"]]
        if not image["path"].endswith(".fits.bz2"):
            continue
        with fits.open(image["uri"]) as hdus:
            wcs = WCS(hdus[image["hdu"]].header)
        x = [(row["x0"] + row["x1"] - 1) / 2 for row in rows]
        y = [(row["y0"] + row["y1"] - 1) / 2 for row in rows]
        expected = wcs.pixel_to_world(x, y).icrs
        ours = SkyCoord([row["ra"] for row in rows], [row["dec"] for row in rows], unit="deg")
        assert ours.separation(expected).arcsec.max() < 0.01
        checked += len(rows)
    assert checked


def check_neighbors(catalog: Catalog, cutouts: dict) -> None:
    table = catalog.table("fingerprints")
    ids, labels = table["cutout_id"].to_numpy(), table["labels"].to_pylist()
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    for query in (int(i) for i in np.sort(ids)[:: max(1, len(ids) // 8)]):
        for metric in ("l2", "jaccard"):
            if metric == "l2":
                ranked = brute_force_l2(ids, vectors, query)
            else:
                ranked = brute_force_jaccard(ids, vectors, labels, query)
            everything = catalog.neighbors(query, 9, metric, allow_overlap=True)
            assert_same(everything, ranked[:9])
            apart = catalog.neighbors(query, 9, metric)
            assert_same(apart, without_overlaps(ranked, cutouts, query, 9))
            assert query not in {row["neighbor_id"] for row in everything}
            boxes = [cutouts[row["neighbor_id"]] for row in apart]
            assert not any(overlap(cutouts[query], box) for box in boxes)


def assert_same(found: list[dict[str, Any]], expected: list[tuple[int, float]]) -> None:
    assert [row["neighbor_id"] for row in found] == [other for other, _ in expected]
    assert [row["rank"] for row in found] == list(range(1, len(expected) + 1))
    np.testing.assert_allclose(
        [row["distance"] for row in found], [distance for _, distance in expected], atol=1e-4
    )


def test_a_finished_run_does_nothing_and_new_files_are_added(small_settings, survey, spark, tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    for tile in survey.tiles[:2]:
        (archive / tile.name).write_bytes(tile.read_bytes())
    settings = small_settings(archive, images={"paths": str(archive), "hdu": "IMAGE"})
    catalog = Catalog.create(tmp_path / "catalog", settings)
    first = catalog.run()
    assert (first.n_images, first.n_cutouts) == (2, 50)
    before = catalog.neighbors(int(catalog.cutout_ids()[0]), 40)
    again = Catalog.open(tmp_path / "catalog", settings).run()
    assert (again.batches_done, again.made, again.text()[:13]) == (0, (), "nothing to do")
    for tile in survey.tiles[2:]:
        (archive / tile.name).write_bytes(tile.read_bytes())
    grown = catalog.run()
    assert (grown.n_images, grown.n_cutouts, grown.batches_done) == (4, 100, 1)
    after = catalog.neighbors(int(before[0]["neighbor_id"]), 99)
    assert len(before) < len(after)
    assert len(list_files([str(archive)])) == 4


def test_cutting_and_fingerprinting_apart_gives_what_they_give_together(
    small_settings, survey, spark, tmp_path
):
    settings = small_settings(
        survey.tiles[0].parent, images={"paths": str(survey.tiles[0].parent), "hdu": "IMAGE"}
    )
    together, apart = (Catalog.create(tmp_path / name, settings) for name in ("together", "apart"))
    together.run()
    apart.run(["cutouts"])
    assert apart.table("fingerprints").num_rows == 0
    for stages in (["fingerprints"], ["index"], ["projection", "figures"]):
        apart.run(stages)
    for name in ("images", "cutouts", "fingerprints"):
        key = "image_id" if name == "images" else "cutout_id"
        assert together.table(name).sort_by(key).equals(apart.table(name).sort_by(key)), name
    query = int(together.cutout_ids()[0])
    assert together.neighbors(query, metric="jaccard") == apart.neighbors(query, metric="jaccard")


def test_two_bad_files_among_twenty_are_listed_and_the_rest_is_kept(small_settings, survey, spark, tmp_path):
    from elodin_spark.errors import TooManyFailuresError

    archive = tmp_path / "archive"
    archive.mkdir()
    for n in range(18):
        (archive / f"good_{n:02d}.fits").write_bytes(survey.tiles[n % 4].read_bytes())
    (archive / "text.fits").write_text("this is no FITS file\n")
    (archive / "cut.fits").write_bytes(survey.tiles[0].read_bytes()[:60_000])
    sections = {
        "images": {"paths": str(archive), "hdu": "IMAGE"},
        "cutouts": {"generator": {"kind": "full_image"}},
    }
    settings = small_settings(archive, **sections)
    catalog = Catalog.create(tmp_path / "catalog", settings)
    report = catalog.run()
    assert (report.n_images, report.n_cutouts, report.n_failures) == (18, 18, 2)
    failures = {Path(row["uri"]).name: row for row in catalog.table("failures").to_pylist()}
    assert failures.keys() == {"text.fits", "cut.fits"}
    assert all(row["message"] and row["stage"] == "images" for row in failures.values())
    strict = small_settings(archive, **sections, run={"max_failures": 1})
    with pytest.raises(TooManyFailuresError, match="max_failures") as caught:
        Catalog.create(tmp_path / "strict", strict).run()
    assert caught.value.exit_code == 3
    assert Catalog.open(tmp_path / "strict").table("cutouts").num_rows == 18
