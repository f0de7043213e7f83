"""Small files as real archives write them, each odd in its own way: what is read is what was meant.

The right values are those of ``shared/data/odd_files/README.md``. One table for each thing that is
looked at: add a row for a file, or a table with its test for something new.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from helpers.pixels import read_pixels
from helpers.servers import refusal

from elodin_spark.config.settings import FullImage, QualitySettings, Sources
from elodin_spark.cutouts.layout import lay_windows
from elodin_spark.cutouts.picture import open_picture
from elodin_spark.cutouts.skycatalog import read_positions
from elodin_spark.cutouts.stretch import fit_asinh
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.errors import ImageError
from elodin_spark.images.describe import describe, describe_planes
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.planes import open_plane
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.stage import fuse, run_plain


@pytest.fixture(scope="module")
def odd(shared_data: Path) -> Path:
    folder = shared_data / "odd_files"
    if not folder.is_dir():
        pytest.skip(f"no odd files at {folder}")
    return folder


#: Image to the position of its center, ICRS, deg, and what is said of it.
POSITIONS = {
    "cunit_degree.fits": (150.0, 2.0, None),
    "elon.fits": (155.9312, 20.7685, None),
    "radesys_j2000.fits": (150.0, 2.0, None),
    "glon_typo.fits": (266.4645, -28.8508, None),
    "tnx.fits": (150.0, 2.0, "the correction of TNX is a constant, left out: read as TAN"),
    "nonsep.fits": (150.0, 2.0, None),
    "sip_leftover_drz.fits": (149.50740, 1.38136, "SIP cards left out"),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_of_images(odd: Path, name: str) -> None:
    (file,) = list_files([str(odd / name)])
    row = describe(file)
    ra, dec, note = POSITIONS[name]
    there = SkyCoord(row["ra"] * u.deg, row["dec"] * u.deg)
    # Right values have four decimals, five for the mosaic.
    assert there.separation(SkyCoord(ra * u.deg, dec * u.deg)).deg < 1e-4
    assert row["no_sky_reason"] is None
    assert (row["sky_note"] or "").startswith(note or "")
    assert (row["sky_note"] is None) == (note is None)


#: Catalog of positions to right ascension and declination of its rows, ICRS, deg.
CATALOGS = {
    "sc.ecsv": ([150.0123, 359.9999, 0.0001], [2.2, -0.5, 89.9]),
    "irsa.tbl": ([150.0123, 359.9999], [2.2, -0.5]),
}


@pytest.mark.parametrize("name", CATALOGS)
def test_catalogs_of_positions(odd: Path, name: str) -> None:
    found = read_positions(str(odd / name))
    ra, dec = CATALOGS[name]
    np.testing.assert_allclose(found.positions["ra"], ra, atol=1e-9)
    np.testing.assert_allclose(found.positions["dec"], dec, atol=1e-9)
    assert found.refused.num_rows == 0


#: Image to its largest pixel; that of asinh magnitudes with 1.0857 for 2.5 / ln 10.
MAXIMA = {"ps1_raw.fits": 1816.8, "cv_rgb16_lzw.tif": 63886}


@pytest.mark.parametrize("name", MAXIMA)
def test_pixels_are_physical(odd: Path, name: str) -> None:
    assert np.nanmax(read_pixels(str(odd / name), 0)) == pytest.approx(MAXIMA[name], rel=1e-4)


#: Image to what its row says.
DESCRIBED = {
    "jwst_niriss_f150w_i2d.fits": {"bands": "F150W", "mjd": 59761.41, "hdu": 1},
    "ps1_raw.fits": {"bands": "r.00000", "mjd": None, "hdu": 0},
    "cv_rgb16_lzw.tif": {"bands": "RGB", "width": 96, "height": 80},
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_filters_and_times(odd: Path, name: str) -> None:
    row = describe(list_files([str(odd / name)])[0])
    assert {key: row[key] for key in DESCRIBED[name]} == DESCRIBED[name]


#: Image to the kind of its refusal, and words of it.
REFUSED = {"bscale_undef.fits": ("bad_card", "the card BSCALE has no value")}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_when_it_is_listed(odd: Path, name: str) -> None:
    refused = refusal(lambda: describe(list_files([str(odd / name)])[0]))
    kind, words = REFUSED[name]
    assert refused.kind == kind
    assert words in str(refused)


# ---- masks, weights, padding -----------------------------------------------------------------

#: File to the fractions of the pixels that have a bit, by name, and of those that are bad.
MASKED: dict[str, tuple[dict[str, float], float]] = {
    "rubin_v2.fits": ({"BAD": 0.50, "COSMIC_RAY": 0.25, "SATURATED": 0.078}, 0.77),
    "hst_flt.fits.gz": ({"CRDRIZ": 0.298, "SATURATED": 0.208, "HOT": 0.219}, 0.725),
    "des_coadd.fits.fz": ({"BPM": 0.3125}, 0.3125),
    "c4d_180301_040000_ooi_r_v1.fits.fz": ({"SATURATED": 0.047}, 0.047),
}


@pytest.mark.parametrize("name", MASKED)
def test_masks_and_weights_belong_to_the_image(odd: Path, name: str) -> None:
    (file,) = [file for file in list_files([str(odd)]) if file.path == name]
    planes = describe_planes(file, "all")
    assert {plane["hdu"] for plane in planes} == ({1, 2} if name.startswith("c4d") else {1})
    rows = run_plain(
        fuse(DescribeSpec("all"), TileSpec(FullImage(), quality=QualitySettings())), files_to_batches([file])
    ).to_pylist()
    bits, masked = MASKED[name]
    cut = [row for row in rows if row["cutout_id"] is not None]
    assert len(cut) == len(planes)
    for row in cut:
        assert dict(row["mask_fractions"]) == pytest.approx(bits, abs=0.001)
        assert row["masked_fraction"] == pytest.approx(masked, abs=0.001)
    with open_plane(file.uri, 1) as plane:
        assert plane.variance(0, 8) is not None


def test_of_three_files_of_one_exposure_one_is_sky(odd: Path) -> None:
    files = list_files([str(odd / "c4d_*")])
    assert [file.path for file in files] == ["c4d_180301_040000_ooi_r_v1.fits.fz"]
    for part in ("ood", "oow"):
        (file,) = list_files([str(odd / f"c4d_180301_040000_{part}_r_v1.fits.fz")])
        with pytest.raises(ImageError) as caught:
            describe_planes(file)
        assert caught.value.kind == "no_sky"


#: File to the number of its sources; None of those whose number nobody has worked out.
DETECTED = {"rubin_cr.fits": 24, "zeropad_40pct.fits": 20, "zeropad_pedestal.fits": None}


@pytest.mark.parametrize("name", DETECTED)
@pytest.mark.parametrize("blank", ["auto", 0.0])
def test_sources_lie_on_good_pixels(odd: Path, name: str, blank: Any) -> None:
    (file,) = list_files([str(odd / name)])
    row = describe_planes(file)[0]
    with open_picture(row, "auto", None, {}, True, True, blank) as (picture, plane):
        sources = lay_windows(Sources(size=16), picture, plane, row).sources
        assert sources is not None
        places = [(round(source["y"]), round(source["x"])) for source in sources]
        if DETECTED[name] is not None:
            assert len(sources) == DETECTED[name]
        mask = plane.mask(0, plane.shape[0])
        if mask is not None:
            assert not any(mask[place] for place in places)
            return
        assert all(np.isfinite(plane.read(0, plane.shape[0])[place]) for place in places)
        (known,) = [source for source in sources if np.hypot(source["x"] - 153, source["y"] - 82) < 1]
        assert known["flux"] == pytest.approx(27454, rel=0.002)
        levels = fit_asinh(plane.read(0, plane.shape[0]))
        assert levels is not None
        assert levels.black == pytest.approx(985, abs=0.5)
        assert levels.softening == pytest.approx(45, abs=0.5)
