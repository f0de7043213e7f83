"""Planes of one sky find each other, by name or by header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from elodin_spark import ids, schema
from elodin_spark.config.color import ColorSettings, HeaderKeywords, NamePattern
from elodin_spark.errors import ImageError
from elodin_spark.images.bands import group_bands
from elodin_spark.images.describe import describe, failed_row
from elodin_spark.images.listing import ImageFile, list_files


def row(path: str, hdu: int = 0, **columns: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "image_id": ids.image_id(path, hdu), "uri": f"/archive/{path}", "path": path, "hdu": hdu,
        "bands": None, "width": 20, "height": 10, "wcs": None, "ra": None, "dec": None,
        "pixel_scale": None, "mjd": None, "size_bytes": 100, "status": "ok", "error": None,
    }  # fmt: skip
    return values | columns


def kinds(images: list[dict[str, Any]], pattern: str, *needed: str) -> list[str | None]:
    groups = group_bands(images, NamePattern(pattern=pattern), needed)
    return [group.error.kind if group.error else None for group in groups]


def test_planes_whose_names_differ_in_the_band_are_one_group() -> None:
    images = [row(f"frame-{band}-003918-3-0213.fits.bz2") for band in "ugriz"]
    (group,) = group_bands(images, NamePattern(pattern="frame-{band}-*.fits.bz2"), ("i", "r", "g"))
    assert group.path == "frame-{band}-003918-3-0213.fits.bz2"
    assert list(group.planes) == ["i", "r", "g", "u", "z"]
    assert group.planes["g"].uri == "/archive/frame-g-003918-3-0213.fits.bz2"
    assert group.error is None
    assert group.missing == ()


@given(
    st.sets(st.tuples(st.sampled_from(["a", "b/c"]), st.integers(0, 3), st.sampled_from("ugr")), min_size=1),
    st.randoms(use_true_random=False),
)
def test_groups_do_not_depend_on_the_order_of_the_planes(
    cells: set[tuple[str, int, str]], random: Any
) -> None:
    images = [row(f"{folder}/{band}/coadd_{number}.fits") for folder, number, band in cells]
    random.shuffle(images)
    groups = group_bands(images, NamePattern(pattern="*/{band}/coadd_*.fits"))
    expected = {
        f"{folder}/{{band}}/coadd_{number}.fits": sorted(b for f, n, b in cells if (f, n) == (folder, number))
        for folder, number, _ in cells
    }
    assert [(group.path, list(group.planes)) for group in groups] == sorted(expected.items())


def test_a_band_written_twice_has_to_be_the_same_band() -> None:
    images = [row("g/coadd-g-1.fits"), row("r/coadd-r-1.fits"), row("i/coadd-z-1.fits")]
    groups = group_bands(images, NamePattern(pattern="{band}/coadd-{band}-*.fits"))
    assert [(group.path, list(group.planes)) for group in groups] == [
        ("i/coadd-z-1.fits", []),
        ("{band}/coadd-{band}-1.fits", ["g", "r"]),
    ]
    assert groups[0].error is not None
    assert groups[0].error.kind == "no_band"


def test_hdus_of_one_file_are_groups_of_their_own() -> None:
    images = [row(f"{band}.fits", hdu) for band in "gr" for hdu in (1, 2)]
    groups = group_bands(images, NamePattern(pattern="{band}.fits"))
    assert [(group.hdu, list(group.planes)) for group in groups] == [(1, ["g", "r"]), (2, ["g", "r"])]


def test_a_group_without_a_needed_band_fails_and_says_which() -> None:
    images = [row("f-g-1.fits"), row("f-r-1.fits"), row("f-g-2.fits")]
    whole, lacking = group_bands(images, NamePattern(pattern="f-{band}-*.fits"), ("r", "g"))
    assert whole.error is None
    assert lacking.missing == ("r",)
    assert lacking.error is not None
    assert lacking.error.kind == "missing_band"
    assert "no plane of band r beside g" in str(lacking.error)
    failed = lacking.row("r")
    assert failed["status"] == "failed"
    assert failed["error"].startswith("missing_band: ")
    assert failed["path"] == "f-{band}-2.fits"


def test_two_planes_of_one_band_are_an_error_that_names_both() -> None:
    images = [row("f.fits", 1, bands="g"), row("f.fits", 2, bands="g"), row("f.fits", 3, bands="r")]
    (group,) = group_bands(
        images, HeaderKeywords(keywords=("OBJECT",)), keywords=lambda image, names: {"OBJECT": "M 31"}
    )
    assert group.error is not None
    assert group.error.kind == "duplicate_band"
    assert "f.fits[1], f.fits[2]" in str(group.error)
    assert len(group.members) == 3


def test_surplus_and_unreadable_planes_count_only_where_the_band_is_needed() -> None:
    damaged = failed_row(ImageFile("/a/f-u-1.fits", "f-u-1.fits", 3), ImageError("cut short", "truncated"))
    images = [row("f-g-1.fits"), damaged]
    assert kinds(images, "f-{band}-*.fits", "g") == [None]
    assert kinds(images, "f-{band}-*.fits", "g", "u") == ["truncated"]
    assert kinds(images, "f-{band}-*.fits") == ["truncated"]


@pytest.mark.parametrize(
    ("path", "pattern", "kind"),
    [
        ("a-b-c-d.fits", "*-{band}-*.fits", "ambiguous_band"),
        ("x/hst_10775_64_acs_wfc_f606w_drz.fits", "hst_*_{band}_drz.fits", None),
        ("frame-irg-003918.jpg", "frame-{band}-*.fits.bz2", "no_band"),
        ("deep/er/g/x.fits", "/{band}/x.fits", None),
        ("xframe-g-1.fits", "frame-{band}-1.fits", "no_band"),
        ("frame-g-1xfits", "frame-{band}-1.fits", "no_band"),
        ("t/9/g/deep/c.fits", "t/*/{band}/**/c.fits", None),
        ("c1.fits", "{band}?.fits", None),
    ],
)
def test_a_pattern_finds_one_band_or_says_why_not(path: str, pattern: str, kind: str | None) -> None:
    assert kinds([row(path)], pattern) == [kind]


def test_aliases_bring_different_spellings_of_a_band_together() -> None:
    images = [row("G/1.fits"), row("r/1.fits")]
    (group,) = group_bands(images, NamePattern(pattern="{band}/*.fits", aliases={"G": "g"}))
    assert list(group.planes) == ["g", "r"]


def write_coadd(path: Path, patch: str, band: str) -> None:
    primary = fits.PrimaryHDU()
    primary.header["TRACT"], primary.header["PATCH"] = 9813, patch
    image = fits.ImageHDU(np.zeros((4, 6), np.float32), name="IMAGE")
    image.header["FILTER"] = band
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList([primary, image]).writeto(path)


def test_planes_are_grouped_by_keywords_of_the_primary_header(tmp_path: Path) -> None:
    for number, (patch, band) in enumerate([("4,4", "HSC-G"), ("4,5", "HSC-G"), ("4,4", "HSC-R")]):
        write_coadd(tmp_path / f"{number}.fits", patch, band)
    images = [describe(file) for file in list_files([str(tmp_path)])]
    grouping = HeaderKeywords(keywords=("tract", "patch"), aliases={"HSC-G": "g", "HSC-R": "r"})
    both, one = group_bands(images, grouping, ("r", "g"))
    assert both.path == "{band}/TRACT=9813/PATCH=4,4"
    assert {band: plane.uri for band, plane in both.planes.items()} == {
        "r": str(tmp_path / "2.fits"),
        "g": str(tmp_path / "0.fits"),
    }
    assert both.planes["r"].hdu == 1
    assert one.missing == ("r",)


def test_values_with_a_slash_do_not_make_two_groups_one() -> None:
    values = {"1": {"A": "x/B=y", "B": "z"}, "2": {"A": "x", "B": "y/B=z"}}
    images = [row("1", bands="g"), row("2", bands="g")]
    groups = group_bands(
        images, HeaderKeywords(keywords=("A", "B")), keywords=lambda image, names: values[image["path"]]
    )
    assert len({group.path for group in groups}) == 2


def test_a_plane_without_the_keyword_or_a_filter_is_reported(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "bare.fits", np.zeros((4, 6), np.float32))
    images = [describe(file) for file in list_files([str(tmp_path)])]
    (group,) = group_bands(images, HeaderKeywords(keywords=("TRACT", "NAXIS")))
    assert group.error is not None
    assert "no TRACT to group by" in str(group.error)
    (group,) = group_bands(images, HeaderKeywords(keywords=("NAXIS",)))
    assert group.error is not None
    assert "names no filter" in str(group.error)


def test_the_row_of_a_group_has_an_id_of_its_own_and_the_grid_of_the_reference() -> None:
    images = [row("f-g-1.fits", mjd=52758.5), row("f-r-1.fits", width=30, mjd=52758.25)]
    (group,) = group_bands(images, NamePattern(pattern="f-{band}-*.fits"))
    made = group.row("r")
    assert made["image_id"] == ids.image_id("f-{band}-1.fits", 0)
    assert (made["uri"], made["width"]) == ("/archive/f-r-1.fits", 30)
    assert (made["bands"], made["mjd"], made["size_bytes"]) == ("g,r", 52758.25, 200)
    assert schema.rows_to_batch([made], schema.IMAGES).num_rows == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"grouping": {"kind": "pattern", "pattern": "frame-*.fits"}}, "lacks {band}"),
        ({"grouping": {"kind": "pattern", "pattern": "{run}-{band}.fits"}}, "braces other than"),
        ({"grouping": {"kind": "pattern", "pattern": "frame{band}*.fits"}}, "where the band ends"),
        ({"grouping": {"kind": "header", "keywords": []}}, "at least 1"),
        ({"channels": ["i", "r"]}, "channels"),
        ({"channels": ["i", [], "g"]}, "one or more different bands"),
        ({"reference": "z"}, "is no band of channels"),
        ({"weights": {"y": 2.0}}, "which channels lack"),
        ({"weights": {"g": 0.0}}, "greater than 0"),
        ({"stretch": {"kind": "lupton", "stretch": -1}}, "greater than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], complaint: str) -> None:
    good: dict[str, Any] = {
        "grouping": {"kind": "pattern", "pattern": "f-{band}.fits"},
        "channels": ["i", ["r", "i"], "g"],
    }
    assert ColorSettings.model_validate(good).bands == ("i", "r", "g")
    with pytest.raises(ValidationError, match=complaint):
        ColorSettings.model_validate(good | settings)


def test_the_five_bands_of_an_sdss_field_are_one_group(shared_data: Path) -> None:
    files = list_files([str(shared_data / "sdss_field" / "*.fits.bz2")])
    images = [describe(file) for file in files]
    (by_name,) = group_bands(images, NamePattern(pattern="frame-{band}-*.fits.bz2"), ("i", "r", "g"))
    (by_header,) = group_bands(images, HeaderKeywords(keywords=("RUN", "CAMCOL")), ("i", "r", "g"))
    assert by_name.planes == by_header.planes
    assert by_header.path == "{band}/RUN=3918/CAMCOL=3"
    assert sorted(by_name.planes) == list("giruz")
    unnamed = group_bands(images, HeaderKeywords(keywords=("RUN", "CAMCOL", "FIELD")))
    assert ["no FIELD" in str(group.error) for group in unnamed] == [True] * 5
