"""Options, queries and answers as people use them; cutouts with their pixels."""

from __future__ import annotations

import inspect
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from helpers.figures import jpeg
from helpers.smallcatalog import DIMENSION, Rows, tables, write_catalog

from elodin_spark import Catalog, Neighbors, Query, SearchOptions
from elodin_spark.catalog.search.options import Cone, options_of_flags, search_flags
from elodin_spark.cli.main import run_command
from elodin_spark.config.settings import Step
from elodin_spark.cutouts.steps import apply_steps
from elodin_spark.errors import InputError, UnknownCutoutError
from elodin_spark.images.sky import header_text, pixel_to_sky, wcs_of
from elodin_spark.schema import ANSWERS

EVIL = "<script>alert(1)</script>.fits"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Two images; the first one is there, with a WCS, and has an ugly name."""
    found = tables(images=2, across=3, seed=3)
    folder = tmp_path_factory.mktemp("archive")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [0.0, -1.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [11.0, 7.0], [-0.5 / 3600, 0.5 / 3600]
    pixels = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    fits.writeto(folder / "a.fits", pixels, wcs.to_header())
    text = header_text(fits.getheader(folder / "a.fits"))
    found["images"][0] |= {
        **{"uri": str(folder / "a.fits"), "path": EVIL, "wcs": text, "width": 64, "height": 64}
    }
    for at, row in enumerate(found["cutouts"]):
        row["thumbnail"] = jpeg((at % 250, 250 - at % 250, 40))
    return found


@pytest.fixture(scope="module")
def catalog(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_catalog(tmp_path_factory.mktemp("answers") / "catalog", rows)


@pytest.fixture(scope="module")
def ids(rows: Rows) -> list[int]:
    return [row["cutout_id"] for row in rows["fingerprints"]]


# ---- options -----------------------------------------------------------------------------------


def test_python_and_the_command_line_have_the_same_options() -> None:
    names = list(SearchOptions.model_fields)
    assert [flag.name for flag in search_flags()] == names
    for method in (Catalog.neighbors, Catalog.plot_neighbors):
        parameters = inspect.signature(method).parameters
        assert {name: parameters[name].default for name in names} == {
            name: field.default for name, field in SearchOptions.model_fields.items()
        }


def test_plain_numbers_and_those_with_units_are_the_same_options() -> None:
    place = SkyCoord(150.1, 2.2, unit="deg")
    plain = SearchOptions(cone=((150.1, 2.2), 1800), min_separation_arcsec=2, moc=None)
    for cone in (
        (place, 0.5 * u.deg),
        (place, 1800),
        ((150.1 * u.deg, 132 * u.arcmin), 30 * u.arcmin),
        {"ra": 150.1, "dec": 2.2, "radius_arcsec": 1800},
        Cone(ra=150.1, dec=2.2, radius_arcsec=1800),
    ):
        options = SearchOptions(cone=cone, min_separation_arcsec=(2 * u.arcsec).to(u.deg))
        assert options.cone is not None
        assert options.cone.model_dump() == pytest.approx({"ra": 150.1, "dec": 2.2, "radius_arcsec": 1800})
        assert options.min_separation_arcsec == pytest.approx(2)
    typed = dict.fromkeys(SearchOptions.model_fields) | {
        **{"metric": "l2", "repeats": "keep", "cone": (150.1, 2.2, 1800.0), "min_separation_arcsec": 2.0},
        **{"allow_overlap": False, "fold_duplicates": False, "explain": False, "other": 3},
    }
    assert options_of_flags(typed) == plain
    assert pickle.loads(pickle.dumps(plain)) == plain
    assert plain.but(k=3).k == 3
    with pytest.raises(InputError, match="'k'"):
        plain.but(k=0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alow_overlap": True}, "did you mean 'allow_overlap'"),
        ({"cone": (150.1, 2.2, 0.5)}, "a cone is .position, radius."),
        ({"cone": ((150.1, 2.2), 3 * u.kg)}, "an angle is a Quantity"),
        ({"cone": (SkyCoord([1, 2], [3, 4], unit="deg"), 3)}, "a SkyCoord of 2"),
        ({"min_separation_arcsec": "2"}, "an angle is a Quantity"),
        ({"min_separation_arcsec": True}, "min_separation_arcsec"),
        ({"metric": "blend"}, "'rank_fusion'"),
    ],
)
def test_wrong_options_are_named(catalog, ids, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        catalog.neighbors(ids[0], **wrong)


# ---- queries -----------------------------------------------------------------------------------


def test_queries_say_what_they_are(catalog, ids) -> None:
    place = SkyCoord(0.0, -1.0, unit="deg")
    shown = {
        "Query.from_id(5)": Query.from_id(5),
        "Query.from_id([5, 6])": Query.from_id(np.array([5, 6])),
        "Query.from_position((0.0, -1.0), radius_arcsec=60.0)": Query.from_position(place, 1 * u.arcmin),
        "Query.from_pixel('a.fits', 3.0, 4.0)": Query.from_pixel("a.fits:3,4"),
        f"Query.from_vector(<{DIMENSION} numbers>)": Query.from_vector(np.zeros(DIMENSION)),
        "Query.from_image('<b>.png')": Query.from_image("<b>.png"),
    }
    assert [repr(query) for query in shown.values()] == list(shown)
    assert "<b>" not in Query.from_image("<b>.png")._repr_html_()
    resolved = catalog.resolve(ids[0])
    assert catalog.resolve(resolved) is resolved
    assert repr(resolved) == f"<ResolvedQuery: cutout {ids[0]}>"
    assert catalog.neighbors(resolved, 3) == catalog.neighbors(Query.from_id(ids[0]), 3)


# ---- answers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(catalog, ids) -> Neighbors:
    return catalog.neighbors(ids[:2], 3, allow_overlap=True, explain=True, fold_duplicates=True)


def test_an_answer_is_rows_and_tables(found, ids) -> None:
    assert len(found) == 6
    assert [row["query_id"] for row in found] == [ids[0]] * 3 + [ids[1]] * 3
    assert list(found[0]) == [*ANSWERS.names, "duplicates", "explain"]
    assert found.to_arrow().schema.names == list(found[0])
    assert found.to_pandas().neighbor_id.tolist() == [row["neighbor_id"] for row in found]
    table = found.to_astropy()
    assert (table["ra"].unit, table["x0"].unit, table["distance"].unit) == (u.deg, u.pix, None)
    assert table["labels"][0] == ";".join(found[0]["labels"])
    assert np.isnan(table["distance_percentile"]).all()
    assert found[1:3] == list(found)[1:3]


@pytest.mark.parametrize("name", ["a.csv", "a.ecsv", "a.fits", "a.vot", "a.parquet"])
@pytest.mark.parametrize("empty", [False, True])
def test_answers_are_written_with_units(catalog, ids, found, name: str, empty: bool, tmp_path: Path) -> None:
    some = catalog.neighbors(ids[0], where="1 = 0") if empty else found
    for _ in range(2):  # in place of what is there
        assert some.write(tmp_path / name) == tmp_path / name
    if name.endswith("parquet"):
        written = pq.read_table(tmp_path / name)
        assert written.equals(some.to_arrow())
        assert written.schema.field("ra").metadata[b"unit"] == b"deg"
        return
    kind = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits", "vot": "votable"}[name.split(".")[1]]
    table = Table.read(tmp_path / name, format=kind)
    assert table.colnames == some.to_arrow().column_names
    assert list(table["neighbor_id"]) == [row["neighbor_id"] for row in some]
    assert kind == "ascii.csv" or (table["ra"].unit, table["x1"].unit) == (u.deg, u.pix)


def test_answers_are_not_written_as_anything(found, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not end in"):
        found.write(tmp_path / "a.txt")
    with pytest.raises(InputError, match="there is no folder"):
        found.write(tmp_path / "none" / "a.csv")
    for kind in ("csv", "parquet", "fits", "vot"):
        (tmp_path / f"folder.{kind}").mkdir()
        with pytest.raises(InputError, match="cannot be written"):
            found.write(tmp_path / f"folder.{kind}")


@pytest.mark.parametrize("wrong", ["abc", None, 1.5, [1.5], 2**70, [-(2**63) - 1], float("nan")])
def test_what_is_no_cutout_id_is_refused(catalog, wrong: Any) -> None:
    for ask in (catalog.cutout, catalog.neighbors, Query.from_id):
        with pytest.raises(InputError, match="cutout ID"):
            ask(wrong)
    with pytest.raises(InputError, match="cutout ID"):
        catalog.describe_cutouts([wrong])


def test_a_picture_that_is_not_there_is_told_before_a_network_is_built(catalog, monkeypatch) -> None:
    monkeypatch.setattr(type(catalog), "_network", property(lambda _: pytest.fail("the network is built")))
    with pytest.raises(InputError, match=r"nope\.fits"):
        catalog.neighbors(Query.from_image("nope.fits"))


def test_what_is_shown_in_a_notebook_is_escaped_and_has_pictures(catalog, ids, found) -> None:
    for shown in (found._repr_html_(), catalog.cutout(ids[0])._repr_html_(), catalog._repr_html_()):
        assert "<script" not in shown
    assert "&lt;script&gt;" in found._repr_html_()
    pictures = re.findall(r'src="data:image/png;base64,(iVBOR[A-Za-z0-9+/=]+)"', found._repr_html_())
    assert len(pictures) == len(found.query.cutout_ids) + len(found), "of the queries, and one each"
    explained = catalog.neighbors(ids[0], 3, explain=True)
    assert all(
        f"{each['label']} {each['weight']:.2f}" in explained._repr_html_()
        for row in explained
        for each in row["explain"]
    )
    assert "nearest neighbors of cutout" in repr(found)
    many = catalog.neighbors(ids, 10, allow_overlap=True)
    assert f"and {len(many) - 20} more" in repr(many)
    assert repr(catalog) == (f"<Catalog {catalog.path}: 18 cutouts of 2 images, ResNet50, w.h5>")


# ---- cutouts -----------------------------------------------------------------------------------


def test_tables_are_there_without_thumbnails(catalog, rows) -> None:
    assert catalog.images.num_rows == 2
    assert catalog.cutouts.num_rows == len(rows["cutouts"])
    assert "thumbnail" not in catalog.cutouts.column_names


def test_a_cutout_is_found_by_position_and_on_an_image(catalog, rows, ids) -> None:
    row = next(row for row in rows["cutouts"] if row["cutout_id"] == ids[3])
    assert catalog.cutout_at(SkyCoord(row["ra"], row["dec"], unit="deg")) == ids[3]
    assert catalog.cutout_at((row["ra"], row["dec"]), 1 * u.arcsec) == ids[3]
    middle = catalog.cutout_at(image=catalog.images["path"][0])
    assert middle == catalog.cutout_at(image=EVIL, pixel=(31.5, 31.5))
    (place,) = catalog.describe_cutouts([middle])
    assert (place["x0"], place["y0"]) == (16, 16)
    for wrong in ({}, {"position": (0, 0), "image": "a"}):
        with pytest.raises(InputError, match="at a position, or on an image"):
            catalog.cutout_at(**wrong)
    with pytest.raises(InputError, match=r"the size of .* is not known"):
        catalog.cutout_at(image="g/1.fits")


def test_a_cutout_has_its_pixels_and_its_place_on_the_sky(catalog, rows, ids, tmp_path: Path, capsys) -> None:
    image = rows["images"][0]
    cutout = catalog.cutout(ids[3])
    x0, y0, x1, y1 = cutout.x0, cutout.y0, cutout.x1, cutout.y1
    whole = fits.getdata(image["uri"])
    np.testing.assert_array_equal(cutout.array, whole[y0:y1, x0:x1])
    assert run_command(["cutout", str(catalog.path), str(ids[3]), "-o", str(tmp_path / "c.fits")]) == 0
    assert "c.fits" in capsys.readouterr().out
    with fits.open(tmp_path / "c.fits") as hdulist:
        np.testing.assert_array_equal(hdulist[0].data, whole[y0:y1, x0:x1])
        assert (hdulist[0].header["CUTOUTID"], hdulist[0].header["IMAGE"]) == (ids[3], EVIL)
        place = WCS(hdulist[0].header).pixel_to_world(5, 9)
    ra, dec = pixel_to_sky(wcs_of(image["wcs"]), x0 + 5, y0 + 9)
    assert place.separation(SkyCoord(ra[0], dec[0], unit="deg")).arcsec < 1e-6
    assert repr(cutout) == f"<Cutout {ids[3]}: [{x0}:{x1}, {y0}:{y1}] px of {EVIL}>"


@pytest.mark.parametrize("path", ['new\nline\'s "a".fits', "\u661f\t.fits", "x" * 3000 + ".fits"])
def test_a_header_holds_any_path(catalog, ids, tmp_path: Path, path: str) -> None:
    found = catalog.cutout(ids[3])
    replace(found, image={**found.image, "path": path}).write(tmp_path / "c.fits")
    wanted = path if path.isascii() and path.isprintable() else ascii(path)[1:-1]
    assert fits.getheader(tmp_path / "c.fits")["IMAGE"] == wanted


@pytest.mark.parametrize(
    ("steps", "window"),
    [
        ([("Crop", {"output_range": (4, 60, 10, 50)}), ("FlipLR", {})], (8, 2, 24, 18)),
        ([("FlipUD", {}), ("AsinhStretch", {})], (0, 5, 16, 21)),
        ([("Resize", {"output_size": 32})], (3, 4, 11, 12)),
        ([("Resize", {"output_size": 128})], (3, 4, 19, 21)),
        ([("Rotate", {"angle": 90})], (3, 4, 19, 20)),
        ([("Rotate", {"angle": 30})], (0, 0, 16, 16)),
    ],
)
def test_a_cutout_of_an_image_whose_steps_move_pixels_shows_its_window(
    catalog, rows, ids, steps, window
) -> None:
    """Each pixel of the window is traced to the file: the box around all of these is what is read."""
    made = tuple(Step(type=kind, parameters=values) for kind, values in steps)
    names = dict(zip(("x0", "y0", "x1", "y1"), window, strict=True))
    cutout = replace(catalog.cutout(ids[3]), _steps=made, **names)
    x0, y0, x1, y1 = cutout.file_window
    whole = fits.getdata(rows["images"][0]["uri"])
    np.testing.assert_array_equal(cutout.array, whole[y0:y1, x0:x1])
    _, affine = apply_steps(whole, made)
    y, x = np.mgrid[window[1] : window[3], window[0] : window[2]].reshape(2, -1)
    x, y, _ = affine @ np.stack([x, y, np.ones_like(x)])
    reach = np.abs(affine[:2, :2]).sum(axis=1) / 2  # of a pixel
    for low, high, at, half in ((x0, x1, x, reach[0]), (y0, y1, y, reach[1])):
        assert low == pytest.approx(max(np.floor(at.min() - half + 0.5 + 1e-6), 0))
        assert high == pytest.approx(min(np.ceil(at.max() + half + 0.5 - 1e-6), 64))
    assert [cutout.header[name] for name in ("X0", "Y0", "X1", "Y1")] == [x0, y0, x1, y1]
    middle = cutout.wcs.pixel_to_world_values(0, 0)
    ra, dec = pixel_to_sky(wcs_of(rows["images"][0]["wcs"]), x0, y0)
    np.testing.assert_allclose(middle, (ra[0], dec[0]))


def test_cutouts_that_cannot_be_had_are_said(catalog, rows, ids, tmp_path: Path) -> None:
    lost = next(row for row in rows["cutouts"] if row["image_id"] == rows["images"][1]["image_id"])
    with pytest.raises(InputError, match=r"cannot be read from /data/1\.fits"):
        catalog.cutout(lost["cutout_id"]).write(tmp_path / "a.fits")
    assert catalog.cutout(lost["cutout_id"]).wcs is None
    with pytest.raises(UnknownCutoutError):
        catalog.cutout(12)
    with pytest.raises(InputError, match=r"written as \.fits"):
        catalog.cutout(ids[0]).write(tmp_path / "a.png")
