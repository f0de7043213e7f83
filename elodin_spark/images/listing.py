"""Which files a run reads: folders, globs, files and lists of files to rows of ``schema.FILES``."""

from __future__ import annotations

import glob
import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from elodin_spark import schema
from elodin_spark.errors import InputError
from elodin_spark.images import remote, siblings
from elodin_spark.images.uris import (
    COMPRESSIONS,
    FITS_EXTENSIONS,
    RASTER_EXTENSIONS,
    is_fits,
    is_raster,
    is_remote,
    local_path,
)

#: How many kinds of passed over files a message names.
MAX_NAMED_SUFFIXES = 6

log = logging.getLogger(__name__)


class ImageFile(NamedTuple):
    """One file to read, a row of ``schema.FILES``.

    Attributes
    ----------
    uri : str
        Absolute path.
    path : str
        Path below the archive root with ``/`` as separator; part of every ID.
    size_bytes : int
        Size of the file, bytes.
    """

    uri: str
    path: str
    size_bytes: int


class _Selection(NamedTuple):
    root: str
    files: list[str]
    remote: Sequence[tuple[str, int | None]] = ()
    passed_over: Sequence[str] = ()


def list_files(
    paths: Sequence[str], root: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> list[ImageFile]:
    """List the image files below `paths`.

    Hidden files and folders, and files of other kinds, are passed over in a folder or
    glob; of the latter one line of the log says how many there are, by their suffix. Symbolic links
    are followed; a file reached in two ways is listed once, under the path that is no link where there
    is one. Files of masks, weights and the like whose image is in the list too are left out: they
    belong to it. What has the name of an image and cannot be read (a link that leads nowhere, a pipe) is
    listed, and refused when it is opened.

    Parameters
    ----------
    paths : sequence of str
        Each a folder (searched recursively), a glob (``**`` crosses folders), a file, or
        ``@list.txt``: a text file with one such path a line, where empty lines and lines
        that start with ``#`` are skipped. Relative paths start at the working directory.
        ``file://`` is allowed, and so are ``s3://``, ``http(s)://`` and ``hdfs://``.
    root : str, optional
        Archive root; ``path`` is relative to it. By default the folder itself, for a glob
        the longest folder without a wildcard, for a file its folder, and for several of
        these their common parent.

    Returns
    -------
    list of ImageFile
        Sorted by path, without duplicates.

    Raises
    ------
    InputError
        A path is missing, holds no images, is of an unknown kind or scheme, or lies
        outside `root`.
    """
    return list_archive(paths, root, storage_options)[1]


def list_archive(
    paths: Sequence[str], root: str | None = None, storage_options: Mapping[str, Any] | None = None
) -> tuple[str, list[ImageFile]]:
    """The archive root and the files of :func:`list_files`.

    IDs depend on the path below the root, so a catalog remembers it: another folder of images added later
    must not move it.
    """
    base, selections = _selected(paths, root, storage_options)
    unique: dict[str, tuple[tuple[bool, str], ImageFile]] = {}
    for uri, size_bytes in (file for selection in selections for file in selection.remote):
        if not uri.startswith(f"{base}/"):
            raise InputError(f"{uri} is not below the archive root {base}; correct images.root")
        path = uri.removeprefix(f"{base}/")
        unique[uri] = ((False, path), ImageFile(uri, path, size_bytes or 0))
    real_base = os.path.realpath(base)
    for file in (file for selection in selections for file in selection.files):
        path = _below(file, base)
        target = os.path.realpath(file)
        order = (str(Path(real_base, path)) != target, path)
        if target not in unique or order < unique[target][0]:
            unique[target] = (order, ImageFile(file, path, _size(file)))
    _tell_passed_over({name for selection in selections for name in selection.passed_over})
    found = sorted((entry for _, entry in unique.values()), key=lambda entry: entry.path)
    return base, _without_parts(found)


def _without_parts(found: list[ImageFile]) -> list[ImageFile]:
    """Leave out masks, weights and the like of other files of the list."""
    whole = siblings.without_parts(file.path for file in found)
    if parts := [file.path for file, image in zip(found, whole, strict=True) if not image]:
        log.info(
            "%d of %d files hold masks, weights or the like of others and are not cut themselves: %s%s",
            len(parts), len(found), ", ".join(parts[:3]), " ..." if len(parts) > 3 else "",
        )  # fmt: skip
    return [file for file, image in zip(found, whole, strict=True) if image]


def _tell_passed_over(names: set[str]) -> None:
    if not names:
        return
    counts = Counter(_suffix(name) for name in names).most_common()
    kinds = [f"{count} {suffix}" for suffix, count in counts[:MAX_NAMED_SUFFIXES]]
    kinds += ["..."] if len(counts) > MAX_NAMED_SUFFIXES else []
    number = f"{len(names)} file{'s' if len(names) > 1 else ''}"
    log.info("passed over %s of other kinds in images.paths: %s%s", number, ", ".join(kinds), _remedy(names))


def _suffix(name: str) -> str:
    """The extension of a name, or both where it is that of a FITS file and one more."""
    suffixes = PurePosixPath(name.rpartition("/")[2]).suffixes
    packed = len(suffixes) > 1 and suffixes[-2].lower() in FITS_EXTENSIONS
    return ("".join(suffixes[-2:]) if packed else suffixes[-1] if suffixes else "without suffix")[:20]


def _remedy(names: set[str]) -> str:
    packed = any(_suffix(name).lower().startswith(FITS_EXTENSIONS) for name in names)
    return f". FITS is read as it is or with {' '.join(COMPRESSIONS)}: unpack others first" if packed else ""


def _selected(
    paths: Sequence[str], root: str | None, storage_options: Mapping[str, Any] | None
) -> tuple[str, list[_Selection]]:
    if isinstance(paths, str):
        paths = [paths]
    selections = [_select(entry, storage_options) for path in paths for entry in _entries(path)]
    if not selections:
        raise InputError("no paths were given to read images from; set images.paths")
    roots = [selection.root for selection in selections]
    if any(map(is_remote, roots)):
        if root is not None:
            return root.rstrip("/"), selections
        if not all(map(is_remote, roots)):
            raise InputError("images.paths name local and remote places; list one kind, or set images.root")
        parts = zip(*(place.split("/") for place in roots), strict=False)
        shared = itertools.takewhile(lambda part: len(set(part)) == 1, parts)
        return "/".join(part[0] for part in shared), selections
    if root is None:
        return os.path.commonpath(roots), selections
    base = _absolute(root)
    if not Path(base).is_dir():
        raise InputError(f"the archive root {root} is not a folder; correct images.root")
    return base, selections


def files_to_batches(files: Iterable[ImageFile], rows: int = 256) -> Iterator[pa.RecordBatch]:
    """Turn a list of files into batches of ``schema.FILES`` of at most `rows` rows."""
    if rows < 1:
        raise ValueError(f"a batch needs at least one row, got {rows}")
    pending: list[dict[str, object]] = []
    for file in files:
        pending.append(dict(file._asdict()))
        if len(pending) == rows:
            yield schema.rows_to_batch(pending, schema.FILES)
            pending = []
    if pending:
        yield schema.rows_to_batch(pending, schema.FILES)


def _entries(path: str) -> Iterator[str]:
    if not path.startswith("@"):
        yield path
        return
    listing = Path(local_path(path[1:]))
    try:
        lines = listing.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"the list of files {listing} cannot be read: {error.strerror or error}") from None
    entries = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not entries:
        raise InputError(f"the list of files {listing} is empty; write one path a line")
    yield from entries


def _select(entry: str, storage_options: Mapping[str, Any] | None) -> _Selection:
    if is_remote(entry):
        return _select_remote(entry, storage_options)
    if not entry:
        raise InputError("an empty path was given to read images from; correct images.paths")
    path = _absolute(entry)
    if Path(path).is_dir():
        files, passed = _walk(path)
        if not files:
            _tell_passed_over(set(passed))
            raise InputError(f"the folder {path} holds no image files ({_known()}); correct images.paths")
        return _Selection(path, files, passed_over=passed)
    if os.path.lexists(path):
        if not (is_fits(path) or is_raster(path)):
            raise InputError(f"{path} is not a known kind of image; rename it to one of {_known()}")
        return _Selection(str(Path(path).parent), [path])
    if not glob.has_magic(path):
        raise InputError(f"there is no file or folder {path}; correct images.paths")
    parts = Path(path).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    files, passed = [], []
    # Path.glob would match hidden files.
    for match in sorted(glob.glob(path, recursive=True)):  # noqa: PTH207
        if Path(match).is_dir():
            # "**" already names every folder below: descending again would only repeat them.
            below = ([], []) if "**" in parts else _walk(match)
            files += below[0]
            passed += below[1]
        else:
            (files if is_fits(match) or is_raster(match) else passed).append(match)
    if not files:
        _tell_passed_over(set(passed))
        raise InputError(f"no image file ({_known()}) matches {entry}; correct images.paths")
    return _Selection(str(Path(*parts[:first])), files, passed_over=passed)


def _select_remote(entry: str, storage_options: Mapping[str, Any] | None) -> _Selection:
    listed = remote.list_uri(entry, storage_options)
    found = [file for file in listed if is_fits(file.uri) or is_raster(file.uri)]
    passed = [file.uri for file in listed if not (is_fits(file.uri) or is_raster(file.uri))]
    if not found:
        _tell_passed_over(set(passed))
        raise InputError(f"there is no image file ({_known()}) at {entry}; correct images.paths")
    parts = entry.rstrip("/").split("/")
    magic = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    folder = "/".join(parts[:magic])
    if [file.uri for file in found] == [folder]:
        folder = folder.rpartition("/")[0]
    return _Selection(folder, [], [(file.uri, file.size_bytes) for file in found], passed)


def _absolute(path: str) -> str:
    # Not resolved: a link keeps the name the user gave it.
    return os.path.normpath(Path(local_path(path)).expanduser().absolute())


def _walk(folder: str) -> tuple[list[str], list[str]]:
    """Image files below a folder, and others, following links but never into a folder it is already in.

    Links that lead nowhere, pipes and devices are among them, to be refused by name.
    """
    found: list[str] = []
    passed: list[str] = []

    def visit(directory: str, above: frozenset[str]) -> None:
        real = os.path.realpath(directory)
        if real in above:
            return
        try:
            with os.scandir(directory) as scan:
                children = sorted(scan, key=lambda child: child.name)
        except OSError as error:
            raise InputError(f"the folder {directory} cannot be read: {error.strerror or error}") from None
        for child in children:
            if child.name.startswith("."):
                continue
            if _is_folder(child):
                visit(child.path, above | {real})
            else:
                (found if is_fits(child.name) or is_raster(child.name) else passed).append(child.path)

    visit(folder, frozenset())
    return found, passed


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _below(file: str, base: str) -> str:
    relative = os.path.relpath(file, base)
    if relative == os.pardir or relative.startswith(os.pardir + os.sep):
        raise InputError(f"{file} is not below the archive root {base}; correct images.root")
    path = relative.replace(os.sep, "/")
    try:
        file.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"the file name {file!r} is not valid UTF-8; rename it") from None
    return path


def _size(file: str) -> int:
    try:
        return Path(file).stat().st_size
    except OSError:  # whoever opens it says why it cannot be read
        return 0


def _known() -> str:
    return " ".join((*FITS_EXTENSIONS, *RASTER_EXTENSIONS)) + ", FITS also with " + " ".join(COMPRESSIONS)
