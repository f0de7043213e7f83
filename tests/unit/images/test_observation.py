"""Filters and times, from the cards in which archives keep them."""

from __future__ import annotations

import pytest
from astropy.io import fits
from astropy.time import Time

from elodin_spark.images.observation import band_names, observation_mjd

MORNING = "2010-01-01T06:00:00"  # MJD 55197.25


def header(cards: dict[str, object]) -> fits.Header:
    made = fits.Header()
    for name, value in cards.items():
        made[f"HIERARCH {name}" if " " in name or len(name) > 8 else name] = value
    return made


@pytest.mark.parametrize(
    ("cards", "mjd"),
    [
        ({"MJD-OBS": 55197.25}, 55197.25),
        ({"MJD-OBS": " 55197.25 "}, 55197.25),
        ({"MJD-OBS": "unknown", "DATE-OBS": MORNING}, 55197.25),
        ({"MJD-OBS": 0.0, "DATE-OBS": MORNING}, 55197.25),
        ({"DATE-OBS": f"{MORNING}.000Z"}, 55197.25),
        ({"DATE-OBS": "2010-01-01", "TIME-OBS": "06:00:00"}, 55197.25),
        ({"DATE-OBS": "2010-01-01", "UT": "06:00:00.0"}, 55197.25),
        ({"DATE-BEG": MORNING, "DATE-AVG": "2010-01-01T07:00:00"}, 55197.25),
        ({"DATE-AVG": MORNING}, 55197.25),
        ({"MJD-BEG": 55197.25, "MJD-AVG": 55197.5}, 55197.25),
        ({"MJD-AVG": 55197.25}, 55197.25),
        ({"DATE-OBS": "2010-01-01", "MJD-AVG": 55197.25}, 55197.25),
        ({"OBSMJD": 55197.25}, 55197.25),
        ({"EXPSTART": 55197.25}, 55197.25),
        ({"MJD-STR": 55197.25}, 55197.25),
        ({"DATE-OBS": "31/12/99"}, 51543.0),
        ({"DATE-OBS": "1900-01-01"}, 15020.0),
        ({"MJD": 55197.25}, 55197.25),
        ({"DATE-OBS": "some night"}, None),
        ({"MJD-OBS": True}, None),
        ({}, None),
    ],
)
def test_the_date_is_found_where_headers_keep_it(cards: dict[str, object], mjd: float | None) -> None:
    found = observation_mjd([fits.Header(), header(cards)])
    assert found == (None if mjd is None else pytest.approx(mjd, abs=1e-9))


@pytest.mark.parametrize("cards", [{"DATE-OBS": MORNING}, {"MJD-OBS": 55197.25}, {"MJD-AVG": 55197.25}])
@pytest.mark.parametrize(
    ("system", "scale", "behind_s"),
    [
        ("UTC", "utc", 0),
        ("TAI", "tai", 0),
        ("IAT", "tai", 0),
        ("TT", "tt", 0),
        ("tdt", "tt", 0),
        ("TDB", "tdb", 0),
        ("GPS", "tai", 19),
        ("UT1", "utc", 0),
        ("UTC approximate", "utc", 0),
    ],
)
def test_times_of_another_scale_are_given_in_utc(
    cards: dict[str, object], system: str, scale: str, behind_s: float
) -> None:
    truth = Time(MORNING, format="isot", scale=scale).utc.mjd + behind_s / 86400
    found = observation_mjd([header(cards), header({"TIMESYS": system})])
    assert found == pytest.approx(truth, abs=1e-9)  # 0.1 ms
    assert abs(found - 55197.25) * 86400 == pytest.approx(
        {"utc": 0, "tai": 34 - behind_s, "tt": 66.184, "tdb": 66.184}[scale], abs=0.01
    )


def test_a_date_in_z_is_utc_whatever_timesys_says() -> None:
    assert observation_mjd([header({"DATE-OBS": f"{MORNING}Z", "TIMESYS": "TAI"})]) == 55197.25


def test_sdss_has_its_time_of_day_in_taihms() -> None:
    cards = header({"DATE-OBS": "2003-04-29", "TAIHMS": "04:48:39.69", "TIMESYS": "TAI"})
    # TAI of the same header, s, and the 32 leap seconds of 2003.
    assert observation_mjd([cards]) == pytest.approx((4558308519.69 - 32) / 86400, abs=1e-8)


@pytest.mark.parametrize(
    ("cards", "bands"),
    [
        ({"FILTER": " r "}, "r"),
        ({"FILTER": "L"}, "L"),
        ({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}, "F814W"),
        ({"FILTER1": "open1-6", "FILTER2": "r_G0303"}, "r_G0303"),
        ({"FILTNAM1": "F336W", "FILTNAM2": "F673N"}, "F336W,F673N"),
        ({"FILTNAM1": "F673N", "FILTER1": 33, "FILTER2": 0}, "F673N"),
        ({"FILTER1": 33, "FILTER2": 0}, None),
        ({"FILTER01": "HSC-r"}, "HSC-r"),
        ({"FILT1": "Ks", "FILT2": "OPEN"}, "Ks"),
        ({"FILTER": "", "BAND": "K"}, "K"),
        ({"BAND": 1}, "1"),
        ({"BANDS": "J"}, "J"),
        ({"FILTER": "CLEAR"}, None),
        ({"FILTER": "CLEAR", "PUPIL": "F150W"}, "F150W"),  # NIRISS
        ({"FILTER": "F444W", "PUPIL": "F405N"}, "F405N"),  # NIRCam: the wide filter only blocks
        ({"FILTER": "F150W2", "PUPIL": "F162M"}, "F162M"),
        ({"FILTER": "F444W", "PUPIL": "CLEAR"}, "F444W"),
        ({"FILTER": "F277W", "PUPIL": "CLEARP"}, "F277W"),
        ({"FILTER": "F322W2", "PUPIL": "GRISMR"}, "F322W2"),
        ({"FILTER": "F480M", "PUPIL": "NRM"}, "F480M"),
        ({"FILTER": "zd DECam k1038", "PUPIL": "MZLS_20160318-z-3_pgt"}, "zd DECam k1038"),
        ({"ESO INS FILT1 NAME": "FREE", "ESO INS FILT2 NAME": "Ks"}, "Ks"),
        ({"ESO INS FILT1 NAME": "r_SDSS"}, "r_SDSS"),
        ({"ESO INS OPTI5 NAME": "empty", "ESO INS OPTI6 NAME": "H"}, "H"),
        ({"FPA.FILTERID": "z.00000"}, "z.00000"),
        ({"FILT_ID": "OCAM_r_SDSS"}, "OCAM_r_SDSS"),
        ({}, None),
    ],
)
def test_filter_names_are_found_where_headers_keep_them(cards: dict[str, object], bands: str | None) -> None:
    assert band_names([header(cards)]) == bands


def test_the_image_header_decides_before_the_primary_one() -> None:
    image, primary = fits.Header([("FILTER", "g")]), fits.Header([("FILTER", "i"), ("MJD-OBS", 5.0)])
    assert band_names([image, primary]) == "g"
    assert observation_mjd([image, primary]) == 5.0
