"""Cutouts a second to batches for a training: the feed by both readers, against what one writes by hand.

All ways read the same JPEG cutouts, in row groups of one size, and make RGB images of one side:

- ``loop``: all of the file in memory, each JPEG decoded in full by Pillow and resized, in the file's order;
- ``petastorm alone``: its batch reader with the work of the loop in a ``TransformSpec``, row groups shuffled;
- ``arrow`` and ``petastorm``: the feed, row groups and rows shuffled, by each of its readers.

Pictures that cannot be decoded are left out by all. Each runs once unmeasured, and then by turns.
"""

from __future__ import annotations

import argparse
import io
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import interleaved, machine, one_thread, report
from PIL import Image

from elodin_spark.config.feed import FeedSettings
from elodin_spark.fingerprints.runtimes.framework import installed
from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.feed import Feed, load_petastorm


def decoded(content: bytes, side: int) -> np.ndarray | None:
    """What the loop makes of a picture: decoded in full, then resized."""
    try:
        return resize_window(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), side)
    except OSError:
        return None


def loop(file: Path, side: int, batch: int) -> int:
    """Images made by hand."""
    held: list[np.ndarray] = []
    count = 0
    for content in pq.read_table(file, columns=["jpeg"]).column("jpeg").to_pylist():
        image = decoded(content, side)
        if image is None:
            continue
        held.append(image)
        if len(held) == batch:
            count += len(np.stack(held))
            held = []
    return count + len(held)


def petastorm_alone(file: Path, side: int, batch: int, threads: int) -> int:
    """Images made as petastorm's examples do; batches are copied together from its row groups."""
    petastorm = load_petastorm()

    def transform(rows: Any) -> Any:
        rows["image"] = [decoded(content, side) for content in rows["jpeg"]]
        return rows[rows["image"].notna()][["image"]]

    spec = petastorm.transform.TransformSpec(
        transform, edit_fields=[("image", np.uint8, (side, side, 3), False)], selected_fields=["image"]
    )
    count = 0
    reader = petastorm.make_batch_reader(
        f"file://{file}", schema_fields=["jpeg"], transform_spec=spec, workers_count=threads, seed=1
    )
    try:
        # Twice: now and then its first end comes before all row groups did.
        for part in itertools.chain(reader, reader):
            for start in range(0, len(part.image), batch):
                count += len(np.array(part.image[start : start + batch]))
    finally:
        reader.stop()
        reader.join()
    return count


def ways(file: Path, side: int, batch: int, threads: list[int]) -> dict[str, Callable[[], int]]:
    """Name of each way to what runs it."""
    found: dict[str, Callable[[], int]] = {"loop": lambda: loop(file, side, batch)}
    cutouts = CutoutSet.read(file)

    def fed(reader: Any, count: int) -> Callable[[], int]:
        settings = FeedSettings(side_px=side, batch_size=batch, threads=count, reader=reader)
        return lambda: sum(len(images) for (images,) in Feed(cutouts, settings))

    def alone(count: int) -> Callable[[], int]:
        return lambda: petastorm_alone(file, side, batch, count)

    for count in threads:
        if installed("petastorm"):
            if count:
                found[f"petastorm alone, threads: {count}"] = alone(count)
            found[f"petastorm, threads: {count}"] = fed("petastorm", count)
        found[f"arrow, threads: {count}"] = fed("arrow", count)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Parquet file with a column jpeg")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--row-group", type=int, default=250, help="rows")
    parser.add_argument("--side", type=int, default=64, help="of the images, px")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cutouts.parquet"
        some = pq.read_table(options.data, columns=["jpeg"]).slice(0, options.rows)
        pq.write_table(some, file, row_group_size=options.row_group)
        work = ways(file, options.side, options.batch, options.threads)
        counts: dict[str, set[int]] = {name: set() for name in work}
        counted = {name: lambda name=name: counts[name].add(work[name]()) for name in work}
        taken = interleaved(counted, options.repeats)
    ((images,),) = set(map(frozenset, counts.values()))  # of all ways and turns
    rows = [
        {
            "way": name,
            "images/s": images / seconds["wall"],
            "images/s of CPU": images / seconds["cpu"],
            "times the loop, CPU": taken["loop"]["cpu"] / seconds["cpu"],
        }
        for name, seconds in taken.items()
    ]
    about = {
        "images": images,
        "side_px": options.side,
        "batch": options.batch,
        "row_group": options.row_group,
    }
    facts = machine("petastorm", "pyarrow", "pillow", "numpy")
    report({"machine": facts, **about, "repeats": options.repeats}, rows, as_json=options.json)


if __name__ == "__main__":
    main()
