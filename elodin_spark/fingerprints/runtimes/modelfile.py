"""Converted networks as files: an OpenVINO model is an ``.xml`` with a ``.bin`` beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from elodin_spark.config.settings import Precision
from elodin_spark.errors import WeightsError


@dataclass(frozen=True)
class ModelFile:
    """A converted network on disk: small and picklable.

    Attributes
    ----------
    path : str
        The ``.xml`` on this machine.
    sha256 : str
        Of the bytes of both files, see :func:`digest_files`.
    weights_sha256 : str
        Of the weights it was converted from.
    backbone : str
    input_px : int
        Side of its input, px.
    float_precision : str
        Of the layers that are not quantized; f32 where none is.
    quantized : bool
        Whether it holds 8-bit integers.
    layer : str, optional
        Whose output is the vector.
    kept : tuple of str
        Layers that are not quantized in a network that is.
    """

    path: str
    sha256: str
    weights_sha256: str
    backbone: str
    input_px: int
    float_precision: Precision = "f32"
    quantized: bool = False
    layer: str | None = None
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", tuple(self.kept))  # JSON has lists

    @property
    def files(self) -> tuple[str, str]:
        """Both files."""
        return self.path, str(Path(self.path).with_suffix(".bin"))

    def check(self) -> None:
        """See whether the files are whole.

        Raises
        ------
        WeightsError
            They are missing, damaged, or others.
        """
        try:
            found = digest_files(self.files)
        except OSError as error:
            raise WeightsError(
                f"the converted network {self.path} cannot be read ({error.strerror}): run again to have it "
                "made again, and keep its .bin beside its .xml"
            ) from error
        if found != self.sha256:
            raise WeightsError(
                f"the converted network {self.path} is damaged or another (content {found[:12]}, expected "
                f"{self.sha256[:12]}): delete it and its .bin, and run again"
            )


def digest_files(files: tuple[str, ...]) -> str:
    """SHA-256 over the size and the bytes of each file, in order."""
    digest = hashlib.sha256()
    for name in files:
        path = Path(name)
        digest.update(f"{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
