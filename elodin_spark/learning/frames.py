"""A Spark DataFrame of cutouts, written as Parquet once for all that learn from it."""

from __future__ import annotations

import atexit
import secrets
import shutil
import threading
from pathlib import Path
from typing import Any

from elodin_spark.config.feed import FeedReader
from elodin_spark.errors import InputError
from elodin_spark.learning.cutoutset import CutoutSet, image_column
from elodin_spark.learning.feed import choose_reader, petastorm_folder

#: What is read and shuffled at once: small enough that there are many, large enough to be read quickly.
ROW_GROUP_BYTES = 8 * 2**20

_lock = threading.Lock()
#: DataFrames that are written, with where.
_written: list[tuple[Any, Path, Path]] = []


def from_frame(
    frame: Any,
    folder: str | Path,
    image: str | None = None,
    label: str | None = None,
    reader: FeedReader = "auto",
) -> CutoutSet:
    """Write the cutouts of a Spark DataFrame for a feed.

    What is written is kept: the same DataFrame, in this process and this `folder`, is not written again. It
    is deleted when Python exits; to keep it longer write Parquet yourself and read that.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
        Other columns than those that are needed are left out.
    folder : path
        For the files, on a file system that the executors and every reader mount.
    image, label : str, optional
        See :meth:`CutoutSet.read`.
    reader : {"auto", "petastorm", "arrow"}
        What writes: petastorm's dataset converter, where it is installed, or Spark itself.

    Raises
    ------
    InputError
        A column is missing or of another type, or there are no rows.
    MissingDependencyError
        petastorm is asked for by name and cannot be imported.
    """
    where = Path(folder).absolute()
    image = image or image_column(frame.columns, "the DataFrame")
    wanted = [image, *(["pixel_shape"] if image == "pixels" else []), *([label] if label else [])]
    if missing := [name for name in wanted if name not in frame.columns]:
        raise InputError(
            f"the DataFrame has no column {', '.join(missing)}; it has {', '.join(frame.columns)}: name the "
            "column of the images, or of the labels"
        )
    wanted_frame = frame.select(*dict.fromkeys(wanted))
    writer = choose_reader(reader, [str(where)])
    write = petastorm_folder if writer == "petastorm" else _spark_folder
    return CutoutSet.read(write(wanted_frame, where, ROW_GROUP_BYTES), image, label)


def _spark_folder(frame: Any, folder: Path, row_group_bytes: int) -> Path:
    """As :func:`~elodin_spark.learning.feed.petastorm_folder`, by Spark alone."""
    with _lock:
        for known, parent, path in _written:
            if parent == folder and path.is_dir() and known.sameSemantics(frame):
                return path
        path = folder / f"cutouts-{secrets.token_hex(8)}"
        frame.write.option("compression", "snappy").option("parquet.block.size", row_group_bytes).parquet(
            f"file://{path}"
        )
        atexit.register(shutil.rmtree, path, ignore_errors=True)
        _written.append((frame, folder, path))
        return path
