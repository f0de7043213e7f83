"""What an export has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elodin_spark.progress import counted


@dataclass(frozen=True)
class Export:
    """What was written for another tool, and how it opens it.

    Attributes
    ----------
    path : Path
        The file or the folder.
    cutouts : int
        That are in it.
    left_out : int
        That were meant and are not: they have no place on the map, or no vector.
    command : str
        With which the tool opens it.
    """

    path: Path
    cutouts: int
    left_out: int
    command: str

    def text(self) -> str:
        """For a terminal."""
        left = f"; {self.left_out:,} without a place or a vector left out" if self.left_out else ""
        return f"written: {self.path}: {counted(self.cutouts, 'cutout')}{left}\nopen it: {self.command}"
