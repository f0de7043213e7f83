"""Names of the bits of mask planes whose headers do not name them, and which of all bits spoil a pixel.

Each table says where its definitions are published. A name is a word for the flag; the number is that of
the bit, the lowest being 0.
"""

from __future__ import annotations

from typing import NamedTuple


class BitTable(NamedTuple):
    """Flags of one kind of mask.

    Attributes
    ----------
    bits : dict of str to int
        Bit numbers from 0. Of a mask of codes, where a pixel has one number and no bits, code ``n`` is bit
        ``n - 1``.
    bad : tuple of str
        Bits that spoil a pixel, where ``cutouts.quality.bad_bits`` is empty.
    source : str
        Where the flags are defined.
    codes : bool
        A pixel holds the number of one flag.
    """

    bits: dict[str, int]
    bad: tuple[str, ...]
    source: str
    codes: bool = False


_ACS = BitTable(
    {
        "LOST": 0, "FILLED": 1, "BADPIX": 2, "MASKED": 3, "HOT": 4, "UNSTABLE": 5, "WARM": 6,
        "BIAS": 7, "SATURATED": 8, "BADREF": 9, "TRAP": 10, "ATODSAT": 11, "CRDRIZ": 12,
        "CRREJ": 13, "USER": 14,
    },
    (
        *("LOST", "FILLED", "BADPIX", "MASKED", "HOT", "BIAS", "SATURATED", "BADREF", "TRAP", "ATODSAT"),
        *("CRDRIZ", "CRREJ"),
    ),
    "ACS Data Handbook; stsci.edu/hst/instrumentation/acs/data-analysis/dq-flag-definitions",
)  # fmt: skip
_WFC3_UVIS = BitTable(
    {
        "LOST": 0, "FILLED": 1, "BADPIX": 2, "ZEROREAD": 3, "HOT": 4, "UNSTABLE": 5, "WARM": 6,
        "BADREF": 7, "SATURATED": 8, "BADFLAT": 9, "TRAP": 10, "ATODSAT": 11, "CRDRIZ": 12,
        "CRREJ": 13, "GHOST": 14,
    },
    (
        *("LOST", "FILLED", "BADPIX", "HOT", "SATURATED", "BADFLAT", "TRAP", "ATODSAT", "CRDRIZ", "CRREJ"),
    ),
    "WFC3 Data Handbook, table of UVIS data quality flags",
)  # fmt: skip
_WFC3_IR = BitTable(
    {
        "LOST": 0, "FILLED": 1, "BADPIX": 2, "ZEROREAD": 3, "HOT": 4, "UNSTABLE": 5, "WARM": 6,
        "BADREF": 7, "SATURATED": 8, "BADFLAT": 9, "ZEROSIG": 11, "CRDRIZ": 12, "CRREJ": 13,
        "GHOST": 14,
    },
    # CRREJ of the IR channel is a hit in single reads, which the ramp has been corrected for.
    ("LOST", "FILLED", "BADPIX", "ZEROREAD", "HOT", "SATURATED", "BADFLAT", "CRDRIZ"),
    "WFC3 Data Handbook, table of IR data quality flags",
)  # fmt: skip
_WFPC2 = BitTable(
    {
        "LOST": 0, "BADREF": 1, "BADPIX": 2, "ATODSAT": 3, "MISSING": 4, "OTHER": 5,
        "TRAP": 7, "QUESTIONABLE": 8, "WARM": 9, "WARM_REPAIRED": 10, "CHIP": 11,
    },
    ("LOST", "BADREF", "BADPIX", "ATODSAT", "MISSING", "OTHER", "TRAP"),
    "WFPC2 Data Handbook, table of data quality flag values",
)  # fmt: skip
_STIS = BitTable(
    {
        "LOST": 0, "FILLED": 1, "BADPIX": 2, "MASKED": 3, "HOT": 4, "BLEMISH": 5, "VIGNETTED": 6,
        "OVERSCAN": 7, "SATURATED": 8, "BADREF": 9, "SMALL_BLEMISH": 10, "BACKGROUND": 11,
        "BADINPUT": 12, "CRREJ": 13, "NEGATIVE": 14,
    },
    (
        *("LOST", "FILLED", "BADPIX", "MASKED", "HOT", "BLEMISH", "OVERSCAN", "SATURATED", "BADREF"),
        "CRREJ",
    ),
    "STIS Data Handbook, table of data quality flags",
)  # fmt: skip
_NICMOS = BitTable(
    {
        "LOST": 0, "NONLINEAR": 1, "BADDARK": 2, "BADFLAT": 3, "GROT": 4, "BADPIX": 5, "SATURATED": 6,
        "MISSING": 7, "BADCAL": 8, "CR": 9, "SOURCE": 10, "ZEROSIG": 11,
    },
    ("LOST", "GROT", "BADPIX", "SATURATED", "MISSING", "BADCAL"),
    "NICMOS Data Handbook, table of data quality flags",
)  # fmt: skip

#: Of HST, by INSTRUME or INSTRUME/DETECTOR.
HST: dict[str, BitTable] = {
    "ACS": _ACS,
    "WFC3": _WFC3_UVIS,
    "WFC3/IR": _WFC3_IR,
    "WFPC2": _WFPC2,
    "STIS": _STIS,
    "NICMOS": _NICMOS,
}

_SHARED_BY_JWST_AND_ROMAN = {
    "DO_NOT_USE": 0, "SATURATED": 1, "JUMP_DET": 2, "DROPOUT": 3, "PERSISTENCE": 5, "AD_FLOOR": 6,
    "UNRELIABLE_ERROR": 8, "NON_SCIENCE": 9, "DEAD": 10, "HOT": 11, "WARM": 12, "LOW_QE": 13,
    "TELEGRAPH": 15, "NONLINEAR": 16, "BAD_REF_PIXEL": 17, "NO_FLAT_FIELD": 18, "NO_GAIN_VALUE": 19,
    "NO_LIN_CORR": 20, "NO_SAT_CHECK": 21, "UNRELIABLE_BIAS": 22, "UNRELIABLE_DARK": 23,
    "UNRELIABLE_SLOPE": 24, "UNRELIABLE_FLAT": 25, "OTHER_BAD_PIXEL": 30, "REFERENCE_PIXEL": 31,
}  # fmt: skip

#: A jump in the ramp is corrected for: JUMP_DET spoils no pixel. DO_NOT_USE sums up what pipelines left out.
JWST = BitTable(
    _SHARED_BY_JWST_AND_ROMAN
    | {
        "OUTLIER": 4, "CHARGELOSS": 7, "RC": 14, "OPEN": 26, "ADJ_OPEN": 27, "FLUX_ESTIMATED": 28,
        "MSA_FAILED_OPEN": 29,
    },
    ("DO_NOT_USE", "SATURATED", "DROPOUT", "OUTLIER", "NON_SCIENCE", "DEAD", "REFERENCE_PIXEL"),
    "jwst-pipeline.readthedocs.io/en/latest/jwst/references_general/references_general.html"
    "#data-quality-flags",
)  # fmt: skip
ROMAN = BitTable(
    _SHARED_BY_JWST_AND_ROMAN | {"GW_AFFECTED_DATA": 4, "OUTLIER": 7, "UNRELIABLE_RESET": 28},
    (
        *("DO_NOT_USE", "SATURATED", "DROPOUT", "GW_AFFECTED_DATA", "OUTLIER", "NON_SCIENCE", "DEAD"),
        "REFERENCE_PIXEL",
    ),
    "roman_datamodels.dqflags.pixel",
)
DES = BitTable(
    {
        "BPM": 0, "SATURATE": 1, "INTERP": 2, "BADAMP": 3, "CRAY": 4, "STAR": 5, "TRAIL": 6,
        "EDGEBLEED": 7, "SSXTALK": 8, "EDGE": 9, "STREAK": 10,
    },
    ("BPM", "SATURATE", "BADAMP", "CRAY", "TRAIL", "EDGEBLEED", "SSXTALK", "EDGE", "STREAK"),
    "github.com/DarkEnergySurvey/pixcorrect, include/mask_bits.h",
)  # fmt: skip
#: Data quality files of the NOIRLab Community Pipeline (DECam, Mosaic-3, 90Prime) since its version 3.5.
COMMUNITY_CODES = BitTable(
    {
        "BAD": 0, "NO_VALUE": 1, "SATURATED": 2, "BLEED": 3, "CR": 4, "LOW_WEIGHT": 5, "TRANSIENT": 6,
        "STREAK": 7,
    },
    ("BAD", "NO_VALUE", "SATURATED", "BLEED", "CR", "LOW_WEIGHT", "STREAK"),
    "NOIRLab DECam Data Handbook, data quality codes; github.com/legacysurvey/legacypipe, remap_dq_cp_codes",
    codes=True,
)  # fmt: skip
#: And before.
COMMUNITY_BITS = BitTable(
    {"BAD": 0, "SATURATED": 1, "INTERPOLATED": 2, "CR": 4, "BLEED": 6, "TRANSIENT": 7},
    ("BAD", "SATURATED", "CR", "BLEED"),
    "noao.edu/noao/staff/fvaldes/CPDocPrelim/PL201_3.html",
)

#: Of bits that headers name, those that spoil a pixel: Rubin (both spellings), HSC, Pan-STARRS, Legacy
#: Surveys and ZTF.
BAD_NAMES = (
    *("BAD", "SAT", "CR", "NO_DATA", "SATURATED", "COSMIC_RAY"),
    *("DETECTOR", "FLAT", "DARK", "BLANK", "CTE", "LOW", "STREAK"),
    *("BAILOUT", "SATUR_G", "SATUR_R", "SATUR_I", "SATUR_Z"),
    *("ALLMASK_G", "ALLMASK_R", "ALLMASK_I", "ALLMASK_Z"),
    *("AIRCRAFT_SATELLITE_TRACK", "LOW_RESPONSIVITY", "NOISY", "PIXEL_SPIKE", "DEAD", "NAN"),
)

#: Bits of saturated pixels, under their many names: their light is real, so detection keeps them.
SATURATION_NAMES = frozenset(
    (
        *("SAT", "SATURATED", "SATURATE", "ATODSAT"),
        *("SATUR_G", "SATUR_R", "SATUR_I", "SATUR_Z"),
    )
)
