"""A picture from outside: written to a temporary file, checked, fingerprinted, and gone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.catalog.search.query import Query, ResolvedQuery
from elodin_spark.errors import LEAVE_OUT, ElodinError, ImageError, InputError
from elodin_spark.images.fits import describe_fits_planes
from elodin_spark.images.raster import describe_raster
from elodin_spark.images.uris import is_fits

#: Of a file.
MOST_BYTES = 64 << 20
#: Of a picture.
MOST_PIXELS = 64_000_000
#: Extensions that are taken. Files that are packed as a whole are not: they may unpack to anything.
EXTENSIONS = (".fits", ".fit", ".fts", ".jpg", ".jpeg", ".png", ".tif", ".tiff")
_CALLED = "the file"


def extension_of(name: str | None) -> str:
    """The extension of a file's name, which is all of it that counts.

    Raises
    ------
    InputError
        It is none of :data:`EXTENSIONS`.
    """
    extension = PurePosixPath((name or "").replace("\\", "/").replace("\0", "")).suffix.lower()
    if extension not in EXTENSIONS:
        got = f"got {extension[:20]!r}" if extension else "the name has none"
        unpack = ": unpack it first" if extension in (".gz", ".bz2", ".fz") else ""
        known = ", ".join(EXTENSIONS)
        raise InputError(f"the file's name, in X-File-Name, ends in none of {known}; {got}{unpack}")
    return extension


@contextmanager
def temporary_file(extension: str) -> Iterator[Path]:
    """A path in a new folder of our own, which is removed with what is in it."""
    with TemporaryDirectory(prefix="elodin-explore-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / f"upload{extension}"


def ask_with(catalog: Catalog, file: Path) -> ResolvedQuery:
    """Look up a picture to ask with.

    Raises
    ------
    ElodinError
        It is empty, no picture, too large, or cannot be asked with; its path is in no message.
    """
    try:
        require_small(file)
        found = catalog.resolve(Query.from_image(file))
    except ElodinError as error:
        said = str(error).replace(str(file), _CALLED).replace(file.name, _CALLED)
        raise type(error)(said) if not isinstance(error, ImageError) else InputError(said) from None
    return replace(found, name=_CALLED)


def require_small(file: Path) -> None:
    """Raise InputError where a picture is empty or has too many pixels, by its header alone."""
    if file.stat().st_size == 0:
        raise InputError("the file is empty: 0 bytes came")
    try:
        if is_fits(file.name):
            sizes = [(plane.width, plane.height) for plane in describe_fits_planes(str(file))]
        else:
            picture = describe_raster(str(file))
            sizes = [(picture.width, picture.height)]
    except ImageError as error:
        if error.kind == "too_large":
            raise InputError(f"the picture is too large: at most {MOST_PIXELS:,} px are taken") from None
        raise InputError(f"the file cannot be asked with: {str(error).removesuffix(LEAVE_OUT)}") from None
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if width * height > MOST_PIXELS:
        raise InputError(f"the picture has {width} x {height} px: at most {MOST_PIXELS:,} px are taken")


def query_facts(found: ResolvedQuery) -> dict[str, Any]:
    """What a page shows of the picture: its thumbnail and labels."""
    picture = found.picture or {}
    thumbnail = picture.get("thumbnail")
    shown = None
    if thumbnail is not None:
        with suppress(TypeError):
            shown = f"data:image/jpeg;base64,{base64.b64encode(thumbnail).decode('ascii')}"
    return {"picture": shown, "labels": picture.get("labels", []), "scores": None}
