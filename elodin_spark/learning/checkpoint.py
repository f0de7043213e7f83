"""Checkpoints of a training: written whole or not at all, checked when they are read."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import InputError

_KEPT = 2  # the one before stays, in case the disk spoils the last


def save_checkpoint(
    folder: Path, step: int, state: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]
) -> Path:
    """Write a checkpoint, and remove those that are older than the one before.

    Parameters
    ----------
    folder : Path
    step : int
        Steps that were taken.
    state : mapping of str to ndarray
    facts : mapping
        What JSON holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{step:08d}.npz"
    temporary = path.with_suffix(".tmp")
    header = json.dumps({**facts, "step": step}).encode()
    arrays: dict[str, Any] = {**state, "__facts__": np.frombuffer(header, np.uint8)}
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    path.with_suffix(".sha256").write_text(digest + "\n")
    temporary.replace(path)
    for old in sorted(folder.glob("checkpoint-*.npz"))[:-_KEPT]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)
    return path


def latest_checkpoint(folder: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """The latest checkpoint that is whole, and its facts; None where there is none at all.

    Raises
    ------
    InputError
        There are some, and all are damaged.
    """
    found = sorted(folder.glob("checkpoint-*.npz"), reverse=True)
    for path in found:
        try:
            wanted = path.with_suffix(".sha256").read_text().strip()
            if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
                continue
            with np.load(path, allow_pickle=False) as arrays:
                state = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            continue
        facts = json.loads(state.pop("__facts__").tobytes())
        return state, facts
    if found:
        raise InputError(
            f"all checkpoints in {folder} are damaged: remove them to begin again, or restore one of them"
        )
    return None
