"""Files that belong to an image in another file: masks, weights, uncertainties, exposures.

Archives tell them apart by a word of the name: ``x_sci.fits`` has ``x_wht.fits``,
``unwise-1866p257-w1-img-m.fits`` has ``unwise-1866p257-w1-invvar-m.fits.gz``. A file is taken for part of an
image only where the image is beside it, or where its archive is known by the name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Set
from functools import lru_cache
from pathlib import Path
from typing import Literal

Part = Literal["mask", "variance", "sigma", "inverse", "other"]

#: Words that name what a file holds beside an image.
WORDS: dict[Part, tuple[str, ...]] = {
    "mask": ("mask", "msk", "dqmask", "dq", "flag", "flags", "flg", "bpm", "maskbits"),
    "inverse": ("invvar", "ivar", "weight", "weights", "wht", "wgt", "wei", "wt"),
    "sigma": ("rms", "err", "error", "unc", "uncert", "sigma"),
    "variance": ("var", "variance"),
    "other": (
        *("exp", "expmap", "exptime", "expwt", "nexp", "num", "cov", "ctx", "seg", "segm", "segmap"),
        *("depth", "psfsize", "chi2"),
    ),
}
#: Words that name the image itself.
SKY_WORDS = frozenset(("sci", "img", "image", "int", "data", "drz", "drc"))
#: Words of one archive, and what its other files have there instead.
_PAIRS: dict[str, tuple[tuple[Part, str], ...]] = {
    "sciimg": (("mask", "mskimg"),),  # ZTF
    "refimg": (("sigma", "refunc"), ("other", "refcov")),
    "maic": (("sigma", "munc"), ("other", "mcov")),  # Spitzer
    "bcd": (("sigma", "bunc"), ("mask", "bimsk")),
    "cbcd": (("sigma", "cbunc"), ("mask", "bimsk")),
    "c0m": (("mask", "c1m"),),  # WFPC2
    "c0f": (("mask", "c1f"),),
}
_LEGACY_OTHERS = (
    *("nexp", "depth", "galdepth", "psfdepth", "psfsize", "chi2", "model", "resid", "blobmodel"),
    *("blobs", "outlier-mask", "ccds"),
)


def _others(before: str, words: Iterable[str], after: str) -> list[tuple[Part, str]]:
    return [("other", before + word + after) for word in words]


#: Stems of images of known archives, and what lies beside them.
_ARCHIVES: tuple[tuple[re.Pattern[str], tuple[tuple[Part, str], ...]], ...] = (
    (
        re.compile(r"(?P<tile>unwise-[^-]+)-(?P<band>w\d)-img-(?P<kind>[mu])"),
        (
            ("mask", "{tile}-msk"),
            ("mask", "{tile}-{band}-msk"),
            ("inverse", "{tile}-{band}-invvar-{kind}"),
            ("other", "{tile}-{band}-std-{kind}"),
            ("other", "{tile}-{band}-n-{kind}"),
        ),
    ),
    (
        re.compile(r"(?P<brick>legacysurvey-[^-]+)-image-(?P<band>\w+)"),
        (
            ("mask", "{brick}-maskbits"),
            ("inverse", "{brick}-invvar-{band}"),
            *_others("{brick}-", _LEGACY_OTHERS, "-{band}"),
        ),
    ),
    (  # Pan-STARRS, whose weights are variances
        re.compile(r"(?P<image>.*\.skycell\..*)"),
        (
            ("mask", "{image}.mask"),
            ("variance", "{image}.wt"),
            *_others("{image}.", ("exp", "expwt", "num"), ""),
        ),
    ),
    (  # NOIRLab: DECam, Mosaic-3, 90Prime; single, resampled and stacked
        re.compile(r"(?P<head>\w+_\d{6}_\d{6}_o[a-z])i(?P<tail>_.*)"),
        (
            ("mask", "{head}d{tail}"),
            ("inverse", "{head}w{tail}"),
            ("other", "{head}e{tail}"),
        ),
    ),
)
#: Names that are no image whatever lies beside them.
_NO_IMAGE = re.compile(
    r"unwise-[^-]+-(?:w\d-)?(?:invvar-[mu]|std-[mu]|n-[mu]|msk)"
    rf"|legacysurvey-[^-]+-(?:invvar-\w+|maskbits|(?:{'|'.join(_LEGACY_OTHERS)})(?:-\w+)?)"
    r"|\w+_\d{6}_\d{6}_o[a-z][dwe]_.*"
)
_EXTENSION = re.compile(r"\.(?:fits?|fts|ftz|img)(?:\.(?:fz|gz|bz2|xz|z))?$", re.IGNORECASE)
_ALL_WORDS = frozenset(word for words in WORDS.values() for word in words) | {
    word for pair in _PAIRS.values() for _, word in pair
}


def parts_of(stem: str, among: Set[str] = _ALL_WORDS) -> Iterator[tuple[Part, str]]:
    """Stems that parts of an image would have, by its own stem; the likeliest first.

    Parameters
    ----------
    stem : str
        Name of the image without its extensions.
    among : set of str
        Words that need be thought of, in lower case.
    """
    chosen = [(part, word) for part, words in WORDS.items() for word in words if word in among]
    for pattern, parts in _ARCHIVES:
        if match := pattern.fullmatch(stem):
            yield from ((part, template.format(**match.groupdict())) for part, template in parts)
            return
    pieces = re.split(r"([._-])", stem)
    for place in range(0, len(pieces), 2):
        token = pieces[place]
        words = [*_PAIRS.get(token.lower(), ()), *(chosen if token.lower() in SKY_WORDS else ())]
        for part, word in words:
            there = word.upper() if token.isupper() else word
            yield part, "".join([*pieces[:place], there, *pieces[place + 1 :]])
    for part, word in chosen:
        for separator in "." if part == "other" else "._-":
            yield part, f"{stem}{separator}{word}"


def without_parts(paths: Iterable[str]) -> list[bool]:
    """Which of many files are images of their own.

    Parameters
    ----------
    paths : iterable of str
        With ``/``; files of one folder belong together.

    Returns
    -------
    list of bool
        False where a file is a part of another of `paths`.
    """
    places = [(path.rpartition("/")[0], _stem(path.rpartition("/")[2])) for path in paths]
    there = {(folder, stem) for folder, stem in places if stem is not None and _may_be(stem)}
    words = frozenset(word for _, stem in there for word in _words(stem))
    owned = {
        (folder, part)
        for folder, stem in (places if there else ())
        if stem is not None
        for _, part in parts_of(stem, words)
        if (folder, part) in there
    }
    return [(folder, stem) not in owned for folder, stem in places]


def is_part(path: str) -> bool:
    """Whether the name is one that a known archive gives to what is no image."""
    stem = _stem(path.rpartition("/")[2])
    return stem is not None and _NO_IMAGE.fullmatch(stem) is not None


def find_parts(path: str) -> dict[Part, str]:
    """Files that belong to the image of a local file, by what they hold; the likeliest of each kind."""
    folder, name = str(Path(path).parent), Path(path).name
    stem = _stem(name)
    if stem is None:
        return {}
    try:
        beside = _parts_in(folder, Path(folder).stat().st_mtime_ns)
    except OSError:
        return {}
    found: dict[Part, str] = {}
    for part, wanted in parts_of(stem):
        if wanted in beside and wanted != stem:
            found.setdefault(part, str(Path(folder, beside[wanted])))
    return found


@lru_cache(maxsize=8)
def _parts_in(folder: str, changed: int) -> dict[str, str]:
    """Names by stem of the files of a folder that may be parts of others."""
    with os.scandir(folder) as scan:
        names = sorted(entry.name for entry in scan)
    stems = ((_stem(name), name) for name in reversed(names))
    return {stem: name for stem, name in stems if stem and _may_be(stem)}


def _stem(name: str) -> str | None:
    """A file name without its extensions, None of other files than FITS."""
    extension = _EXTENSION.search(name)
    return name[: extension.start()] if extension else None


def _words(stem: str) -> list[str]:
    return re.split(r"[._-]", stem.lower())


def _may_be(stem: str) -> bool:
    return not _ALL_WORDS.isdisjoint(_words(stem)) or _NO_IMAGE.fullmatch(stem) is not None
