"""Cutouts whose mask nobody knows how to read: told once a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

log = logging.getLogger(__name__)

_SHOWN = 8


class UnnamedBits:
    """Counts the cutouts of a run that have a mask, and none of its bits is one that spoils a pixel."""

    def __init__(self) -> None:
        self._cutouts = 0
        self._bits: set[str] = set()

    def add(self, cutouts: Path) -> None:
        """Look at a part of the table ``cutouts``.

        Parameters
        ----------
        cutouts : Path
            Folder of Parquet files.
        """
        unknown = pc.field("masked_fraction").is_null() & pc.field("mask_fractions").is_valid()
        for file in sorted(cutouts.glob("*.parquet")):
            found = pq.read_table(file, columns=["mask_fractions"], filters=unknown).column(0)
            self._cutouts += len(found)
            for chunk in found.chunks:
                self._bits.update(chunk.keys.unique().to_pylist())

    def tell(self, bad_bits: Sequence[str] | None) -> None:
        """Warn of them in one line, where there are any.

        Parameters
        ----------
        bad_bits : sequence of str or None
            The setting.
        """
        if not self._cutouts:
            return
        asked = "" if bad_bits is None else f" (cutouts.quality.bad_bits: {', '.join(bad_bits) or 'none'})"
        shown = sorted(self._bits)
        log.warning(
            "masks of %d cutouts have no bit that is known to spoil a pixel%s, so their masked_fraction is "
            "null: name such bits in cutouts.quality.bad_bits; those that are set are %s%s",
            self._cutouts, asked, ", ".join(shown[:_SHOWN]) or "none", " ..." if len(shown) > _SHOWN else "",
        )  # fmt: skip
