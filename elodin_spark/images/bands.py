"""Planes of the same sky in several bands to groups.

A group has a path of its own, made from those of its planes, from which the IDs of its
image and cutouts follow as they do from the path of a file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from astropy.io import fits

from elodin_spark import ids
from elodin_spark.config.color import PLACEHOLDER, BandGrouping, HeaderKeywords, NamePattern
from elodin_spark.errors import ImageError, InputError
from elodin_spark.images import sky
from elodin_spark.images.uris import is_fits, local_path

#: A row of ``schema.IMAGES``.
Row = Mapping[str, Any]
#: Values of the named header keywords of an image; those it lacks are left out.
KeywordReader = Callable[[Row, Sequence[str]], Mapping[str, object]]


class BandPlane(NamedTuple):
    """One plane of a group.

    Attributes
    ----------
    uri : str
    hdu : int
    image : mapping
        Its row of ``schema.IMAGES``.
    """

    uri: str
    hdu: int
    image: Row


@dataclass(frozen=True)
class BandGroup:
    """Planes of one sky, one a band.

    Attributes
    ----------
    path : str
        Name of the group, part of its IDs: the path of its planes with ``{band}`` for the
        band, or ``{band}/TRACT=9813/PATCH=4,4`` where headers decide.
    hdu : int
        Of the planes where names decide; 0 where headers do.
    planes : dict of str to BandPlane
        The needed bands in the order they were asked for, then others by name.
    missing : tuple of str
        Needed bands it has no plane of.
    members : tuple of mapping
        Rows of all planes that belong to it, also of unreadable and surplus ones.
    error : ImageError or None
        Why it cannot be used. Kinds ``missing_band``, ``duplicate_band``, ``no_band``,
        ``ambiguous_band``, or that of an unreadable plane.
    """

    path: str
    hdu: int
    planes: dict[str, BandPlane]
    missing: tuple[str, ...]
    members: tuple[Row, ...]
    error: ImageError | None = None

    def row(self, reference: str | None = None) -> dict[str, Any]:
        """The group as a row of ``schema.IMAGES``.

        Parameters
        ----------
        reference : str, optional
            Band whose URI, shape and WCS it has; by default the first.

        Returns
        -------
        dict
            ``mjd`` is that of the earliest plane, ``size_bytes`` the sum over the planes,
            ``bands`` all bands; ``status`` is "failed" where `error` is set.
        """
        plane = self.planes.get(reference) if reference else next(iter(self.planes.values()), None)
        first = plane.image if plane else self.members[0]
        row = dict(first) | {
            "image_id": ids.image_id(self.path, self.hdu),
            "path": self.path,
            "hdu": self.hdu,
            "bands": ",".join(self.planes) or None,
            "mjd": min((m["mjd"] for m in self.members if m.get("mjd") is not None), default=None),
            "size_bytes": sum(member["size_bytes"] for member in self.members),
            "status": "ok",
            "error": None,
        }
        if self.error is not None:
            row |= {"status": "failed", "error": f"{self.error.kind}: {self.error}"}
        return row


class _Place(NamedTuple):
    """Which group a plane belongs to, and as which band."""

    path: str
    hdu: int
    band: str


def header_keywords(image: Row, names: Sequence[str]) -> dict[str, object]:
    """Values of header keywords, first from the ``wcs`` column, then from the file.

    Parameters
    ----------
    image : mapping
        A row of ``schema.IMAGES``. Its ``wcs`` column holds the header of the plane; a
        keyword it lacks is looked for in the header of the primary HDU of the file, as are
        all where the plane has no WCS.
    names : sequence of str

    Returns
    -------
    dict
        Of the keywords there are.

    Raises
    ------
    ImageError
        Kind ``unreadable``: the file had to be opened and could not be.
    InputError
        The same, of a file that is not on this machine.
    """
    headers: list[fits.Header] = []
    with sky.quiet():
        if image.get("wcs"):
            headers.append(fits.Header.fromstring(image["wcs"], sep="\n"))
            found = _values(headers, names)
            if len(found) == len(names):
                return found
        path = local_path(image["uri"])
        if not is_fits(path):
            return _values(headers, names)
        try:
            with fits.open(path, mode="readonly", memmap=False) as hdulist:
                headers += [hdulist[index].header for index in dict.fromkeys((image["hdu"] or 0, 0))]
        except (OSError, ValueError, TypeError, IndexError, EOFError, fits.VerifyError) as error:
            raise ImageError(f"the header cannot be read, fetch the file again: {error}") from None
    return _values(headers, names)


def group_bands(
    images: Iterable[Row],
    grouping: BandGrouping,
    needed: Sequence[str] = (),
    keywords: KeywordReader = header_keywords,
) -> list[BandGroup]:
    """Find the planes that show the same sky in several bands.

    No plane is dropped: those that belong to no group make a group of their own with an
    error. Unreadable or surplus planes of a band that is not needed do no harm.

    Parameters
    ----------
    images : iterable of mapping
        Rows of ``schema.IMAGES`` in any order.
    grouping : NamePattern or HeaderKeywords
    needed : sequence of str
        Bands without which a group is of no use (``ColorSettings.bands``); by default all
        that it has.
    keywords : callable
        How headers are read where they decide.

    Returns
    -------
    list of BandGroup
        Sorted by path and HDU, whatever the order of `images`.
    """
    found: dict[tuple[str, int], list[tuple[str, Row]]] = defaultdict(list)
    groups: list[BandGroup] = []
    placed = _by_name(grouping) if isinstance(grouping, NamePattern) else _by_header(grouping, keywords)
    for image in images:
        try:
            place = placed(image)
        except (ImageError, InputError) as problem:
            error = problem if isinstance(problem, ImageError) else ImageError(str(problem))
            groups.append(BandGroup(image["path"], image["hdu"] or 0, {}, tuple(needed), (image,), error))
        else:
            band = grouping.aliases.get(place.band, place.band)
            found[place.path, place.hdu].append((band, image))
    groups += [_group(path, hdu, planes, needed) for (path, hdu), planes in found.items()]
    return sorted(groups, key=lambda group: (group.path, group.hdu, group.error is not None))


def _group(path: str, hdu: int, found: list[tuple[str, Row]], needed: Sequence[str]) -> BandGroup:
    found = sorted(found, key=lambda entry: (entry[0], entry[1]["path"], entry[1]["hdu"] or 0))
    by_band: dict[str, list[Row]] = defaultdict(list)
    for band, image in found:
        by_band[band].append(image)
    bands = dict.fromkeys([*(band for band in needed if band in by_band), *by_band])
    planes: dict[str, BandPlane] = {}
    errors: list[ImageError] = []
    for band in bands:
        usable = [image for image in by_band[band] if image["status"] == "ok"]
        if usable:
            planes[band] = BandPlane(usable[0]["uri"], usable[0]["hdu"], usable[0])
        wanted = not needed or band in needed
        if wanted and len(by_band[band]) > 1:
            errors.append(_duplicate(band, by_band[band]))
        elif wanted and not usable:
            kind, _, message = (by_band[band][0]["error"] or "unreadable: not described").partition(": ")
            errors.append(ImageError(f"band {band}, {by_band[band][0]['path']}: {message}", kind=kind))
    missing = tuple(band for band in dict.fromkeys(needed) if band not in by_band)
    if missing:
        errors.append(
            ImageError(
                f"there is no plane of band {', '.join(missing)} beside {', '.join(by_band)}; add it to "
                "images.paths, or take another mapping of channels or aliases of bands",
                kind="missing_band",
            )
        )
    members = tuple(image for _, image in found)
    return BandGroup(path, hdu, planes, missing, members, errors[0] if errors else None)


def _duplicate(band: str, images: list[Row]) -> ImageError:
    names = ", ".join(f"{image['path']}[{image['hdu']}]" for image in images)
    return ImageError(
        f"band {band} has {len(images)} planes in one group: {names}; tell them apart by more of the "
        "name or by another keyword",
        kind="duplicate_band",
    )


def _by_name(grouping: NamePattern) -> Callable[[Row], _Place]:
    greedy, lazy = _regex(grouping.pattern, greedy=True), _regex(grouping.pattern, greedy=False)

    def place(image: Row) -> _Place:
        path = image["path"]
        match, other = greedy.fullmatch(path), lazy.fullmatch(path)
        if match is None or other is None:
            raise ImageError(
                f"the path {path} does not match {grouping.pattern}; leave the file out of images.paths "
                "or correct the pattern",
                kind="no_band",
            )
        if _spans(match) != _spans(other):
            raise ImageError(
                f"the band in {path} may be {match['band']!r} or {other['band']!r} by the pattern "
                f"{grouping.pattern}; write out more of the name",
                kind="ambiguous_band",
            )
        for start, end in reversed(_spans(match)):
            path = path[:start] + PLACEHOLDER + path[end:]
        return _Place(path, image["hdu"] or 0, match["band"])

    return place


def _regex(pattern: str, greedy: bool) -> re.Pattern[str]:
    """The pattern as a regular expression that prefers long wildcards, or short ones."""
    mode = "" if greedy else "?"
    parts = [f"(?:.*/){'?' if greedy else '??'}"]
    seen = 0
    for token in re.findall(r"\{band\}|\*\*|\*|\?|[^{*?]+", pattern):
        if token == PLACEHOLDER:
            # A later band has to be the first once more.
            parts.append(r"(?P<band>[^\W_]+" + mode + ")" if not seen else f"(?P<band{seen}>(?P=band))")
            seen += 1
        elif token == "**":
            parts.append(f".*{mode}")
        elif token == "*":
            parts.append(f"[^/]*{mode}")
        else:
            parts.append("[^/]" if token == "?" else re.escape(token))
    return re.compile("".join(parts), re.DOTALL)


def _spans(match: re.Match[str]) -> list[tuple[int, int]]:
    return sorted(match.span(name) for name in match.re.groupindex)


def _by_header(grouping: HeaderKeywords, keywords: KeywordReader) -> Callable[[Row], _Place]:
    names = (*grouping.keywords, *grouping.band_keywords)

    def place(image: Row) -> _Place:
        if image["status"] != "ok":
            kind, _, message = (image["error"] or "unreadable: not described").partition(": ")
            raise ImageError(message, kind=kind)
        values = keywords(image, names)
        absent = [name for name in grouping.keywords if name not in values]
        if absent:
            raise ImageError(
                f"the header has no {', '.join(absent)} to group by; name other keywords or group by a "
                "pattern of the path",
                kind="no_band",
            )
        given = [str(values[name]) for name in grouping.band_keywords if name in values]
        band = given[0] if given else image["bands"]
        if not band:
            raise ImageError(
                "the header names no filter; name its keyword in band_keywords or group by a pattern",
                kind="no_band",
            )
        # Escaped, so that no two sets of values share a path.
        parts = (f"{name}={quote(str(values[name]), safe=' ,+:')}" for name in grouping.keywords)
        return _Place("/".join((PLACEHOLDER, *parts)), 0, band)

    return place


def _values(headers: Sequence[fits.Header], names: Sequence[str]) -> dict[str, object]:
    """The first value of each keyword; text without blanks around it."""
    values: dict[str, object] = {}
    for name in names:
        for header in headers:
            try:
                value = header.get(name)
            except (fits.VerifyError, ValueError):  # a card that cannot be parsed
                continue
            text = value.strip() if isinstance(value, str) else value
            if text is not None and text != "" and not isinstance(text, fits.card.Undefined):
                values[name] = text
                break
    return values
