"""WCS cards as archives write them: positions as astropy has them of the cards that were meant.

The right values are worked out here, by astropy's low-level WCS of plain cards, IRAF's polynomials in
NumPy and astropy's frames.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, ICRS, BarycentricMeanEcliptic, Galactic, SkyCoord, Supergalactic
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS
from numpy.polynomial import chebyshev, legendre, polynomial
from numpy.typing import NDArray

from elodin_spark.images import sky
from elodin_spark.images.fits import describe_fits, describe_fits_planes

X, Y = np.array([0.0, 399.0, 120.0, 57.5]), np.array([0.0, 10.0, 299.0, 101.25])
PLAIN: dict[str, Any] = {
    "SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": 400, "NAXIS2": 300,
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
    "CRPIX1": 200.5, "CRPIX2": 150.5, "CD1_1": -1e-4, "CD1_2": 2e-5, "CD2_1": 2e-5, "CD2_2": 1e-4,
}  # fmt: skip


def header(base: dict[str, Any] = PLAIN, **cards: Any) -> fits.Header:
    """Cards of `base` with others; a card of None is left out."""
    return fits.Header([(name, value) for name, value in (base | cards).items() if value is not None])


def world(plain: fits.Header, x: NDArray[np.float64] = X, y: NDArray[np.float64] = Y) -> NDArray[np.float64]:
    """Longitude and latitude of pixels by the low-level WCS of astropy, deg, shape (2, n)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(plain, naxis=2)
        return np.array(wcs.all_pix2world(x, y, 0))[[wcs.wcs.lng, wcs.wcs.lat]]


def icrs(lonlat: NDArray[np.float64], frame: Any = ICRS()) -> SkyCoord:  # noqa: B008
    return SkyCoord(lonlat[0] * u.deg, lonlat[1] * u.deg, frame=frame).icrs


def assert_at(odd: fits.Header, right: SkyCoord, note: str | None = None, **options: Any) -> str:
    found = sky.read_wcs(odd, **options)
    assert found.text is not None, found.reason
    assert found.reason is None
    assert (found.note or "") == (note or "") if note is None else note in (found.note or "")
    ra, dec = sky.pixel_to_sky(sky.wcs_of(found.text), X, Y)
    assert SkyCoord(ra * u.deg, dec * u.deg).separation(right).arcsec.max() < 1e-5
    return found.text


# Units


@pytest.mark.parametrize(
    ("unit", "per_degree"),
    [
        ("", 1), ("deg", 1), ("degree", 1), ("degrees", 1), ("Degrees", 1), ("DEG", 1), ("Deg.", 1),
        ("'deg'", 1), (" deg ", 1), ("arcsec", 3600), ("ARCSEC", 3600), ("arcseconds", 3600),
        ("arcmin", 60), ("Arcminutes", 60), ("mas", 3.6e6), ("rad", np.pi / 180), ("RADIANS", np.pi / 180),
    ],
)  # fmt: skip
def test_units_in_any_spelling(unit: str, per_degree: float) -> None:
    numbers = ("CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2")
    scaled = {name: PLAIN[name] * per_degree for name in numbers}
    assert_at(header(CUNIT1=unit, CUNIT2=unit, **scaled), icrs(world(header())))


@pytest.mark.parametrize("unit", ["pixel", "hours", "d", "m", "degress"])
def test_a_unit_that_is_no_angle_is_the_reason(unit: str) -> None:
    found = sky.read_wcs(header(CUNIT1=unit, CUNIT2=unit))
    assert found.text is None
    assert found.reason == f"CUNIT1 {unit} is no unit of an angle"


# Axes


@pytest.mark.parametrize(
    ("names", "frame"),
    [
        (("RA---", "DEC--"), ICRS()),
        (("GLON-", "GLAT-"), Galactic()),
        (("SLON-", "SLAT-"), Supergalactic()),
        (("ELON-", "ELAT-"), BarycentricMeanEcliptic()),
        (("HLON-", "HLAT-"), BarycentricMeanEcliptic()),
    ],
)
@pytest.mark.parametrize(
    "projection",
    [
        {"code": "TAN"},
        {"code": "SIN", "PV2_1": 0.01, "PV2_2": -0.02},
        {"code": "ZPN", "PV2_1": 1.0, "PV2_3": 3.0},
        {"code": "CAR"},
        {"code": "AIT"},
        {"code": "SFL", "CRVAL2": -35.0},
        {"code": "COE", "PV2_1": 40.0, "PV2_2": 15.0, "CRVAL2": 35.0},
        {"code": "TAN", "LONPOLE": 143.0},
        {"code": "CEA", "PV2_1": 0.8, "LONPOLE": 20.0, "LATPOLE": 50.0, "CRVAL2": 10.0},
        {"code": "TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5, "B_1_1": -2e-5},
        {"code": "TAN", "CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None,
         "CDELT1": -1e-3, "CDELT2": 1e-3, "CROTA2": 33.0},
    ],
    ids=lambda cards: "-".join(map(str, [cards["code"], *sorted(cards)[:2]])),
)  # fmt: skip
def test_axes_of_every_system_of_the_sky(
    names: tuple[str, str], frame: Any, projection: dict[str, Any]
) -> None:
    cards = {name: value for name, value in projection.items() if name != "code"}
    plain = header(CTYPE1="RA---" + projection["code"], CTYPE2="DEC--" + projection["code"], **cards)
    ctypes = {f"CTYPE{i}": name + projection["code"] for i, name in enumerate(names, 1)}
    assert_at(header(**cards | ctypes), icrs(world(plain), frame))


@pytest.mark.parametrize(
    ("ctypes", "frame"),
    [
        (("GLON---TAN", "GLAT---TAN"), Galactic()),
        (("GLON--TAN", "GLAT--TAN"), Galactic()),
        (("ELON---TAN", "ELAT---TAN"), BarycentricMeanEcliptic()),
        (("RA----TAN", "DEC---TAN"), ICRS()),
        (("RA--TAN", "DEC-TAN"), ICRS()),
        (("ra---tan", "dec--tan"), ICRS()),
        (("glon-tan", "glat-tan"), Galactic()),
        ((" RA---TAN", " DEC--TAN"), ICRS()),
        (("RA - - - TAN", "DEC - - TAN"), ICRS()),
    ],
)
def test_axes_in_any_spelling(ctypes: tuple[str, str], frame: Any) -> None:
    assert_at(header(CTYPE1=ctypes[0], CTYPE2=ctypes[1]), icrs(world(header()), frame))


def test_axes_of_which_latitude_comes_first() -> None:
    swapped = header(
        CTYPE1="ELAT-TAN", CTYPE2="ELON-TAN", CRVAL1=2.0, CRVAL2=150.0,
        CD1_1=2e-5, CD1_2=1e-4, CD2_1=-1e-4, CD2_2=2e-5,
    )  # fmt: skip
    assert_at(swapped, icrs(world(header()), BarycentricMeanEcliptic()))


@pytest.mark.parametrize("equinox", [1950.0, 1975.0, 2015.5])
def test_ecliptic_axes_of_an_equinox(equinox: float) -> None:
    time = Time(equinox, format="byear" if equinox < 1984 else "jyear")
    odd = header(CTYPE1="ELON-TAN", CTYPE2="ELAT-TAN", EQUINOX=equinox)
    assert_at(odd, icrs(world(header()), BarycentricMeanEcliptic(equinox=time)))


@pytest.mark.parametrize("radesys", [None, "FK5", "ICRS", "FK4", "J2000"])
@pytest.mark.parametrize("equinox", [None, 1950.0, 2000.0])
@pytest.mark.parametrize("axes", ["G", "S"])
def test_galactic_axes_stay_so_whatever_the_equatorial_frame(
    radesys: str | None, equinox: float | None, axes: str
) -> None:
    ctypes = {"CTYPE1": f"{axes}LON-TAN", "CTYPE2": f"{axes}LAT-TAN"}
    frame = Galactic() if axes == "G" else Supergalactic()
    assert_at(header(RADESYS=radesys, EQUINOX=equinox, **ctypes), icrs(world(header()), frame))


@pytest.mark.parametrize(
    ("ctypes", "reason"),
    [
        (("TLON-TAN", "TLAT-TAN"), "places on the Earth"),
        (("HPLN-TAN", "HPLT-TAN"), "of axes HPLN and HPLT no place on the sky is known"),
        (("MALN-TAN", "MALT-TAN"), "of axes MALN and MALT no place on the sky is known"),
        (("LINEAR", "LINEAR"), "the axes LINEAR and LINEAR are not of the sky"),
        (("RA---TAN", "VELO"), "the axes RA---TAN and VELO are not of the sky"),
        (("RA---TAN", "DEC--SIN"), "have two projections"),
        (("RA---XYZ", "DEC--XYZ"), "Unrecognized projection code"),
        ((None, None), "there is no WCS in the header"),
    ],
)
def test_axes_without_a_place_on_the_sky_are_the_reason(ctypes: tuple[str, str], reason: str) -> None:
    found = sky.read_wcs(header(CTYPE1=ctypes[0], CTYPE2=ctypes[1]))
    assert found.text is None
    assert reason in (found.reason or "")


# Frames

J1975, B1950 = Time(1975.0, format="jyear"), Time(1950.0, format="byear")


@pytest.mark.parametrize("keyword", ["RADESYS", "RADECSYS"])
@pytest.mark.parametrize(
    ("spelled", "equinox", "frame", "note"),
    [
        ("ICRS", 2000.0, ICRS(), None),
        ("icrs", None, ICRS(), None),
        ("ICRF", 2000.0, ICRS(), None),
        ("ICRF3", 2000.0, ICRS(), None),
        ("FK5", 2000.0, FK5(), None),
        ("fk5", 2000.0, FK5(), None),
        (" FK5 ", None, FK5(), None),
        ("FK-5", 2000.0, FK5(), None),
        ("FK5", 1975.0, FK5(equinox=J1975), None),
        ("FK5", "J1975.0", FK5(equinox=J1975), None),
        ("FK5", "1975", FK5(equinox=J1975), None),
        ("FK5", 0.0, FK5(), None),
        ("FK5", "unknown", FK5(), None),
        ("J2000", 2000.0, FK5(), None),
        ("J2000.0", None, FK5(), None),
        ("FK5 J2000", 2000.0, FK5(), None),
        ("FK4", 1950.0, FK4(equinox=B1950), None),
        ("B1950", None, FK4(equinox=B1950), None),
        ("FK4 (B1950)", "B1950.0", FK4(equinox=B1950), None),
        ("OTHER", 2000.0, ICRS(), "the frame OTHER is not known, taken as ICRS"),
        ("GAPPT", None, ICRS(), "the frame GAPPT is not known, taken as ICRS"),
        ("UNKNOWN", 1950.0, FK4(equinox=B1950), "taken as FK4 by EQUINOX"),
        ("", None, ICRS(), None),
    ],
)
def test_frames_in_any_spelling(
    keyword: str, spelled: str, equinox: Any, frame: Any, note: str | None
) -> None:
    odd = header(**{keyword: spelled, "EQUINOX": equinox})
    assert_at(odd, icrs(world(header()), frame), note)


def test_of_two_frames_the_later_counts_and_the_other_is_told() -> None:
    both = header(RADESYS="FK4", RADECSYS="ICRS", EQUINOX=1950.0)
    assert_at(both, icrs(world(header())), "RADESYS FK4 and RADECSYS ICRS contradict, taken as ICRS")


# SIP

SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 8e-6, "A_1_1": -5e-6, "B_2_0": -3e-6, "B_0_2": -7e-6}


@pytest.mark.parametrize(
    "marks",
    [
        {"NDRIZIM": 8}, {"D001DATA": "a.fits"}, {"RESAMPT1": "LANCZOS3"}, {"SOFTNAME": "SWarp 2.38"},
        {"S_RESAMP": "COMPLETE"}, {"DRIZCORR": "COMPLETE"}, {"PROCTYPE": "Stacked"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_primary", [False, True])
def test_sip_that_was_left_over_in_a_rectified_mosaic_is_left_out(
    marks: dict[str, Any], in_primary: bool
) -> None:
    odd = header(**SIP, **({} if in_primary else marks))
    primary = fits.Header(list(marks.items())) if in_primary else None
    note = f"SIP cards left out, as CTYPE does not say SIP and the mosaic is rectified ({next(iter(marks))})"
    text = assert_at(odd, icrs(world(header())), note, primary=primary)
    assert "A_2_0" not in text


def test_sip_that_ctype_does_not_say_is_followed_elsewhere() -> None:
    right = icrs(world(header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", **SIP)))
    assert right.separation(icrs(world(header()))).arcsec.max() > 0.05
    assert_at(header(**SIP), right, "SIP cards followed, though CTYPE does not say SIP")
    said = header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", NDRIZIM=2, **SIP)
    assert_at(said, right)  # what CTYPE says is no leftover
    lower = header(CTYPE1="ra---tan-sip", CTYPE2="dec--tan-sip", **SIP)
    assert_at(lower, right)


def test_sip_that_is_said_and_not_there_is_linear() -> None:
    odd = header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    assert_at(odd, icrs(world(header())), "CTYPE says SIP, but there are no SIP cards: linear")


# IRAF

BASES = {1: chebyshev.chebvander, 2: legendre.legvander, 3: polynomial.polyvander}
RANGE = (-0.03, 0.031, -0.02, 0.025)


def wat_cards(odd: fits.Header, axis: int, text: str) -> None:
    for number, start in enumerate(range(0, len(text), 68), 1):
        odd[f"WAT{axis}_{number:03d}"] = text[start : start + 68]


def iraf_header(code: str, kind: int, orders: tuple[int, int, int], c: Any, more: str = "") -> fits.Header:
    odd = header(CTYPE1=f"RA---{code}", CTYPE2=f"DEC--{code}", WAT0_001="system=image")
    for axis, name, sky_axis in ((1, "lngcor", "ra"), (2, "latcor", "dec")):
        numbers = " ".join(f"{value!r}" for value in [float(kind), *map(float, orders), *RANGE])
        terms = " ".join(f"{value:.16E}" for value in c[axis - 1])
        wat_cards(odd, axis, f'wtype={code.lower()} axtype={sky_axis} {more}{name} = "{numbers} {terms} "')
    return odd


def surface(kind: int, orders: tuple[int, int, int], c: Any, xi: Any, eta: Any) -> NDArray[np.float64]:
    """IRAF's gsurfit (wfgsurfit.x): rows of y, of which each has fewer terms of x, by `orders[2]`."""
    x_order, y_order, terms = orders
    if kind != 3:
        xi = (2 * xi - (RANGE[1] + RANGE[0])) / (RANGE[1] - RANGE[0])
        eta = (2 * eta - (RANGE[3] + RANGE[2])) / (RANGE[3] - RANGE[2])
    basis_x, basis_y = BASES[kind](xi, x_order), BASES[kind](eta, y_order)
    total, used, width = np.zeros(len(xi)), 0, x_order
    for i in range(1, y_order + 1):
        for k in range(width):
            total += c[used] * basis_x[:, k] * basis_y[:, i - 1]
            used += 1
        if terms == 0:
            width = 1
        elif terms == 2 and i + x_order + 1 > max(x_order + 1, y_order + 1):
            width -= 1
    assert used == len(c)
    return total


def moved(kind: int, orders: tuple[int, int, int], c: Any) -> NDArray[np.float64]:
    """Intermediate world coordinates after the correction, deg, shape (2, n)."""
    cd = np.array([[PLAIN["CD1_1"], PLAIN["CD1_2"]], [PLAIN["CD2_1"], PLAIN["CD2_2"]]])
    xi, eta = cd @ np.array([X + 1 - PLAIN["CRPIX1"], Y + 1 - PLAIN["CRPIX2"]])
    return np.array([xi + surface(kind, orders, c[0], xi, eta), eta + surface(kind, orders, c[1], xi, eta)])


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize(
    ("orders", "terms"),
    [((3, 3, 2), 6), ((3, 3, 1), 9), ((3, 3, 0), 5), ((4, 3, 2), 9), ((2, 4, 2), 7), ((4, 4, 1), 16)],
)
@pytest.mark.parametrize("code", ["TNX", "ZPX"])
def test_polynomials_of_iraf(kind: int, orders: tuple[int, int, int], terms: int, code: str) -> None:
    c = np.random.default_rng(terms + kind).normal(size=(2, terms)) * (2e-4 if kind < 3 else 1e-2)
    units = {"CD1_1": 1.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.0, "CRPIX1": 0.0, "CRPIX2": 0.0}
    radial = {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 40.0}
    plain = header(**units, **(radial if code == "ZPX" else {}))
    right = icrs(world(plain, *(moved(kind, orders, c) - 1)))
    assert right.separation(icrs(world(header()))).arcsec.max() > 0.2
    odd = iraf_header(code, kind, orders, c, "projp1=1.0 projp3=40.0 " if code == "ZPX" else "")
    text = assert_at(odd, right)
    # and back again
    x, y = sky.wcs_of(text).all_world2pix(right.ra.deg, right.dec.deg, 0)
    np.testing.assert_allclose([x, y], [X, Y], atol=1e-3)


def test_blanks_at_the_end_of_an_iraf_card_part_its_numbers() -> None:
    """IRAF counts 68 characters a card; a program that writes the card anew leaves the blanks out."""
    odd = header(CTYPE1="RA---TNX", CTYPE2="DEC--TNX")
    for axis, name in ((1, "lngcor"), (2, "latcor")):
        odd[f"WAT{axis}_001"] = f'wtype=tnx {name} = "3. 2. 2. 2. -0.03 0.031 -0.02 0.025 0.001'
        odd[f"WAT{axis}_002"] = '0.02 0. "'
        assert len(odd[f"WAT{axis}_001"]) < 68
    units = {"CD1_1": 1.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.0, "CRPIX1": 0.0, "CRPIX2": 0.0}
    shifted = moved(3, (2, 2, 2), [[0.001, 0.02, 0.0], [0.001, 0.02, 0.0]])
    assert_at(odd, icrs(world(header(**units), *(shifted - 1))))


@pytest.mark.parametrize("code", ["TNX", "ZPX"])
def test_a_constant_of_iraf_alone_is_left_out_and_told(code: str) -> None:
    odd = iraf_header(code, 3, (2, 2, 2), [[0.001, 0, 0], [0, 0, 0]], "projp1=1.0 ")
    projection = {"TNX": "TAN", "ZPX": "ZPN"}[code]
    plain = header(CTYPE1=f"RA---{projection}", CTYPE2=f"DEC--{projection}", PV2_1=1.0)
    plain = plain if code == "ZPX" else header()
    assert_at(odd, icrs(world(plain)), f"the correction of {code} is a constant, left out")


def test_tnx_without_polynomials_is_tan() -> None:
    bare = header(CTYPE1="RA---TNX", CTYPE2="DEC--TNX")
    assert_at(bare, icrs(world(header())), "TNX without WAT cards, read as TAN")
    # Cards of IRAF beside other projections say nothing, and must not hinder wcslib.
    beside = header(WAT0_001="system=physical", WAT1_001="wtype=tan axtype=ra")
    assert_at(beside, icrs(world(header())))


@pytest.mark.parametrize(
    ("lngcor", "reason"),
    [
        ("3. 3. 3. 2. -1. 1. -1. 1. 0. 0.", "are damaged"),
        ("3. 2. 2. 2. -1. 1. -1. 1. 0. nonsense 0.", "are damaged"),
        ("3. 2. 2. 2. -1. 1. -1. 1. 0. nan 0.", "are damaged"),
        ("7. 2. 2. 2. -1. 1. -1. 1. 0. 0. 1.", "are damaged"),
        ("3. 2. 2. 2. 1. 1. -1. 1. 0. 0. 1.", "are damaged"),
        ("3. 6. 6. 1. -1. 1. -1. 1. " + "1. " * 36, "of order 10, above 9"),
    ],
)
def test_iraf_cards_that_cannot_be_followed_are_the_reason(lngcor: str, reason: str) -> None:
    odd = header(CTYPE1="RA---TNX", CTYPE2="DEC--TNX")
    wat_cards(odd, 1, f'wtype=tnx axtype=ra lngcor = "{lngcor}"')
    found = sky.read_wcs(odd)
    assert found.text is None
    assert reason in (found.reason or "")


# More axes, other WCS

CUBE = PLAIN | {"NAXIS": 4, "NAXIS3": 1, "NAXIS4": 1, "CTYPE3": "FREQ", "CTYPE4": "STOKES",
                "CRVAL3": 1.4e9, "CRPIX3": 1.0, "CDELT3": 1e6, "CUNIT3": "HZ"}  # fmt: skip
BY_CDELT = {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None, "CDELT1": -1e-4, "CDELT2": 2e-4}


@pytest.mark.parametrize("unit", ["deg", "DEGREE"])
@pytest.mark.parametrize("wcsaxes", [None, 3, 4])
def test_cubes_of_one_plane(unit: str, wcsaxes: int | None) -> None:
    odd = header(CUBE, CUNIT1=unit, CUNIT2=unit, WCSAXES=wcsaxes)
    assert_at(odd, icrs(world(header())))


@pytest.mark.parametrize("reference", [1.0, 7.0])
@pytest.mark.parametrize("coupled", [1e-17, 0.125])
def test_axes_that_are_not_separable(coupled: float, reference: float) -> None:
    """Of the further axis the image is at the first pixel."""
    cards = BY_CDELT | {"WCSAXES": 3, "CTYPE3": "FREQ", "CRVAL3": 1e9, "CDELT3": 1e6, "CRPIX3": reference}
    odd = header(**cards, PC1_3=coupled, PC3_1=coupled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = WCS(odd).all_pix2world(X, Y, np.zeros(len(X)), 0)
    assert_at(odd, icrs(np.array(right[:2])))


def test_sky_axes_that_are_not_the_first_world_axes() -> None:
    odd = header(
        CTYPE1="FREQ", CTYPE2="DEC--TAN", CTYPE3="RA---TAN", CRVAL1=1e9, CRVAL2=2.0, CRVAL3=150.0, CRPIX3=1.0,
        CD1_1=0.0, CD1_2=0.0, CD1_3=1e6, CD2_1=2e-5, CD2_2=1e-4, CD3_1=-1e-4, CD3_2=2e-5,
    )  # fmt: skip
    assert_at(odd, icrs(world(header())))


def test_a_slit_is_no_image_of_the_sky() -> None:
    odd = header(
        CTYPE2="WAVE", CTYPE3="DEC--TAN", CRVAL2=5e-7, CRVAL3=2.0, CRPIX3=1.0,
        CD1_2=0.0, CD2_1=0.0, CD2_2=1e-10, CD3_3=1e-4,
    )  # fmt: skip
    found = sky.read_wcs(odd)
    assert found.reason == "the axes of the sky are not those of the image"


ALTERNATE = {f"{name}{{0}}": value for name, value in PLAIN.items() if name[:2] in ("CT", "CR", "CD")}


def alternate(letter: str, **cards: Any) -> dict[str, Any]:
    return {name.format(letter): value for name, value in ALTERNATE.items()} | cards


@pytest.mark.parametrize("letter", ["A", "P", "Z"])
@pytest.mark.parametrize(
    "first", [{}, {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, {"CTYPE1": "TLON-CAR", "CTYPE2": "TLAT-CAR"}]
)
def test_an_alternate_wcs_where_the_primary_one_gives_no_position(letter: str, first: dict[str, Any]) -> None:
    bare = {name: value for name, value in PLAIN.items() if name[:2] not in ("CT", "CR", "CD")}
    odd = header(bare | first, **alternate(letter, **{f"RADESYS{letter}": "fk5"}))
    assert_at(odd, icrs(world(header()), FK5()), f"alternate WCS {letter}")


def test_the_primary_wcs_counts_before_an_alternate_one() -> None:
    assert_at(header(**alternate("A", CRVAL1A=10.0)), icrs(world(header())))


@pytest.mark.parametrize("inherit", [True, False, None])
def test_an_extension_inherits_where_it_says_so(tmp_path: Path, inherit: bool | None) -> None:
    primary = fits.PrimaryHDU()
    primary.header.update(
        {n: v for n, v in PLAIN.items() if n[:2] in ("CT", "CR", "CD")} | {"RADESYS": "J2000"}
    )
    image = fits.ImageHDU(np.zeros((300, 400), np.float32))
    image.header["CRVAL2"] = -20.0  # its own counts
    if inherit is not None:
        image.header["INHERIT"] = inherit
    fits.HDUList([primary, image]).writeto(tmp_path / "a.fits")
    for found in (describe_fits(str(tmp_path / "a.fits")), *describe_fits_planes(str(tmp_path / "a.fits"))):
        if not inherit:
            assert (found.wcs, found.no_sky_reason) == (None, "there is no WCS in the header")
            continue
        assert found.wcs is not None
        ra, dec = sky.pixel_to_sky(sky.wcs_of(found.wcs), X, Y)
        right = icrs(world(header(CRVAL2=-20.0)), FK5())
        assert SkyCoord(ra * u.deg, dec * u.deg).separation(right).arcsec.max() < 1e-5


def test_an_inherited_scale_is_not_mixed_with_one_of_the_image() -> None:
    own = {n: v for n, v in (PLAIN | BY_CDELT).items() if v is not None}
    assert_at(
        fits.Header([*own.items(), ("INHERIT", True)]), icrs(world(header(own))), primary=header(CD1_1=1.0)
    )


def test_keywords_in_lower_case(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.zeros((300, 400), np.float32), header(RADESYS="FK5")).writeto(path)
    content = path.read_bytes()
    for name in ("CTYPE1", "CTYPE2", "CRVAL1", "CRPIX2", "CD1_1", "RADESYS"):
        content = content.replace(name.encode().ljust(8), name.lower().encode().ljust(8), 1)
    path.write_bytes(content)
    found = describe_fits(str(path))
    assert found.wcs is not None, found.no_sky_reason
    ra, dec = sky.pixel_to_sky(sky.wcs_of(found.wcs), X, Y)
    assert SkyCoord(ra * u.deg, dec * u.deg).separation(icrs(world(header()), FK5())).arcsec.max() < 1e-5


# Numbers


@pytest.mark.parametrize("spelled", ["150.0", " 150.0 ", "1.5D2"])
def test_numbers_that_are_text(spelled: str) -> None:
    assert_at(header(CRVAL1=spelled, CD1_1="-1e-4", LONPOLE="none"), icrs(world(header())))


@pytest.mark.parametrize("name", ["CRVAL1", "CRPIX2", "CD1_1"])
def test_a_number_that_is_none_is_the_reason(name: str) -> None:
    assert sky.read_wcs(header(**{name: "10:00:00"})).reason == f"{name} is no number"


def test_a_wcs_without_scale_is_told() -> None:
    bare = header(CD1_1=None, CD1_2=None, CD2_1=None, CD2_2=None)
    found = sky.read_wcs(bare)
    assert found.note == "no scale in the header, 1 deg/px as FITS has it"
