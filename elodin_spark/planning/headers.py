"""The headers of an archive, added up; a few whole rows are kept as a sample.

What is held does not grow with the archive: sums, and of each range of sizes the images with
the smallest hash. The sample is the same however the archive is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from elodin_spark.catalog.build.pipeline import from_files
from elodin_spark.catalog.report import SkyCounts
from elodin_spark.config.settings import Positions, Settings
from elodin_spark.images.listing import ImageFile, files_to_batches
from elodin_spark.planning.counts import CountSpec
from elodin_spark.progress import Progress
from elodin_spark.sampling.sample import sample_keys
from elodin_spark.stage import run_plain

#: Up to this many files are read in this process: a Spark session costs more.
PLAIN_FILES = 256
#: Files described at once by Spark. Their headers, about 6 kB each, are held on the driver.
FILES_AT_ONCE = 4096
#: Rows that the size of the images table is measured on.
_EXAMPLES = 64
_MESSAGES = 3
_PLAIN_ROWS = 16

Row = dict[str, Any]


@dataclass
class Headers:
    """Sums over the rows of :data:`~elodin_spark.planning.counts.COUNTED`.

    Attributes
    ----------
    images : int
        Image planes, or color groups; refused ones too.
    usable : int
        Of these, those that headers do not rule out.
    pixels, largest_px : int
        Of the usable ones, together and of the largest.
    windows : int
        Of the usable ones, where headers tell.
    dense_windows, dense_px : int
        Likewise in dense mode, where it fits the settings.
    refused : Counter of str
        Kind to count.
    messages : list of str
        The first few refusals.
    sky : SkyCounts
        Usable images without a position on the sky.
    examples, refusals : list of dict
        The first rows, and the first refused ones after these.
    """

    seed: int
    keep: int
    images: int = 0
    usable: int = 0
    pixels: int = 0
    largest_px: int = 0
    windows: int = 0
    dense_windows: int = 0
    dense_px: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    sky: SkyCounts = field(default_factory=SkyCounts)
    examples: list[Row] = field(default_factory=list)
    refusals: list[Row] = field(default_factory=list)
    _strata: dict[int, list[tuple[int, int, Row]]] = field(default_factory=dict)
    _stratum_px: Counter[int] = field(default_factory=Counter)

    def add(self, table: pa.Table) -> None:
        """Add rows of :data:`~elodin_spark.planning.counts.COUNTED`."""
        self.sky.add(table.filter(pc.is_null(table.column("refused"))))
        keys = sample_keys(table.column("image_id").to_numpy(), self.seed).tolist()
        for key, row in zip(keys, table.to_pylist(), strict=True):
            self.images += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(row | {"targets": None})
            elif row["refused"] is not None and len(self.refusals) < _EXAMPLES:
                self.refusals.append(row)
            if row["refused"] is None:
                self._add_usable(key, row)
            else:
                self._add_refused(row)

    def _add_usable(self, key: int, row: Row) -> None:
        px = row["width"] * row["height"]
        self.usable += 1
        self.pixels += px
        self.largest_px = max(self.largest_px, px)
        self.windows += row["windows"] or 0
        self.dense_windows += row["dense_windows"] or 0
        self.dense_px += row["dense_px"] or 0
        # By powers of two, so that no size that matters is missed.
        size = px.bit_length()
        self._stratum_px[size] += px
        stratum = self._strata.setdefault(size, [])
        stratum.append((key, row["image_id"], row))
        stratum.sort(key=lambda entry: entry[:2])
        del stratum[self.keep :]

    def _add_refused(self, row: Row) -> None:
        kind, _, message = row["refused"].partition(": ")
        self.refused[kind] += 1
        if len(self.messages) < _MESSAGES:
            self.messages.append(f"{row['path']}: {message}")

    def sample(self) -> list[Row]:
        """Up to `keep` usable images, from each range of sizes in proportion to its pixels."""
        taken: Counter[int] = Counter()
        chosen: list[Row] = []
        while len(chosen) < self.keep:
            open_strata = [size for size, rows in self._strata.items() if taken[size] < len(rows)]
            if not open_strata:
                break
            # The rule of d'Hondt: whoever has most pixels for each image taken comes next.
            size = max(open_strata, key=lambda size: (self._stratum_px[size] / (taken[size] + 1), size))
            chosen.append(self._strata[size][taken[size]][2])
            taken[size] += 1
        return chosen


def failure_row(row: Mapping[str, Any]) -> Row:
    """A refused row of COUNTED as one of ``schema.FAILURES``."""
    kind, _, message = row["refused"].partition(": ")
    failure = {
        "stage": "images" if row["status"] != "ok" else "cutouts",
        "uri": row["uri"],
        "hdu": row["hdu"],
    }
    return failure | {"cutout_id": None, "kind": kind, "message": message}


def read_headers(files: Sequence[ImageFile], settings: Settings, keep: int) -> Headers:
    """Describe and count an archive, in this process or, where it is large, on Spark.

    Parameters
    ----------
    files : sequence of ImageFile
    settings : Settings
    keep : int
        Size of the sample.

    Returns
    -------
    Headers

    Raises
    ------
    InputError
        The catalog of positions cannot be read.
    """
    found = Headers(settings.seed, keep)
    joined = settings.images.color is not None or isinstance(settings.cutouts.generator, Positions)
    read = _on_spark if joined or len(files) > PLAIN_FILES else _in_process
    with Progress(len(files), "reading headers", "files") as progress:
        for done, table in read(files, settings):
            found.add(table)
            progress.to(done)
    return found


def _in_process(files: Sequence[ImageFile], settings: Settings) -> Iterator[tuple[int, pa.Table]]:
    spec = from_files(settings, CountSpec.from_settings(settings))
    for start in range(0, len(files), _PLAIN_ROWS):
        some = files[start : start + _PLAIN_ROWS]
        yield start + len(some), run_plain(spec, files_to_batches(some))


def _on_spark(files: Sequence[ImageFile], settings: Settings) -> Iterator[tuple[int, pa.Table]]:
    from elodin_spark.spark.inputs import input_batches
    from elodin_spark.spark.runner import run_stage
    from elodin_spark.spark.session import session

    count = CountSpec.from_settings(settings)
    run = settings.run.model_copy(update={"batch_images": FILES_AT_ONCE})
    large = settings.model_copy(update={"run": run})
    done = 0
    with session(settings.spark, data_source=False) as spark:
        for paths, rows, described in input_batches(spark, files, large):
            spec = from_files(settings, count, described=described)
            done += len(paths)
            table: pa.Table = run_stage(rows, spec).toArrow()
            yield done, table.sort_by([("path", "ascending"), ("hdu", "ascending")])
