"""Running a catalog: batches of files, then what is made from their tables.

The work is cut into batches whose tables are committed together; then come three
products (index, projection, figures), each made once for a set of commits. Whatever is
done is skipped, so the same call after a kill does only what is missing.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elodin_spark.catalog.build.crossmatch import make_positions, make_repeats
from elodin_spark.catalog.build.figures import make_figures
from elodin_spark.catalog.build.label_sheets import make_examples
from elodin_spark.catalog.build.maps import make_projection
from elodin_spark.catalog.build.pipeline import (
    cutting,
    fingerprinting,
    fingerprinting_windows,
    require_windows,
)
from elodin_spark.catalog.build.products import make_index
from elodin_spark.catalog.build.shardedindex import retire
from elodin_spark.catalog.build.transform import fit_to_cutouts, fit_to_files
from elodin_spark.catalog.build.typical import measure_noise, measure_typical
from elodin_spark.catalog.report import SKY_COLUMNS, SkyCounts, sky_lines
from elodin_spark.catalog.storage.store import Commit, Store
from elodin_spark.config.settings import Settings
from elodin_spark.errors import CatalogError, ConfigError, TooManyFailuresError
from elodin_spark.fingerprints.resolve import ResolvedNetwork
from elodin_spark.images.listing import ImageFile, list_files
from elodin_spark.progress import Progress, counted, step
from elodin_spark.stage import StageSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from elodin_spark.spark.tablefiles import Known

log = logging.getLogger(__name__)

RunStage = Literal["cutouts", "fingerprints", "positions", "repeats", "index", "projection", "figures"]
#: In the order they run.
RUN_STAGES: tuple[RunStage, ...] = get_args(RunStage)

_REASONS_SHOWN = 3
_BITS_SHOWN = 8


@dataclass(frozen=True)
class RunReport:
    """What a catalog holds after a run, and what the run did for it.

    Attributes
    ----------
    n_images, n_cutouts, n_failures : int
        Rows of the catalog: images that were cut, windows, refusals.
    batches_done : int
        Batches this run committed; 0 where all had been done before.
    made : tuple of str
        Products this run made.
    seconds : float
        Wall time of this run.
    sky : mapping
        Images without a position and notes, see :meth:`~elodin_spark.catalog.report.SkyCounts.facts`.
    """

    n_images: int
    n_cutouts: int
    n_failures: int
    batches_done: int
    made: tuple[str, ...]
    seconds: float
    sky: Mapping[str, Any] = field(default_factory=lambda: SkyCounts().facts())

    def text(self) -> str:
        """One line for a terminal, and one each for images without a position and for what was assumed."""
        return "\n".join([self._done(), *sky_lines(self.sky)])

    def _done(self) -> str:
        images, cutouts = counted(self.n_images, "image"), counted(self.n_cutouts, "cutout")
        why = " (elodin-spark info says why)" if self.n_failures else ""
        holds = f"{images}, {cutouts}, {self.n_failures:,} refused{why}"
        if not self.batches_done and not self.made:
            return f"nothing to do: {holds}"
        made = f"; made {', '.join(self.made)}" if self.made else ""
        noun = "batch" if self.batches_done == 1 else "batches"
        return f"{holds}; {self.batches_done} {noun} done{made} in {self.seconds:.1f} s"


def run_catalog(
    store: Store,
    settings: Settings,
    network: Callable[[], ResolvedNetwork],
    stages: Sequence[RunStage] = RUN_STAGES,
    *,
    retrain: bool = False,
    config: Settings | None = None,
    files: Sequence[ImageFile] | None = None,
) -> RunReport:
    """Do what is missing.

    Parameters
    ----------
    store : Store
    settings : Settings
        Of the same recipe as the catalog.
    network : callable
        Gives the network; called once, and only where fingerprints are made.
    stages : sequence of str
        A subset of :data:`RUN_STAGES`. Cutouts and fingerprints together are one pass in
        which pixels never leave the worker; cutouts alone are written with their pixels.
    retrain : bool, optional
        Train the index of shards again and rebuild them; the old ones answer until the new are whole.
    config : Settings, optional
        What ``config.yaml`` is to hold from now on; by default it stays as it is.
    files : sequence of ImageFile, optional
        The archive, where it has just been listed.

    Returns
    -------
    RunReport

    Raises
    ------
    TooManyFailuresError
        More inputs were refused than ``run.max_failures``, or all of them; what was done
        stays done.
    CatalogError
        Another run is writing, or two cutouts have the same ID.
    """
    unknown = [stage for stage in stages if stage not in RUN_STAGES]
    if unknown or not stages:
        raise ConfigError(f"stages are some of {', '.join(RUN_STAGES)}; got {', '.join(unknown) or 'none'}")
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(store.lock())
        store.refresh_same()
        store.mend()
        if "cutouts" in stages:
            store.forget_refusals()
        store.sweep()
        if config is not None:
            store.keep_config(config)
        if retrain:
            retire(store)

        @cache
        def spark() -> SparkSession:
            # Only here, so that a run with nothing to do starts no JVM.
            from elodin_spark.spark.session import session

            with step("starting Spark"):
                return stack.enter_context(session(settings.spark, data_source=False))

        work = _Work(store, settings, network, spark)
        done = 0
        if "cutouts" in stages:
            done += work.new_files(files, fused="fingerprints" in stages)
        if "fingerprints" in stages:
            done += work.missing_fingerprints()
        work.forget()
        makers = {
            "positions": make_positions,
            "repeats": make_repeats,
            "index": make_index,
            "projection": make_projection,
            "figures": make_figures,
        }
        if "index" in stages:
            make_examples(store)  # which figures show
        made = []
        for name, make in makers.items():
            with step(f"making the {name}"):
                if name in stages and make(store, settings, spark):
                    made.append(name)
        if "index" in stages:
            with step("measuring distances"):
                measure_noise(store, settings.seed)
                measure_typical(store, settings.seed)
        report = work.report(done, tuple(made), time.monotonic() - started)
    return report


class _Work:
    """The batches of one run."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        network: Callable[[], ResolvedNetwork],
        spark: Callable[[], SparkSession],
    ) -> None:
        self._store, self._settings, self._spark = store, settings, spark
        self._resolve = network
        #: What the network said of the windows that the transform was fitted to; of this run.
        self._known: Path | None = None
        self._unnamed = UnnamedBits()

    @cached_property
    def _network(self) -> ResolvedNetwork:
        return self._resolve()

    def new_files(self, files: Sequence[ImageFile] | None, *, fused: bool) -> int:
        """Cut, and where `fused` fingerprint, the files that no commit names."""
        settings, store = self._settings, self._store
        commits = store.commits()
        known = {path for commit in commits for path in commit.files}
        if files is None:
            with step("listing the files"):
                files = list_files(settings.images.paths, store.meta["root"], settings.images.storage)
        new = [file for file in files if file.path not in known]
        if others := len(known - {file.path for file in files}):
            log.info(
                "%d files of the catalog are not in images.paths; they stay in it. "
                "'elodin-spark remove %s --vanished' takes out those that are gone from the archive",
                others, store.path,
            )  # fmt: skip
        if not new:
            log.info("all %d files are in the catalog already", len(files))
            return 0
        if known:
            log.info("%d of %d files are in the catalog already", len(files) - len(new), len(files))
        if fused and self._wants_transform():
            self._fit(new)
            # Without a window there is nothing to fit to: cut alone, and all refusals are told.
            fused = not self._wants_transform()
        specs = {described: self._spec(fused, described) for described in (False, True)}
        tables = ["images", "cutouts", "failures", *(("fingerprints",) if fused else ())]
        keep_pixels = settings.cutouts.keep_pixels or not fused
        number = max((commit.batch for commit in commits), default=-1) + 1
        what = "cutting and fingerprinting" if fused else "cutting"
        spark = self._spark()
        from elodin_spark.spark.batches import run_batch
        from elodin_spark.spark.inputs import input_batches

        done = batches = 0
        with Progress(len(new), what, "files") as progress:
            for paths, rows, described in input_batches(spark, new, settings):

                def write(
                    targets: dict[str, Path], rows: DataFrame = rows, described: bool = described
                ) -> Known:
                    return run_batch(rows, specs[described], targets, keep_pixels)

                commit = Commit(number + batches, paths, {}, {})
                self._commit(commit, tables, what, write, progress, done, len(paths))
                done, batches = done + len(paths), batches + 1
                progress.to(done)
                self._check_failures()
        self._unnamed.tell(settings.cutouts.quality.bad_bits)
        return batches

    def missing_fingerprints(self) -> int:
        """Fingerprint the batches that were cut by themselves."""
        commits = self._store.commits()
        missing = [each for each in commits if each.files and "fingerprints" not in each.tables]
        if not missing:
            return 0
        spark = self._spark()
        from elodin_spark.spark.batches import fingerprint_batch

        if self._wants_transform():
            self._fit_to_cutouts(missing)
            if self._wants_transform():
                return 0
        recipe = self._store.meta["recipe_id"]
        spec = fingerprinting_windows(
            self._network, recipe, transform=self._store.transform, known=self._known
        )

        what = "fingerprinting"
        with Progress(len(missing), what, "batches") as progress:
            for done, commit in enumerate(missing):
                cutouts = self._store.parts_of(commit, "cutouts")
                _require_pixels(cutouts)

                def write(targets: dict[str, Path], cutouts: Sequence[Path] = cutouts) -> Known:
                    return fingerprint_batch(spark, cutouts, spec, targets)

                # The refusals of the cutting are kept: those of this stage go beside them.
                self._commit(commit, ["fingerprints", "failures"], what, write, progress, done, 1)
                progress.to(done + 1)
                self._check_failures()
        return len(missing)

    def forget(self) -> None:
        """Delete what was kept of the sample that is written now; of a run that fails the next one does."""
        if self._known is not None:
            self._known.unlink(missing_ok=True)

    def _wants_transform(self) -> bool:
        return self._settings.fingerprints.fitted and self._store.transform is None

    def _fit(self, files: Sequence[ImageFile]) -> None:
        self._known = fit_to_files(self._store, self._settings, self._network, self._spark(), files)

    def _fit_to_cutouts(self, commits: Sequence[Commit]) -> None:
        from elodin_spark.spark.batches import read_parts
        from elodin_spark.spark.verbs import as_tiled

        parts = [part for commit in commits for part in self._store.parts_of(commit, "cutouts")]
        _require_pixels(parts)
        tables = [
            pq.read_table(file, columns=["cutout_id"], filters=pc.field("rejected").is_null())
            for part in parts
            for file in sorted(part.glob("*.parquet"))
        ]
        found = np.concatenate(
            [np.empty(0, np.int64), *(table.column("cutout_id").to_numpy() for table in tables)]
        )
        self._known = fit_to_cutouts(
            self._store, self._settings.seed, self._network, as_tiled(read_parts(self._spark(), parts)), found
        )

    def _commit(
        self,
        commit: Commit,
        tables: Sequence[str],
        what: str,
        write: Callable[[dict[str, Path]], Known],
        progress: Progress,
        before: int,
        size: int,
    ) -> None:
        from elodin_spark.spark.watch import watch_tasks

        started = time.monotonic()
        parts = {table: self._store.new_part(table, commit.batch) for table in tables}
        targets = {table: self._store.path / part for table, part in parts.items()}
        with watch_tasks(self._spark(), lambda done, total: progress.to(before + size * done // total)):
            known = write(targets)
        rows = {table: sum(file["rows"] for file in files.values()) for table, files in known.items()}
        if "cutouts" in targets:
            _refuse_collisions(targets["cutouts"])
            self._unnamed.add(targets["cutouts"])
        self._store.commit(
            replace(
                commit,
                tables=commit.tables | {t: [*commit.tables.get(t, []), part] for t, part in parts.items()},
                rows=commit.rows | {t: commit.rows.get(t, 0) + n for t, n in rows.items()},
                contents=commit.contents | {part: known[table] for table, part in parts.items()},
                seconds={**commit.seconds, what: round(time.monotonic() - started, 3)},
                runtime=self._network.runtime if "fingerprints" in tables else commit.runtime,
            )
        )

    def _spec(self, fused: bool, described: bool) -> StageSpec:
        settings, store = self._settings, self._store
        if not fused:
            require_windows(settings.fingerprints)
            return cutting(settings, described=described)
        return fingerprinting(
            settings,
            self._network,
            store.meta["recipe_id"],
            described=described,
            keep_pixels=settings.cutouts.keep_pixels,
            transform=store.transform,
            known=self._known,
        )

    def _check_failures(self) -> None:
        failures, limit = self._store.n_rows("failures"), self._settings.run.max_failures
        if failures > limit:
            raise TooManyFailuresError(
                f"{failures} inputs were refused and run.max_failures is {limit}: {self._reasons()}. "
                "What was done is kept; mend the files or raise the limit with --set run.max_failures=N"
            )

    def report(self, done: int, made: tuple[str, ...], seconds: float) -> RunReport:
        """Sum up; an archive in which nothing could be used is an error."""
        failures, images = self._store.n_rows("failures"), self._store.n_rows("images")
        sky = SkyCounts().add(self._store.dataset("images", SKY_COLUMNS).to_table(columns=SKY_COLUMNS))
        cut = sky.images
        if images and not cut:
            raise TooManyFailuresError(f"none of {counted(images, 'image')} could be used: {self._reasons()}")
        cutouts = self._store.dataset("cutouts", ()).count_rows()
        return RunReport(cut, cutouts, failures, done, made, seconds, sky.facts())

    def _reasons(self) -> str:
        table = self._store.dataset("failures", ["kind"]).to_table(columns=["kind"])
        failures = table.column("kind").to_pylist()
        common = Counter(failures).most_common(_REASONS_SHOWN)
        return ", ".join(f"{count} x {kind}" for kind, count in common) + "; see 'elodin-spark info CATALOG'"


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
        more = " ..." if len(shown) > _BITS_SHOWN else ""
        log.warning(
            "masks of %d cutouts have no bit that is known to spoil a pixel%s, so their masked_fraction is "
            "null: name such bits in cutouts.quality.bad_bits; those that are set are %s%s",
            self._cutouts, asked, ", ".join(shown[:_BITS_SHOWN]) or "none", more,
        )  # fmt: skip


def _refuse_collisions(cutouts: Path) -> None:
    """IDs are hashes: two windows with one ID would silently be one cutout."""
    columns = [
        pq.read_table(file, columns=["cutout_id"]).column(0) for file in sorted(cutouts.glob("*.parquet"))
    ]
    ids = np.concatenate(
        [np.asarray(column, dtype=np.int64) for column in columns] or [np.empty(0, np.int64)]
    )
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        twice = ", ".join(str(i) for i in unique[counts > 1][:5])
        raise CatalogError(
            f"{len(ids) - len(unique)} windows share their ID with another ({twice}): are there two files "
            "of one path below the archive root? If not, report it: no batch was committed"
        )


def _require_pixels(cutouts: Sequence[Path]) -> None:
    for file in (file for part in cutouts for file in sorted(part.glob("*.parquet"))[:1]):
        if "pixels" not in pq.read_schema(file).names:
            raise CatalogError(
                f"the cutouts in {file.parent} have no pixels; run cutouts and fingerprints together"
            )
