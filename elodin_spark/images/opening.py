"""Open a file wherever it is: on this machine or another."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elodin_spark.images import remote
from elodin_spark.images.streams import LocalStream, Stream, open_local
from elodin_spark.images.uris import is_remote, local_path


@contextmanager
def open_stream(uri: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[Stream]:
    """Open a file, local or remote.

    Parameters
    ----------
    uri : str
        Local path or URI; see :func:`elodin_spark.images.remote.open_remote`.
    storage_options : mapping, optional
        Of the remote store.

    Raises
    ------
    ImageError
        The file cannot be opened, or is a folder, pipe or device. Kinds ``missing``, ``no_permission``,
        ``unreadable``; of remote files also ``unreachable``.
    """
    if is_remote(uri):
        stream = remote.open_remote(uri, storage_options)
        with stream.file:
            yield stream
        return
    with open_local(local_path(uri)) as file:
        yield LocalStream(file)


@contextmanager
def local_copy(uri: str, storage_options: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Path of a local file, or of a temporary copy of a remote one; errors as of :func:`open_stream`."""
    if not is_remote(uri):
        yield local_path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="elodin-") as folder:
        path = str(Path(folder) / "file")
        remote.download(uri, path, storage_options)
        yield path
