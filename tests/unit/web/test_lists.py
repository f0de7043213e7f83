"""Lists as files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.table import Table
from helpers.smallcatalog import tables, write_catalog

from elodin_spark import Catalog
from elodin_spark.errors import InputError
from elodin_spark.web import lists
from elodin_spark.web.view import View


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("c") / "c", tables(3, 3))


@pytest.mark.parametrize("name", list(lists.FORMATS))
def test_all_formats_say_the_same_of_cutouts(catalog: Catalog, name: str, tmp_path: Path) -> None:
    ids = catalog.cutout_ids()[::-2].tolist()
    rows = View(catalog).cutouts_table(ids)
    written = lists.cutouts_file(rows, name)
    known = {row["cutout_id"]: row for row in catalog.cutouts.to_pylist()}
    if name == "parquet":
        assert pq.read_table(io.BytesIO(written)).equals(rows)
        return
    (tmp_path / "x").write_bytes(written)
    form = {"csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(name, name)
    table = Table.read(tmp_path / "x", format=form)
    assert [int(each) for each in table["cutout_id"]] == ids
    for row in table:
        wanted = known[int(row["cutout_id"])]
        np.testing.assert_allclose(row["ra"], wanted["ra"])
        assert int(row["x1"]) == wanted["x1"]
        flux = (wanted["source"] or {}).get("flux", np.nan)
        found = row["source_flux"]
        assert np.ma.is_masked(found) or found == pytest.approx(flux, nan_ok=True)
        marks = row["mask_fractions"]
        marks = "" if np.ma.is_masked(marks) else str(marks)
        assert marks == ";".join(f"{key}:{value}" for key, value in wanted["mask_fractions"] or [])
    if name != "csv":
        assert table["ra"].unit == units.deg
        assert table["x0"].unit == units.pix
    assert "thumbnail" not in table.colnames
    paths = {row["cutout_id"]: row["image"] for row in catalog.describe_cutouts(ids)}
    assert [str(each) for each in table["image"]] == [paths[each] for each in ids]


@pytest.mark.parametrize("name", ["ecsv", "votable", "fits"])
def test_a_cutout_without_a_position_leaves_the_pixels_of_others_as_they_are(
    name: str, tmp_path: Path
) -> None:
    pixel = 2**61 + 1  # which no float holds
    rows = pa.table({"cutout_id": [1, 2], "healpix": pa.array([None, pixel], pa.int64())})
    (tmp_path / "x").write_bytes(lists.cutouts_file(rows, name))
    table = Table.read(tmp_path / "x", format={"ecsv": "ascii.ecsv"}.get(name, name))
    assert np.ma.getmaskarray(table["healpix"]).tolist() == [True, False]
    assert table["healpix"][1] == pixel
    assert table["cutout_id"].tolist() == [1, 2]


@pytest.mark.parametrize("name", list(lists.FORMATS))
def test_an_answer_is_written_too(catalog: Catalog, name: str) -> None:
    found = catalog.neighbors(View(catalog).map(None).ids[0], k=3)
    assert len(lists.answer_file(found, name)) > 100


@pytest.mark.parametrize("name", [None, "", "exe", "../csv"])
def test_other_formats_are_refused(name: str | None) -> None:
    with pytest.raises(InputError, match="format is one of csv"):
        lists.checked_format(name)
