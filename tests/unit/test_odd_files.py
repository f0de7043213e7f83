"""Small files as real archives write them, each odd in its own way: what is read is what was meant.

The right values are those of ``shared/data/odd_files/README.md``. One table for each thing that is
looked at: add a row for a file, or a table with its test for something new.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from servers import refusal

from elodin_spark.cutouts.skycatalog import read_positions
from elodin_spark.images.describe import describe, read_pixels
from elodin_spark.images.listing import list_files


@pytest.fixture(scope="module")
def odd(shared_data: Path) -> Path:
    folder = shared_data / "odd_files"
    if not folder.is_dir():
        pytest.skip(f"no odd files at {folder}")
    return folder


#: Image to the position of its centre, ICRS, deg, and what is said of it.
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
