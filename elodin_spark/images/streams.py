"""One file as bytes with an offset, also where it is compressed as a whole."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from elodin_spark.errors import ImageError

Compression = Literal["gz", "bz2", "xz"]

_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz"}
#: What begins files of other kinds of compression, and what unpacks them.
_UNREAD = {
    b"\x1f\x9d": ("compress (.Z)", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"PK\x03\x04": ("zip", "unzip"),
    b"7z\xbc\xaf": ("7-Zip", "7z x"),
}

#: Most bytes that a compressed file may unpack to.
MAX_UNPACKED_BYTES = 2**36

_CHUNK = 2**20
_REMOTE_CHUNK = 2**22


class Stream(Protocol):
    """A file that is read by ranges of bytes.

    Attributes
    ----------
    file : binary file
        Seekable, opened for reading; for headers and other small reads.
    size : int
        Length of the file, bytes.
    gap_bytes : int
        Two ranges this near are cheaper to read as one.
    piece_bytes : int
        Largest range worth asking for at once.
    group_bytes : int
        How much may be asked for, and held, at once.
    """

    file: BinaryIO
    size: int
    gap_bytes: int
    piece_bytes: int
    group_bytes: int

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each half-open range ``(start, stop)``; shorter where the file ends."""
        ...

    def expect_sequential(self) -> None:
        """Say that `file` will now be read from front to back in small steps."""
        ...


class LocalStream:
    """A file on this machine.

    Read by ``pread`` and not mapped, so that pages of the file are the kernel's memory to
    drop and never count as this process's.
    """

    # A system call costs as much as copying some kilobytes.
    gap_bytes = 2**13
    piece_bytes = 2**22
    group_bytes = 2**22

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._fd = file.fileno()
        self.size = os.fstat(self._fd).st_size

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of each half-open range ``(start, stop)``; shorter where the file ends."""
        return [os.pread(self._fd, stop - start, start) for start, stop in ranges]

    def expect_sequential(self) -> None:
        """Nothing: the kernel notices."""


def open_local(path: str) -> BinaryIO:
    """Open a file of this machine, which must be no folder, pipe or device; errors as of ``open_stream``."""
    try:
        return open(path, "rb", opener=_regular)
    except FileNotFoundError:
        raise ImageError(
            "there is no such file, or it is a link that leads nowhere; mend it or leave it out",
            kind="missing",
        ) from None
    except PermissionError:
        raise ImageError(
            "the file may not be read by this user; give it read permission", kind="no_permission"
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ImageError("the file is a link that leads back to itself; remove it") from None
        raise ImageError(
            f"the file cannot be opened ({error.strerror or error}); check the disk that it is on"
        ) from None


def _regular(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ImageError(f"{path} is no file but a folder, pipe or device; leave it out of images.paths")


def first_bytes(stream: Stream, count: int) -> bytes:
    """What the file starts with, by which its kind is known; leaves ``stream.file`` at its start."""
    stream.file.seek(0)
    start = stream.file.read(count)
    stream.file.seek(0)
    return start


def compression_of(stream: Stream) -> Compression | None:
    """How the file is compressed as a whole, by its content; leaves ``stream.file`` at its start.

    Raises
    ------
    ImageError
        Kind ``not_fits``: in a way that is not read.
    """
    magic = first_bytes(stream, 6)
    for start, (name, program) in _UNREAD.items():
        if magic.startswith(start):
            raise ImageError(f"the file is packed by {name}; unpack it first, by {program}", "not_fits")
    return next((kind for start, kind in _MAGIC.items() if magic.startswith(start)), None)


@contextmanager
def unpacked(stream: Stream) -> Iterator[Stream]:
    """The stream itself, or, where it is ``.gz``, ``.bz2`` or ``.xz`` by its content, what that unpacks to.

    It is unpacked once, in steps, to a temporary file (in ``TMPDIR``) that has no name from
    the start, so that not even a killed process leaves it behind.

    Raises
    ------
    ImageError
        Kind ``truncated`` where the compressed file ends early, ``too_large`` where it unpacks to
        more than :data:`MAX_UNPACKED_BYTES`, ``no_space`` where the temporary folder is full.
    """
    kind = compression_of(stream)
    if kind is None:
        yield stream
        return
    stream.expect_sequential()
    with temporary() as (target, content):
        _unpack(stream.file, target, {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}[kind])
    with content:
        yield LocalStream(content)


@contextmanager
def temporary() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Make a temporary file without a name: one handle to write to it, one to read it.

    The first is closed at the end of the block, the second only if the block raises.

    Raises
    ------
    ImageError
        Kind ``no_space``: the temporary folder is full, said of anything written in the block.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix="elodin-")
        with os.fdopen(descriptor, "wb") as target:
            try:
                content = Path(name).open("rb")  # noqa: SIM115 - it outlives the block
            finally:
                Path(name).unlink()
            try:
                yield target, content
            except BaseException:
                content.close()
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ImageError(
                f"no room to unpack or download the file in {tempfile.gettempdir()}; "
                "set TMPDIR to a larger disk",
                kind="no_space",
            ) from None
        raise


def _unpack(source: BinaryIO, target: BinaryIO, decompress: Any) -> None:
    source.seek(0)
    # Large steps: of a remote file each is a request.
    buffered = io.BufferedReader(source, _REMOTE_CHUNK)  # type: ignore[arg-type,type-var]
    total = 0
    try:
        with decompress(buffered) as content:
            while chunk := content.read(_CHUNK):
                total += len(chunk)
                if total > MAX_UNPACKED_BYTES:
                    raise ImageError(
                        f"the file unpacks to more than {MAX_UNPACKED_BYTES} bytes; unpack it first",
                        kind="too_large",
                    )
                target.write(chunk)
    except EOFError:
        raise ImageError("the compressed file ends early; fetch it again", kind="truncated") from None
    except (zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise ImageError(f"the compressed file is damaged, fetch it again: {error}") from None
    except OSError as error:
        if error.errno is None:  # bz2's word for damage
            raise ImageError(f"the compressed file is damaged, fetch it again: {error}") from None
        raise
    finally:
        buffered.detach()
