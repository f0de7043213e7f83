"""Plans held against the runs that follow them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from elodin_spark import Catalog
from elodin_spark.config.load import dump_settings
from elodin_spark.config.settings import Settings
from elodin_spark.images.listing import list_files
from elodin_spark.planning import plan_config
from elodin_spark.planning.estimate import estimate_windows
from elodin_spark.planning.headers import read_headers
from elodin_spark.planning.rates import Rates, cut_one
from elodin_spark.planning.report import plan_text
from elodin_spark.planning.sizes import TableSize

pytestmark = pytest.mark.spark

Make = Callable[..., tuple[Path, Settings]]


@pytest.fixture
def tiles(survey) -> Path:
    return survey.tiles[0].parent


@pytest.fixture
def make(small_settings, tiles, tmp_path) -> Make:
    """A configuration file and its settings, over the tiles and what is in `tmp_path/more`."""

    def made(**sections: Any) -> tuple[Path, Settings]:
        sections = {"catalog": str(tmp_path / "catalog"), **sections}
        sections["images"] = {"paths": str(tiles), "hdu": "IMAGE", **sections.get("images", {})}
        settings = small_settings(tiles, **sections)
        (tmp_path / "run.yaml").write_text(dump_settings(settings))
        return tmp_path / "run.yaml", settings

    return made


def bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_counts_are_those_of_the_run_and_bytes_within_a_tenth(make, tiles, tmp_path, spark):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "text.fits").write_text("no FITS file\n")
    fits.writeto(tmp_path / "more" / "small.fits", np.zeros((20, 20), np.float32))
    config, settings = make(
        images={"paths": [str(tiles), str(tmp_path / "more")], "hdu": None},
        projection={"methods": ["umap"], "sample": 60},
        run={"batch_images": 4, "figures": False},
    )
    planned = plan_config(config)
    assert not (tmp_path / "catalog").exists()
    catalog = Catalog.create(tmp_path / "catalog", settings)
    report = catalog.run(["cutouts", "fingerprints", "index"])
    images, tables = planned["images"], planned["tables"]
    assert (
        (images["usable"], sum(images["refused"].values())) == (report.n_images, report.n_failures) == (4, 2)
    )
    assert planned["sky"] == report.sky == catalog.info()["sky"]
    assert planned["sky"]["images"] == report.n_images
    assert (planned["batches"], planned["windows"]["how"]) == (report.batches_done, "exact")
    for name in ("images", "cutouts", "fingerprints", "failures"):
        assert tables[name]["rows"] == catalog.info()["tables"][name]["rows"]
        assert tables[name]["bytes"] == pytest.approx(bytes_below(catalog.path / "tables" / name), rel=0.1)
    check_the_bytes_of_the_index(planned, catalog)
    check_the_offer_of_dense_mode(planned)
    seconds, rates = planned["seconds"], planned["rates"]
    assert rates["images"] == 4
    assert rates["peak_bytes"] < planned["memory"]["worker_bytes"] < 3 * 2**30
    parts = ("describe", "cut", "network_start", "network")
    assert all(seconds[name] > 0 for name in parts)
    assert seconds["wall_seconds"] == pytest.approx(sum(seconds[name] for name in parts) / 2, abs=0.01)
    text = plan_text(planned)
    assert "100 (exact)" in text
    assert "1 x smaller_than_window" in text
    assert "not measured" not in text
    check_what_is_left(config, tiles, tmp_path)


def test_a_plan_of_dense_mode_with_small_vectors_is_what_the_run_makes(make, tmp_path, spark):
    config, settings = make(
        cutouts={"generator": {"kind": "sliding_window", "size": 64, "step": 32, "edge": "drop"}},
        fingerprints={"mode": "dense", "block_px": 128, "halo_px": 32, "storage": "float16"}
        | {"transform": "standardize", "pca": 40, "pca_sample": 64, "labels": "prototypes", "prototypes": 16},
        run={"batch_images": 4, "figures": False},
    )
    planned = plan_config(config)
    assert planned["dense"] is None
    catalog = Catalog.create(tmp_path / "catalog", settings)
    catalog.run(["cutouts", "fingerprints", "index"])
    for name in ("images", "cutouts", "fingerprints"):
        assert planned["tables"][name]["rows"] == catalog.info()["tables"][name]["rows"]
        real = bytes_below(catalog.path / "tables" / name)
        assert planned["tables"][name]["bytes"] == pytest.approx(real, rel=0.1)
    check_the_bytes_of_the_index(planned, catalog)
    ids, vectors = catalog.vectors()
    assert vectors.shape == (len(ids), 40) == (100, 40)
    assert vectors.var(axis=0).argmax() == 0  # they are principal components of just these
    assert planned["rates"]["dense_s_per_megapixel"] > 0
    assert min(planned["seconds"][name] for name in ("network_start", "network", "transform")) > 0
    assert "fitting the transform" in plan_text(planned)


def check_the_bytes_of_the_index(planned: dict[str, Any], catalog: Catalog) -> None:
    (vectors,) = catalog.path.glob("products/index-*/l2.index")
    (labels,) = catalog.path.glob("products/index-*/labels")
    assert planned["index"]["l2"] == pytest.approx(vectors.stat().st_size, rel=0.01)
    assert planned["index"]["jaccard"] == pytest.approx(bytes_below(labels), rel=0.1)


def check_what_is_left(config: Path, tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "more" / "new.fits").write_bytes(sorted(tiles.glob("*.fits"))[0].read_bytes())
    before = sorted(tmp_path.rglob("*"))
    left = plan_config(config, sample=0)
    assert (left["files"], left["files_left"], left["windows"]["count"]) == (7, 1, 25)
    assert left["held"] == {"batches": 2, "images": 6, "cutouts": 100, "fingerprints": 100}
    assert left["index"]["rows"] == 125
    assert "holds 2 batches" in plan_text(left)
    (tmp_path / "more" / "new.fits").unlink()
    nothing = plan_config(config, sample=0)
    assert (nothing["files_left"], nothing["batches"], nothing["windows"]["count"]) == (0, 0, 0)
    assert "0 of 6 in 0 batches" in plan_text(nothing)
    assert sorted(tmp_path.rglob("*")) == [path for path in before if path.name != "new.fits"]


def check_the_offer_of_dense_mode(planned: dict[str, Any]) -> None:
    offer = planned["dense"]
    assert offer["overrides"] == ["fingerprints.mode=dense", "cutouts.generator.edge=drop"]
    assert offer["windows"] == 100
    assert offer["seconds"]["cut"] == planned["seconds"]["cut"]
    assert 0 < offer["seconds"]["network"] < offer["seconds"]["core_hours"] * 3600
    assert "--set fingerprints.mode=dense --set cutouts.generator.edge=drop" in plan_text(planned)


def test_bands_are_planned_as_the_color_images_they_make(make, tiles, tmp_path, spark):
    for band, source in zip("grg", sorted(tiles.glob("*.fits")), strict=False):
        (tmp_path / f"{source.stem}_{band}.fits").write_bytes(source.read_bytes())
    color = {"grouping": {"kind": "pattern", "pattern": "*_{band}.fits"}, "channels": ["r", "r", "r"]}
    config, settings = make(images={"paths": str(tmp_path / "*.fits"), "color": color})
    planned = plan_config(config, sample=0)
    report = Catalog.create(tmp_path / "catalog", settings).run(["cutouts"])
    assert planned["images"]["refused"] == {"missing_band": report.n_failures} == {"missing_band": 2}
    assert planned["windows"]["count"] == report.n_cutouts == 25


@pytest.mark.parametrize(
    ("generator", "quality"),
    [
        (
            {"kind": "sources", "size": 32},
            {"masked": {"reject_above": 0.3}, "bad_bits": ["TRAIL", "BAD", "SAT"]},
        ),
        ({"kind": "blobs", "sigma": 3, "threshold": 1.2, "padding": 4}, {}),
    ],
    ids=["sources", "blobs"],
)
def test_windows_that_pixels_decide_are_counted_or_estimated(
    generator, quality, make, tiles, tmp_path, spark
):
    _, settings = make(cutouts={"generator": generator, "quality": quality})
    catalog = Catalog.create(tmp_path / "catalog", settings)
    catalog.run(["cutouts"])
    rows = catalog.table("cutouts").to_pylist()
    kept = sum(row["rejected"] is None for row in rows)
    size = TableSize(1.0, 1.0)
    for keep in (4, 3):
        headers = read_headers(list_files([str(tiles)]), settings, keep)
        cut = tuple(cut_one(image, settings, 1)[0] for image in headers.sample())
        found = estimate_windows(headers, Rates(cut, 0, 0, 0, size, size, 1), settings.cutouts.quality)
        if keep == 4:
            assert (found.cut, found.kept, found.how) == (len(rows), kept, "counted in all images")
        else:
            sampled = {image["image_id"] for image in headers.sample()}
            seen = sum(row["image_id"] in sampled for row in rows)
            assert (found.cut, found.how) == (seen + round(seen / 3), "estimated from 3 images")
