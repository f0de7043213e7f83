"""Weights files on other machines: fetched once, kept by their content.

In the folder of the cache are ``fetched/SHA256`` for each file and ``fetched/URI-HASH.json``, a note of
what a URI held when it was last asked. A file appears under its name when it is complete and
checked.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec.callbacks import Callback

from elodin_spark.errors import ImageError, InputError, WeightsError
from elodin_spark.images.remote import filesystem, plain_words

#: Largest file that is fetched, bytes; the networks of ``keras.applications`` have at most 0.6 GB.
MAX_BYTES = 2**32

_CHUNK = 2**20


def fetch(
    uri: str,
    folder: Path,
    sha256: str | None = None,
    storage: Mapping[str, Any] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Fetch a weights file, unless it is at hand.

    Parameters
    ----------
    uri : str
        ``s3://``, ``https://``, or any other that
        :func:`~elodin_spark.images.remote.open_remote` knows.
    folder : Path
        The cache.
    sha256 : str, optional
        Of the file. A file with that hash which is in the cache is taken without asking the server.
    storage : mapping, optional
        Options of the store, such as ``{"anon": True}``.
    max_bytes : int
        A larger file is refused.

    Returns
    -------
    Path
        Named by its content.

    Raises
    ------
    WeightsError
        It cannot be had, is larger than `max_bytes`, or has another hash than `sha256`.
    """
    kept = folder / "fetched"
    if sha256 is not None and _is_whole(kept / sha256, sha256):
        return kept / sha256
    shown, _, query = uri.partition("?")  # what follows may be a signature
    note = kept / f"{hashlib.sha256(uri.encode()).hexdigest()[:32]}.json"
    try:
        with plain_words(shown):
            fs, path = filesystem(uri, storage)
            fs.invalidate_cache()
            try:
                version = _version(fs.info(path))
            except FileNotFoundError:  # what fsspec says whatever a web server answered
                version = None
            known = _read(note)
            if version is not None and known.get("version") == version:
                found = kept / str(known.get("sha256"))
                if _is_whole(found, found.name):
                    return _pinned(found, found.name, sha256, shown)
            kept.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=kept) as scratch:
                new = Path(scratch) / "file"
                fs.get_file(path, str(new), callback=_Limit(shown, max_bytes))
                digest = file_sha256(new)
                _pinned(new, digest, sha256, shown)
                new.replace(kept / digest)
                (Path(scratch) / "note").write_text(json.dumps({"version": version, "sha256": digest}))
                (Path(scratch) / "note").replace(note)
            return kept / digest
    except (ImageError, InputError) as error:
        said = str(error).replace(query, "...") if query else str(error)
        raise WeightsError(
            f"the weights could not be fetched: {said}; correct fingerprints.weights, or copy the file to "
            "this machine and name it there"
        ) from None


def local_path(weights: str) -> Path:
    """The file on this machine that a path or a ``file:`` URI names.

    Raises
    ------
    WeightsError
        There is none.
    """
    if weights.startswith("file:"):
        parts = urlsplit(weights)
        if parts.netloc not in ("", "localhost"):
            raise WeightsError(
                f"weights {weights!r}: a file:// URI is of this machine; write file:///path, or copy it here"
            )
        path = Path(unquote(parts.path))
    else:
        path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"no weights file at {path}: fingerprints.weights takes survey, imagenet-lite, imagenet, "
            "random:SEED, or the path or URI of a .keras, .h5, .weights.h5 or packed .safetensors file"
        )
    return path


def check_sha256(path: Path, sha256: str | None) -> None:
    """Refuse a file of other content than was asked for.

    Raises
    ------
    WeightsError
        Its SHA-256 is another; without `sha256` there is nothing to check.
    """
    if sha256 is not None:
        _pinned(path, file_sha256(path), sha256, str(path))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pinned(path: Path, found: str, wanted: str | None, shown: str) -> Path:
    if wanted is not None and found != wanted:
        raise WeightsError(
            f"the weights {shown} have SHA-256 {found}, but fingerprints.weights_sha256 is {wanted}: it is "
            "another file or was tampered with; fetch the right one, or correct the setting"
        )
    return path


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return file_sha256(path) == sha256
    except OSError:
        return False


def _version(info: Mapping[str, Any]) -> dict[str, str] | None:
    """What tells one content of a URI from the next; None where the server does not say."""
    marks = {name: str(info[name]) for name in ("ETag", "LastModified", "mtime", "size") if info.get(name)}
    return marks if marks.keys() - {"size"} else None


def _read(note: Path) -> dict[str, Any]:
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class _Limit(Callback):
    """Stops a download that grows too large; told by fsspec of each piece."""

    def __init__(self, shown: str, max_bytes: int) -> None:
        super().__init__()
        self._shown, self._max_bytes = shown, max_bytes

    def set_size(self, size: int | None) -> None:
        """Take the length the server announced."""
        super().set_size(size)
        self._check(size or 0)

    def relative_update(self, inc: int = 1) -> None:
        """Count a piece."""
        super().relative_update(inc)
        self._check(self.value)

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise WeightsError(
                f"the weights {self._shown} have more than {self._max_bytes} bytes: this is no weights file; "
                "correct fingerprints.weights"
            )
