"""Catalogs of positions in the forms that archives give them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from elodin_spark.cutouts.skycatalog import RADIAN_COLUMNS, read_positions
from elodin_spark.errors import InputError

RA = [10.5, 359.25, 0.0, 187.70593]
DEC = [-20.25, 0.5, 89.9, 12.39112]


def written(tmp_path: Path, text: str, name: str = "positions.csv") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def astropy_table(ids: list[str] | None = None) -> Table:
    table = Table({"RA": np.array(RA) * u.deg, "DEC": np.array(DEC) * u.deg})
    if ids:
        table["name"] = ids
    return table


def same(path: str, **options: str) -> pa.Table:
    found = read_positions(path, **options)
    assert found.refused.num_rows == 0
    np.testing.assert_allclose(found.positions["ra"], RA, atol=1e-9)
    np.testing.assert_allclose(found.positions["dec"], DEC, atol=1e-9)
    return found.positions


@pytest.mark.parametrize(
    "kind", ["csv", "tsv", "semicolon", "spaces", "ecsv", "parquet", "votable", "fits", "gz"]
)
def test_each_kind_of_file_gives_the_same_positions(tmp_path: Path, kind: str) -> None:
    table = astropy_table(["M 1", "NGC 2", "é", "x"] if kind != "spaces" else ["a", "b", "c", "d"])
    path = tmp_path / "catalog.dat"  # told by content, not by name
    if kind == "parquet":
        parquet.write_table(
            pa.table({name: pa.array(np.array(table[name]).tolist()) for name in table.colnames}), path
        )
    elif kind == "fits":
        table["name"] = ["M 1", "NGC 2", "e", "x"]
        table.write(path, format="fits")
    elif kind == "gz":
        table.write(tmp_path / "plain.csv", format="ascii.csv")
        path.write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes()))
    else:
        delimiter = {"tsv": "\t", "semicolon": ";", "spaces": " ", "csv": ","}.get(kind)
        formats = {"ecsv": "ascii.ecsv", "votable": "votable"}
        table.write(
            path, format=formats.get(kind, "ascii.basic"), **({"delimiter": delimiter} if delimiter else {})
        )
    positions = same(str(path))
    assert positions.schema.names == ["position_id", "ra", "dec"]
    assert positions.schema.types == [pa.string(), pa.float64(), pa.float64()]
    assert positions["position_id"].to_pylist()[0] in ("M 1", "a")


@pytest.mark.parametrize(
    "names",
    [("ra", "dec"), ("RA", "DEC"), ("_RAJ2000", "_DEJ2000"), ("RAJ2000", "DEJ2000"), ("RA_ICRS", "DE_ICRS"),
     ("ra_deg", "dec_deg"), ("raMean", "decMean"), ("ALPHA_J2000", "DELTA_J2000"), ("coord_ra", "coord_dec")],
)  # fmt: skip
def test_columns_are_found_by_their_common_names(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = "\n".join(f"{i},{ra},{dec},5" for i, (ra, dec) in enumerate(zip(RA, DEC, strict=True)))
    same(written(tmp_path, f"number,{names[0]},{names[1]},e_ra\n{rows}\n"))


def test_columns_that_are_named_win_and_their_case_may_differ(tmp_path: Path) -> None:
    rows = "\n".join(f"0,0,{ra},{dec}" for ra, dec in zip(RA, DEC, strict=True))
    path = written(tmp_path, f"ra,dec,X,Y\n{rows}\n")
    same(path, ra_column="X", dec_column="y")


def test_a_missing_column_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    path = written(tmp_path, "lon,lat,flux\n1,2,3\n")
    with pytest.raises(InputError, match="of: lon, lat, flux"):
        read_positions(path)
    with pytest.raises(InputError, match=r"no columns of alpha.*of: lon, lat, flux"):
        read_positions(path, ra_column="alpha", dec_column="lat")
    with pytest.raises(InputError, match="no column ID; name one of: lon, lat, flux"):
        read_positions(path, "lon", "lat", "ID")


def test_units_of_the_file_are_honored(tmp_path: Path) -> None:
    for unit in (u.deg, u.rad, u.hourangle, u.arcmin, u.mas):
        for format_ in ("votable", "fits"):
            if unit == u.hourangle and format_ == "fits":
                continue  # the FITS standard has no such unit; its spelling h is tried below
            path = tmp_path / f"{unit}.{format_}"
            table = Table({"ra": (np.array(RA) * u.deg).to(unit), "dec": (np.array(DEC) * u.deg).to(u.rad)})
            table.write(path, format=format_)
            same(str(path))
    columns = [
        fits.Column("ra", "D", unit="h", array=np.array(RA) / 15),
        fits.Column("dec", "E", unit="degrees", array=np.array(DEC)),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "hours.fits")
    found = read_positions(str(tmp_path / "hours.fits"))
    np.testing.assert_allclose(found.positions["ra"], RA)
    np.testing.assert_allclose(found.positions["dec"], DEC, atol=1e-5)


def test_a_unit_that_is_given_wins_and_one_that_is_no_angle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "odd.vot"
    Table({"ra": np.radians(RA) * u.s, "dec": np.array(DEC)}).write(path, format="votable")
    with pytest.raises(InputError, match=r"ra of .* is in 's'"):
        read_positions(str(path))
    same(str(path), ra_unit="rad")
    rows = "\n".join(f"{ra / 15},{dec * 60}" for ra, dec in zip(RA, DEC, strict=True))
    same(written(tmp_path, f"ra,dec\n{rows}"), ra_unit="hourangle", dec_unit="arcmin")


@settings(max_examples=150, deadline=None)
@given(
    st.floats(0, 359.999), st.floats(-90, 90), st.sampled_from(["colon", "fromunit", " "]), st.booleans(),
)  # fmt: skip
def test_sexagesimal_text_is_read_as_astropy_reads_it(
    tmp_path_factory: pytest.TempPathFactory, ra: float, dec: float, sep: str, degrees: bool
) -> None:
    separator = ":" if sep == "colon" else sep
    unit = u.deg if degrees and sep == "fromunit" else u.hourangle
    ra_text = Angle(ra * u.deg).to_string(unit=unit, sep=separator, precision=4)
    dec_text = Angle(dec * u.deg).to_string(
        unit=u.deg, sep=separator, precision=3, alwayssign=degrees, pad=True
    )
    path = tmp_path_factory.mktemp("s") / "positions.csv"
    path.write_text(f'ra,dec\n"{ra_text}","{dec_text}"\n10:00:00,-00:30:00\n', encoding="utf-8")
    found = read_positions(str(path)).positions.to_pydict()
    expected = Angle(ra_text, unit=unit).deg % 360, Angle(dec_text, unit=u.deg).deg
    assert (found["ra"][0], found["dec"][0]) == pytest.approx(expected, abs=1e-9)
    assert (found["ra"][1], found["dec"][1]) == (150.0, -0.5)


def test_rows_without_a_position_are_reported(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "id,ra,dec\n1,10,20\n2,,5\n3,nan,5\n4,10,90.5\n5,400,0\n6,360,-90\n7,-0.5,0\n8,inf,0\n9,10,\n",
    )
    found = read_positions(path)
    assert found.positions.to_pydict() == {
        "position_id": [1, 6, 7],
        "ra": [10.0, 0.0, 359.5],
        "dec": [20.0, -90.0, 0.0],
    }
    assert found.refused["row"].to_pylist() == [1, 2, 3, 4, 7, 8]
    assert found.refused["position_id"].to_pylist() == ["2", "3", "4", "5", "8", "9"]
    assert found.refused["reason"].to_pylist() == [
        "right ascension is missing or is no angle",
        "right ascension is missing or is no angle",
        "declination 90.5 deg is beyond a pole",
        "right ascension 400 deg is beyond a full circle",
        "right ascension is missing or is no angle",
        "declination is missing or is no angle",
    ]


def test_text_that_is_no_angle_is_reported(tmp_path: Path) -> None:
    found = read_positions(
        written(tmp_path, "ra,dec\n12:34:56,1:2:3\n12:61:00,5\nabc,5\n1h2m3s,-0d0m36s\n5.5,6.5\n")
    )
    assert found.refused["row"].to_pylist() == [1, 2]
    np.testing.assert_allclose(found.positions["ra"], [188.7333333333, 15.5125, 5.5])
    np.testing.assert_allclose(found.positions["dec"], [1 + 2 / 60 + 3 / 3600, -0.01, 6.5])


def test_masked_values_are_reported(tmp_path: Path) -> None:
    table = Table({"ra": MaskedColumn([1.0, 2.0], mask=[False, True]), "dec": [3.0, 4.0]})
    table.write(tmp_path / "masked.vot", format="votable")
    found = read_positions(str(tmp_path / "masked.vot"))
    assert found.positions["position_id"].to_pylist() == [0]
    assert found.refused["row"].to_pylist() == [1]


def test_rows_are_numbered_where_no_column_tells_them_apart(tmp_path: Path) -> None:
    path = written(tmp_path, "name,ra,dec\na,1,2\na,3,4\n")
    assert read_positions(path).positions["position_id"].to_pylist() == [0, 1]
    with pytest.raises(InputError, match="cannot tell positions apart"):
        read_positions(path, id_column="name")
    path = written(tmp_path, "ID,ra,dec\n9223372036854775808,1,2\n7,3,4\n")
    assert len(read_positions(path).positions["position_id"].unique()) == 2


def test_the_first_fits_table_with_the_columns_is_read(tmp_path: Path) -> None:
    image = fits.ImageHDU(np.zeros((4, 4), np.float32))
    other = fits.BinTableHDU(Table({"flux": [1.0]}))
    vectors = Table({"ra": RA, "dec": DEC, "shape": np.zeros((4, 3))})
    hdus = fits.HDUList([fits.PrimaryHDU(), image, other, fits.BinTableHDU(vectors)])
    hdus.append(fits.CompImageHDU(np.zeros((8, 8), np.int16)))
    hdus.writeto(tmp_path / "several.fits")
    same(str(tmp_path / "several.fits"))
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "none.fits")
    with pytest.raises(InputError, match="holds no table"):
        read_positions(str(tmp_path / "none.fits"))


def test_main_positions_of_a_votable_are_told_by_their_ucd(tmp_path: Path) -> None:
    table = Table({"ra": [0.0] * 4, "dec": [0.0] * 4, "x": RA, "y": DEC})
    table["x"].meta["ucd"], table["y"].meta["ucd"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    table.write(tmp_path / "ucd.vot", format="votable")
    same(str(tmp_path / "ucd.vot"))


def test_remarks_a_header_after_a_hash_and_quotes_are_understood(tmp_path: Path) -> None:
    rows = "\n".join(f"{ra} {dec}" for ra, dec in zip(RA, DEC, strict=True))
    same(written(tmp_path, f"# made by hand\n# ra dec\n{rows}\n"))
    rows = "\r\n".join(f'"a, {i}",{ra},{dec}' for i, (ra, dec) in enumerate(zip(RA, DEC, strict=True)))
    positions = same(written(tmp_path, f"# a remark\r\nname,ra,dec\r\n{rows}\r\n"))
    assert positions["position_id"].to_pylist()[3] == "a, 3"


@pytest.mark.parametrize(
    "content",
    [b"", b"   \n", b"PAR1 and nothing else", b"SIMPLE  =   maybe", b"<?xml version='1.0'?><html/>",
     b"ra,dec\n1,2,3\n", b"ra,ra,dec\n1,2,3\n", b"\x1f\x8bbroken",
     b"\x00\xff\xfe", b"ra,dec\n1,2\n\x80,,,\n"],
)  # fmt: skip
def test_what_is_no_catalog_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.csv"):
        read_positions(str(path))


def test_a_missing_file_and_an_empty_table_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        read_positions(str(tmp_path / "missing.csv"))
    found = read_positions(written(tmp_path, "ra,dec\n"))
    assert found.positions.num_rows == found.refused.num_rows == 0
    assert found.positions.schema.names == ["position_id", "ra", "dec"]


@pytest.mark.parametrize("kind", ["ascii.ecsv", "fits", "parquet"])
@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk4", "barycentricmeanecliptic"])
@pytest.mark.parametrize("name", ["coord", "sky_centroid"])
def test_a_skycoord_of_any_frame_is_read_from_files_of_astropy(
    tmp_path: Path, kind: str, frame: str, name: str
) -> None:
    table = QTable({"id": [4, 5, 6, 7], "flux": [1.0, 2.0, 3.0, 4.0] * u.Jy})
    table[name] = SkyCoord(RA * u.deg, DEC * u.deg).transform_to(frame)
    path = tmp_path / "catalog.dat"
    table.write(path, format=kind)
    found = read_positions(str(path)).positions
    assert found["position_id"].to_pylist() == [4, 5, 6, 7]
    there = SkyCoord(found["ra"].to_numpy() * u.deg, found["dec"].to_numpy() * u.deg)
    assert there.separation(SkyCoord(RA * u.deg, DEC * u.deg)).arcsec.max() < 1e-6


def test_a_skycoord_without_a_position_is_reported(tmp_path: Path) -> None:
    table = QTable({"coord": SkyCoord([10.0, np.nan] * u.deg, [5.0, 6.0] * u.deg)})
    table.write(tmp_path / "catalog.ecsv")
    found = read_positions(str(tmp_path / "catalog.ecsv"))
    assert found.positions["ra"].to_pylist() == [10.0]
    assert found.refused["row"].to_pylist() == [1]


def test_columns_of_a_split_skycoord_are_found_in_plain_text(tmp_path: Path) -> None:
    same(written(tmp_path, "sky_centroid.ra,sky_centroid.dec\n" + rows_of(RA, DEC)))


def rows_of(ra: list[float], dec: list[float]) -> str:
    return "".join(f"{a!r},{b!r}\n" for a, b in zip(ra, dec, strict=True))


@pytest.mark.parametrize("unit", ["", "deg", "degrees", "rad"])
def test_ipac_tables_are_read(tmp_path: Path, unit: str) -> None:
    table = Table({"ra": RA, "dec": DEC, "name": ["a", "b", "c", "d e"]})
    if unit == "rad":
        table["ra"], table["dec"] = np.radians(RA), np.radians(DEC)
    if unit:
        table["ra"].unit = table["dec"].unit = "deg" if unit == "degrees" else unit
    path = tmp_path / "catalog.dat"
    table.write(path, format="ascii.ipac")
    path.write_text(path.read_text().replace(" deg", "degrees") if unit == "degrees" else path.read_text())
    assert same(str(path))["position_id"].to_pylist() == ["a", "b", "c", "d e"]


def test_a_table_with_bars_between_values_is_no_ipac_table(tmp_path: Path) -> None:
    same(written(tmp_path, "ra|dec\n" + rows_of(RA, DEC).replace(",", "|")))


@pytest.mark.parametrize("names", RADIAN_COLUMNS)
@pytest.mark.parametrize("kind", ["csv", "parquet", "fits"])
def test_radians_without_a_unit_are_told_by_name_and_range(
    tmp_path: Path, names: tuple[str, str], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = Table([np.radians(RA), np.radians(DEC)], names=names)
    path = tmp_path / "catalog.dat"
    if kind == "csv":
        table.write(path, format="ascii.csv")
    else:
        table.write(path, format=kind)
    same(str(path))
    assert "read as radians" in caplog.text


@pytest.mark.parametrize(
    ("names", "ra", "dec"),
    [
        (("coord_ra", "coord_dec"), [10.0, 3.0], [0.5, -0.5]),  # RA beyond a full turn
        (("coord_ra", "coord_dec"), [1.0, 3.0], [0.5, -9.5]),  # Dec beyond a pole
        (("ra", "dec"), [1.0, 3.0], [0.5, -0.5]),  # a name that says degrees
    ],
)
def test_degrees_without_a_unit_stay_degrees(
    tmp_path: Path, names: tuple[str, str], ra: list[float], dec: list[float]
) -> None:
    found = read_positions(written(tmp_path, ",".join(names) + "\n" + rows_of(ra, dec))).positions
    assert (found["ra"].to_pylist(), found["dec"].to_pylist()) == (ra, dec)


def test_a_unit_that_the_file_or_the_caller_gives_wins_over_the_range(tmp_path: Path) -> None:
    table = Table({"coord_ra": np.array([1.0, 3.0]) * u.deg, "coord_dec": np.array([0.5, -0.5]) * u.deg})
    table.write(tmp_path / "catalog.fits")
    assert read_positions(str(tmp_path / "catalog.fits")).positions["ra"].to_pylist() == [1.0, 3.0]
    bare = written(tmp_path, "coord_ra,coord_dec\n1.0,0.5\n")
    assert read_positions(bare, ra_unit="deg", dec_unit="deg").positions["ra"].to_pylist() == [1.0]
