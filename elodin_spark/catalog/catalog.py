"""The catalog: one folder with a run's tables and indices, and neighbors by cutout ID."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from elodin_spark.catalog.asking import WINDOW_COLUMNS, Answerer, Question, RepeatsRule, rows_of
from elodin_spark.catalog.checks import (
    check_index,
    keep_config,
    refuse_remote,
    require_recipe,
    resolve_weights,
    settled_recipe,
)
from elodin_spark.catalog.noise import noise_floor
from elodin_spark.catalog.precision import keep_network, settle_precision, settled_precision
from elodin_spark.catalog.products import JACCARD_FILE, checked_index, load_l2, thumbnails_of
from elodin_spark.catalog.removal import Removal, remove, vanished_images
from elodin_spark.catalog.run import RUN_STAGES, RunReport, RunStage, run_catalog
from elodin_spark.catalog.skyproducts import PAIRS, UNMATCHED
from elodin_spark.catalog.store import Store
from elodin_spark.catalog.upkeep import Compaction, compact
from elodin_spark.config import load_config
from elodin_spark.errors import CatalogError, InputError
from elodin_spark.fingerprints.runtimes.choose import choose_runtime
from elodin_spark.fingerprints.weights import Weights
from elodin_spark.images.listing import archive_root
from elodin_spark.neighbors.approximate import ApproximateL2Index
from elodin_spark.neighbors.jaccard import JaccardIndex
from elodin_spark.neighbors.l2 import L2Index
from elodin_spark.neighbors.repeats import Repeats
from elodin_spark.neighbors.search import Index, TieBroken
from elodin_spark.settings import Metric, Settings
from elodin_spark.vectors import to_matrix

_LABELS_SHOWN = 10


class Catalog:
    """One folder holding a run's tables and indices.

    :meth:`create` makes one, :meth:`open` opens one; :meth:`run` does what is missing and
    :meth:`neighbors` asks it what looks alike.

    Parameters
    ----------
    store : Store
    settings : Settings
    weights : Weights, optional
        Resolved from the settings when they are first needed.

    Examples
    --------
    >>> catalog = Catalog.create("runs/carina", settings)                       # doctest: +SKIP
    >>> catalog.run()                                                           # doctest: +SKIP
    >>> catalog.neighbors(catalog.cutout_ids()[0], k=9)                         # doctest: +SKIP
    """

    def __init__(self, store: Store, settings: Settings, weights: Weights | None = None) -> None:
        self._store, self.settings = store, settings
        if weights is not None:
            self._weights = weights  # fills the cached property

    @classmethod
    def create(cls, path: str | Path, settings: Settings) -> Catalog:
        """Make an empty catalog.

        Parameters
        ----------
        path : str or Path
            A folder that does not exist or is empty, on a file system that the driver and
            all executors share.
        settings : Settings
            See :func:`elodin_spark.config.load_config`.

        Raises
        ------
        CatalogError
            `path` holds a catalog already, or anything else.
        InputError
            There are no images where the settings say.
        WeightsError
            The network weights cannot be had.
        """
        refuse_remote(str(path))
        if (Path(path) / "catalog.json").exists():
            raise CatalogError(f"{path} already holds a catalog; open it, or choose another folder")
        root = archive_root(settings.images.paths, settings.images.root, settings.images.storage)
        settings = settings.model_copy(update={"catalog": str(path)})
        weights = resolve_weights(settings)
        check_index(settings)
        network, gate = settle_precision(settings, weights, root)
        settled = settings.model_copy(update={"fingerprints": network})
        runtime = choose_runtime(network).runtime
        recipe = settled_recipe(settled, weights, runtime)
        measured = None if gate is None else gate.record()
        store = Store.create(path, settings, recipe, weights, root, runtime, measured)
        keep_network(store, network)
        return cls(store, settled, weights)

    @classmethod
    def open(cls, path: str | Path, settings: Settings | None = None) -> Catalog:
        """Open a catalog.

        Parameters
        ----------
        path : str or Path
        settings : Settings, optional
            To run it with; those of its last run otherwise.

        Raises
        ------
        CatalogError
            There is none at `path`, `settings` are of another recipe, or they are others than those that
            a run is writing it with.
        """
        store = Store(path)
        if settings is None:
            return cls(store, settled_precision(store, load_config(store.path / "config.yaml")))
        check_index(settings)
        weights = resolve_weights(settings)
        settled = settled_precision(store, settings.model_copy(update={"catalog": str(path)}))
        require_recipe(store, settled, weights)
        asked = settled.model_copy(update={"fingerprints": settings.fingerprints})
        keep_config(store, asked)
        return cls(store, settled, weights)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @cached_property
    def _weights(self) -> Weights:
        return resolve_weights(self.settings)

    def run(self, stages: Sequence[RunStage] = RUN_STAGES, *, retrain: bool = False) -> RunReport:
        """Do what is missing; see :func:`elodin_spark.catalog.run.run_catalog`."""
        report = run_catalog(self._store, self.settings, self._weights, stages, retrain=retrain)
        self._forget()
        return report

    def remove(self, images: Iterable[str | int] = (), cutouts: Iterable[int] = ()) -> Removal:
        """Take images or cutouts out of all answers; see :func:`elodin_spark.catalog.removal.remove`."""
        removal = remove(self._store, images, cutouts)
        self._forget()
        return removal

    def compact(self) -> Compaction:
        """Free the space of what was removed; see :func:`elodin_spark.catalog.upkeep.compact`."""
        compaction = compact(self._store, self.settings)
        self._forget()
        return compaction

    def vanished_images(self) -> list[str]:
        """Paths of images whose files are gone from the archive; they stay until they are removed."""
        return vanished_images(self._store, self.settings)

    def _forget(self) -> None:
        """Read again what may have changed."""
        for name in ("_l2", "_jaccard", "_repeats", "_windows", "_image_paths"):
            self.__dict__.pop(name, None)

    # ---- looking ----------------------------------------------------------------------------

    def cutout_ids(self) -> NDArray[np.int64]:
        """IDs of all cutouts, ascending, shape (n,)."""
        return self._windows.column("cutout_id").to_numpy()

    def parts(self, name: str) -> list[Path]:
        """Folders of Parquet files of a table, with the removed rows that are still in them."""
        return self._store.parts(name)

    def table(self, name: str) -> pa.Table:
        """A whole table, in memory: images, cutouts, fingerprints or failures."""
        if name not in ("images", "cutouts", "fingerprints", "failures"):
            raise InputError(f"no table {name!r}; one of images, cutouts, fingerprints, failures")
        return self._store.dataset(name).to_table()

    def vectors(
        self, cutout_ids: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """IDs (ascending, int64) and vectors (float32, shape (n, d)) of all or some fingerprints."""
        wanted = None
        if cutout_ids is not None:
            wanted = pc.field("cutout_id").isin(pa.array(list(cutout_ids), pa.int64()))
        dataset = self._store.dataset("fingerprints")
        found = dataset.to_table(columns=["cutout_id", "vector"], filter=wanted).sort_by("cutout_id")
        return found.column("cutout_id").to_numpy(), to_matrix(found.column("vector").combine_chunks())

    def neighbors(
        self,
        cutout_id: int,
        k: int | None = None,
        metric: Metric = "l2",
        *,
        allow_overlap: bool = False,
        min_separation_arcsec: float | None = None,
        cone: tuple[float, float, float] | None = None,
        moc: str | None = None,
        repeats: RepeatsRule = "keep",
    ) -> list[dict[str, Any]]:
        """Find the nearest neighbors of a cutout, nearest first, never the cutout itself.

        Parameters
        ----------
        cutout_id : int
        k : int, optional
            How many; ``neighbors.k`` of the settings by default. Fewer come back only where
            the catalog holds no more.
        metric : {"l2", "jaccard"}
            Euclidean distance of the vectors, or 1 - Jaccard index of the label sets, ties
            broken by the Euclidean distance and then by ID.
        allow_overlap, min_separation_arcsec, cone, moc, repeats
            As in :class:`~elodin_spark.catalog.asking.Question`.

        Returns
        -------
        list of dict
            `cutout_id`, `rank`, `distance`, `image` (path below the archive root), `x0`, `y0`,
            `x1`, `y1` (px, half-open), `ra`, `dec` (ICRS deg, or None) and `labels`; where the noise
            floor is known and the metric is l2, `noise`: the distance over the median one of repeats;
            where repeats are grouped, `repeats`: IDs of the known ones of this neighbor.

        Raises
        ------
        UnknownCutoutError
            The catalog has no fingerprint of that cutout.
        CatalogError
            The index has not been built, or not for that metric.
        """
        k = self.settings.neighbors.k if k is None else k
        question = Question(k, metric, allow_overlap, min_separation_arcsec, cone, moc, repeats)
        found = self.answerer(question)([cutout_id])
        rows = self.describe_cutouts(found.column("neighbor_id").to_pylist())
        ranks, distances = found.column("rank").to_pylist(), found.column("distance").to_pylist()
        answers = [
            {"cutout_id": row.pop("cutout_id"), "rank": rank, "distance": distance, **row}
            for row, rank, distance in zip(rows, ranks, distances, strict=True)
        ]
        floor = noise_floor(self._store) if metric == "l2" else None
        for row in answers if floor else ():
            row["noise"] = row["distance"] / floor
        if repeats == "group":
            groups = self._repeats.grouped(cutout_id, [row["cutout_id"] for row in answers], self._l2)
            for row, group in zip(answers, groups, strict=True):
                row["repeats"] = group.tolist()
        return answers

    def describe_cutouts(self, cutout_ids: Iterable[int]) -> list[dict[str, Any]]:
        """Window, image, sky position and labels of cutouts, in the order given.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold one of them.
        """
        ids = np.asarray(list(cutout_ids), dtype=np.int64)
        self._store.removed.refuse(ids, str(self.path))
        rows = self._windows.take(rows_of(self.cutout_ids(), ids, source=str(self.path))).to_pylist()
        labels = self._labels_of(ids)
        return [
            {
                "cutout_id": row["cutout_id"],
                "image": self._image_paths[row["image_id"]],
                **{name: row[name] for name in ("x0", "y0", "x1", "y1", "ra", "dec")},
                "labels": labels[row["cutout_id"]],
            }
            for row in rows
        ]

    def plot_neighbors(
        self, cutout_id: int, path: str | Path, k: int | None = None, metric: Metric = "l2", **how: Any
    ) -> Path:
        """Draw a cutout and its neighbors; see :meth:`neighbors`, which takes the same arguments.

        Returns
        -------
        Path
            The file written: PNG, PDF or SVG by its extension.
        """
        from elodin_spark.display.neighbors import Panel, neighbors_figure
        from elodin_spark.display.style import save_figure

        found = self.neighbors(cutout_id, k, metric, **how)
        rows = [*self.describe_cutouts([cutout_id]), *found]
        thumbnails = thumbnails_of(self._store, pa.array([row["cutout_id"] for row in rows], pa.int64()))
        rows = [{name: row[name] for name in row if name not in ("noise", "repeats")} for row in rows]
        query, *others = (Panel(**row, thumbnail=image) for row, image in zip(rows, thumbnails, strict=True))
        return save_figure(neighbors_figure(query, others, metric=metric, subtitle=self.describe()), path)

    def repeats(self) -> pa.Table:
        """Pairs of cutouts of one place in different images: `id_a`, `id_b`, `sep_arcsec`, `dmjd`.

        Raises
        ------
        CatalogError
            ``run.repeats_arcsec`` was not set when it was run.
        """
        pairs = pq.read_table(self._store.product_folder("repeats") / PAIRS)
        gone = pa.array(self._store.removed.cutouts)
        return pairs.filter(~(pc.field("id_a").isin(gone) | pc.field("id_b").isin(gone)))

    def unmatched_positions(self) -> pa.Table:
        """Positions of the catalog that lie on no image: `position_id`, `ra`, `dec` (deg).

        Raises
        ------
        CatalogError
            No catalog of positions was cut.
        """
        return pq.read_table(self._store.product_folder("positions") / UNMATCHED)

    def figures(self) -> list[Path]:
        """The figures the last run drew."""
        return sorted(self._store.product_folder("figures").glob("*.png"))

    def describe(self) -> str:
        """One line for figures and outputs: backbone, weights, recipe."""
        return self._store.describe()

    def info(self) -> dict[str, Any]:
        """Tables, counts, recipe, timings, failures and disk use, as plain values."""
        from elodin_spark.catalog.report import gather

        return gather(self._store)

    # ---- what a query needs, loaded once ----------------------------------------------------

    def answerer(self, question: Question) -> Answerer:
        """What answers a question, for any number of cutouts.

        Raises
        ------
        InputError
            The MOC cannot be read.
        CatalogError
            The index has not been built, or not for that metric.
        """
        removed, index = self._store.removed, self._index(question.metric)
        repeats = None if question.repeats == "keep" else self._repeats
        return Answerer(question, index, self._windows, str(self.path), removed, repeats)

    def _index(self, metric: Metric) -> Index:
        return self._l2 if metric == "l2" else TieBroken(self._jaccard, self._l2)

    @cached_property
    def _l2(self) -> L2Index | ApproximateL2Index:
        return load_l2(self._store)

    @cached_property
    def _jaccard(self) -> JaccardIndex:
        file = checked_index(self._store)[0] / JACCARD_FILE
        if not file.exists():
            raise CatalogError(
                f"{self.path} has no Jaccard index; add jaccard to neighbors.metrics and run it again"
            )
        return JaccardIndex.load(file, without=self._store.removed.cutouts)

    @cached_property
    def _repeats(self) -> Repeats:
        if self._store.product("repeats") is None:
            raise CatalogError(f"{self.path} knows no repeats: set run.repeats_arcsec and run it again")
        pairs = self.repeats()
        return Repeats(pairs.column("id_a").to_numpy(), pairs.column("id_b").to_numpy())

    @cached_property
    def _windows(self) -> pa.Table:
        return self._store.dataset("cutouts").to_table(columns=WINDOW_COLUMNS).sort_by("cutout_id")

    @cached_property
    def _image_paths(self) -> dict[int, str]:
        images = self._store.dataset("images").to_table(columns=["image_id", "path"])
        return dict(zip(*(column.to_pylist() for column in images.columns), strict=True))

    def _labels_of(self, ids: NDArray[np.int64]) -> dict[int, list[str]]:
        found = self._store.dataset("fingerprints").to_table(
            columns=["cutout_id", "labels"], filter=pc.field("cutout_id").isin(pa.array(ids))
        )
        named: dict[int, list[str]] = {int(i): [] for i in ids}
        for row in found.to_pylist():
            named[row["cutout_id"]] = [
                self._store.label_name(label) for label in row["labels"][:_LABELS_SHOWN]
            ]
        return named
