"""The catalog: one folder with a run's tables and indices, and neighbors by cutout ID."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from elodin_spark.catalog.build.checks import (
    check_index,
    keep_config,
    recipe_of,
    refuse_remote,
    require_recipe,
)
from elodin_spark.catalog.build.products import load_l2, thumbnails_of
from elodin_spark.catalog.build.repeatability import noise_floor
from elodin_spark.catalog.build.resolve import keep_network, settle_network, settled_network
from elodin_spark.catalog.build.typical import Typical, typical_of
from elodin_spark.catalog.cutout import Cutout
from elodin_spark.catalog.reading import Contents
from elodin_spark.catalog.search.engine import WINDOW_COLUMNS, NeighborSearch, rows_of
from elodin_spark.catalog.search.figures import answers_of, grouped_repeats
from elodin_spark.catalog.search.html import html_table
from elodin_spark.catalog.search.indices import LabelIndices
from elodin_spark.catalog.search.neighbors import Neighbors
from elodin_spark.catalog.search.options import SearchOptions, with_search_options
from elodin_spark.catalog.search.positions import Places
from elodin_spark.catalog.search.query import (
    Query,
    ResolvedQuery,
    by_id,
    by_image,
    by_pixel,
    by_position,
    by_vector,
)
from elodin_spark.catalog.storage.removal import Removal, remove, vanished_images
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.load import load_config
from elodin_spark.config.settings import Metric, Settings
from elodin_spark.errors import CatalogError, InputError
from elodin_spark.fingerprints.runtimes.selection import choose_runtime
from elodin_spark.fingerprints.weights.resolve import Weights, resolve_settings
from elodin_spark.images.listing import archive_root
from elodin_spark.neighbors.base import Index
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.suppression import Repeats
from elodin_spark.progress import counted, step
from elodin_spark.schema import ANSWERS, MEASURES, MORE_ANSWERS, NEIGHBORS, answer_schema

if TYPE_CHECKING:
    from elodin_spark.catalog.build.run import RunReport, RunStage
    from elodin_spark.catalog.storage.compaction import Compaction


class Catalog(Contents):
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
    >>> from elodin_spark import Catalog
    >>> catalog = Catalog.open("runs/mine")
    >>> len(catalog.cutout_ids())
    100
    >>> nearest = catalog.neighbors(catalog.cutout_ids()[0], k=5)
    >>> len(nearest)
    5
    """

    def __init__(self, store: Store, settings: Settings, weights: Weights | None = None) -> None:
        super().__init__(store)
        self.settings = settings
        self._filtered: dict[str, NDArray[np.int64]] = {}
        self._taken_out = store.meta.get("removed")
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
            See :func:`elodin_spark.config.load.load_config`.

        Returns
        -------
        Catalog
            Empty: :meth:`run` fills it.

        Raises
        ------
        CatalogError
            `path` holds a catalog already, or anything else.
        InputError
            There are no images where the settings say.
        WeightsError
            The network weights cannot be had.

        Examples
        --------
        >>> from elodin_spark import Catalog, load_config
        >>> catalog = Catalog.create("runs/another", load_config("mine.yaml"))
        >>> catalog.path.name
        'another'
        """
        refuse_remote(str(path))
        if (Path(path) / "catalog.json").exists():
            raise CatalogError(f"{path} already holds a catalog; open it, or choose another folder")
        root = archive_root(settings.images.paths, settings.images.root, settings.images.storage)
        settings = settings.model_copy(update={"catalog": str(path)})
        with step("reading the weights"):
            weights = resolve_settings(settings.fingerprints)
        check_index(settings)
        with step("settling the precision of the network"):
            network, gate = settle_network(settings, weights, root)
        settled = settings.model_copy(update={"fingerprints": network})
        with step("preparing the network"):
            runtime = choose_runtime(network).runtime
            recipe = recipe_of(settled, weights, runtime)
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
            Its folder.
        settings : Settings, optional
            To run it with; those of its last run otherwise.

        Returns
        -------
        Catalog

        Raises
        ------
        CatalogError
            There is none at `path`, `settings` are of another recipe, or they are others than those that
            a run is writing it with.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").table("images").num_rows
        4
        """
        store = Store(path)
        if settings is None:
            return cls(store, settled_network(store, load_config(store.path / "config.yaml")))
        check_index(settings)
        with step("reading the weights"):
            weights = resolve_settings(settings.fingerprints)
        settled = settled_network(store, settings.model_copy(update={"catalog": str(path)}))
        require_recipe(store, settled, weights)
        asked = settled.model_copy(update={"fingerprints": settings.fingerprints})
        keep_config(store, asked)
        return cls(store, settled, weights)

    @cached_property
    def _weights(self) -> Weights:
        return resolve_settings(self.settings.fingerprints)

    def run(self, stages: Sequence[RunStage] | None = None, *, retrain: bool = False) -> RunReport:
        """Do what is missing: a run that was stopped goes on where it stopped.

        Parameters
        ----------
        stages : sequence of str, optional
            Some of ``cutouts``, ``fingerprints``, ``positions``, ``repeats``, ``index``, ``projection`` and
            ``figures``, done in this order; all by default.
        retrain : bool
            Train the index of shards again and rebuild them.

        Returns
        -------
        RunReport
            What the catalog holds now, and what was done for it.

        Raises
        ------
        ConfigError
            There is no such stage.
        TooManyFailuresError
            More inputs were refused than ``run.max_failures``, or all of them; what was done stays done.
        CatalogError
            Another run is writing.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> report = Catalog.open("runs/mine").run()
        >>> report.n_images, report.n_cutouts, report.n_failures, report.batches_done
        (4, 100, 0, 0)
        """
        from elodin_spark.catalog.build.run import RUN_STAGES, run_catalog

        stages = RUN_STAGES if stages is None else stages
        report = run_catalog(self._store, self.settings, self._weights, stages, retrain=retrain)
        self._forget()
        return report

    def remove(
        self, images: Iterable[str | int] = (), cutouts: Iterable[int] = (), *, dry_run: bool = False
    ) -> Removal:
        """Take images, with all their cutouts, and single cutouts out of all answers.

        No run brings them back. The files keep their size until :meth:`compact`.

        Parameters
        ----------
        images : iterable of str or int
            Paths below the archive root, which stand for all planes of the file, or image IDs.
        cutouts : iterable of int
            Cutout IDs; those that were removed before are skipped.
        dry_run : bool
            Remove nothing; say what would be.

        Returns
        -------
        Removal

        Raises
        ------
        InputError
            Nothing is given, or an image is not in the catalog.
        UnknownCutoutError
            A cutout is not in the catalog.
        CatalogError
            Nothing would be left, or another process is writing.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> print(Catalog.open("runs/mine").remove(["tile_000_000.fits"], dry_run=True).text())
        would remove 25 cutouts and 1 image; nothing was removed
          tile_000_000.fits, 25 cutouts
        """
        removal = remove(self._store, images, cutouts, dry_run=dry_run)
        self._forget()
        return removal

    def compact(self) -> Compaction:
        """Free the space of what was removed, and merge small shards; answers stay the same.

        Returns
        -------
        Compaction

        Raises
        ------
        CatalogError
            Another process is writing, or a file is damaged.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> print(Catalog.open("runs/mine").compact().text())
        dropped 0 rows of tables and 0 vectors of the index
        """
        from elodin_spark.catalog.storage.compaction import compact

        compaction = compact(self._store, self.settings)
        self._forget()
        return compaction

    def vanished_images(self) -> list[str]:
        """Paths of images whose files are gone from the archive; they stay until they are removed.

        Returns
        -------
        list of str
            Below the archive root, ascending.

        Raises
        ------
        InputError
            The archive cannot be seen, or none of its files can: it is rather not mounted than empty.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").vanished_images()
        []
        """
        return vanished_images(self._store, self.settings)

    def _forget(self) -> None:
        """Read again what may have changed."""
        for name in ("_l2", "_by_label", "_repeats", "_windows", "_image_paths", "places"):
            self.__dict__.pop(name, None)
        self._filtered = {}
        self._taken_out = self._store.meta.get("removed")

    def _look(self) -> None:
        """Forget what was loaded where another process has taken something out since."""
        self._store.look()
        if self._store.meta.get("removed") != self._taken_out:
            self._forget()

    # ---- looking ----------------------------------------------------------------------------

    def cutout_ids(self) -> NDArray[np.int64]:
        """IDs of all cutouts.

        Returns
        -------
        ndarray of int64, shape (n,)
            Ascending.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").cutout_ids().shape
        (100,)
        """
        self._look()
        return self._windows.column("cutout_id").to_numpy()

    def resolve(self, query: int | Iterable[int] | Query | ResolvedQuery) -> ResolvedQuery:
        """Look up what neighbors are to be asked of, once for several searches.

        Parameters
        ----------
        query : int, or iterable of int, or Query
            Cutout IDs, or what :class:`~elodin_spark.catalog.search.query.Query` says.

        Returns
        -------
        Query
            To give to :meth:`neighbors` and :meth:`plot_neighbors`.

        Raises
        ------
        InputError
            A position has no cutout; a vector or an image cannot be used.
        CatalogError
            The index has not been built; the weights are not those of the catalog.
        WeightsError
            The weights of the network, which an image needs, cannot be had.

        Examples
        --------
        >>> from elodin_spark import Catalog, Query
        >>> catalog = Catalog.open("runs/mine")
        >>> query = catalog.resolve(Query.from_pixel("tile_000_000.fits", 100, 80))
        >>> len(catalog.neighbors(query, k=3)), len(catalog.neighbors(query, k=3, metric="jaccard"))
        (3, 3)
        """
        if isinstance(query, ResolvedQuery):
            return query
        if not isinstance(query, Query):
            query = Query.from_id(query)
        self._look()
        if query.way == "position":
            return by_position(self.places, query.value, query.radius_arcsec)
        if query.way == "pixel":
            return by_pixel(self._store, self._windows, self._l2.contains, query.value)
        if query.way == "vector":
            return by_vector(self._store, self.settings, query.value, self._l2.dimension)
        if query.way == "image":
            require_recipe(self._store, self.settings, self._weights)
            return by_image(self._store, self.settings, self._weights, query.value)
        return by_id(query.value)

    @with_search_options
    def neighbors(
        self,
        query: int | Iterable[int] | Query | ResolvedQuery,
        k: int | None = None,
        metric: Metric = "l2",
        **options: Any,
    ) -> Neighbors:
        """Find the nearest neighbors of a cutout, nearest first, never the cutout itself.

        Parameters
        ----------
        query : int, or iterable of int, or Query, or ResolvedQuery
            The ID of a cutout, or of several; what :class:`~elodin_spark.catalog.search.query.Query` says,
            or :meth:`resolve` has looked up.
        k, metric, **options
            See :class:`~elodin_spark.catalog.search.options.SearchOptions`; ``**dict(options)`` of one of
            these gives all of them.

        Returns
        -------
        Neighbors
            Rows of :data:`elodin_spark.schema.ANSWERS`; `query_id` is -1 where no cutout was asked with.
            Where repeats are grouped also `repeats`, where duplicates are folded `duplicates`, with
            `explain` `explain`: `label` and `weight` of up to five labels, see :meth:`LabelIndices.explain`.

        Raises
        ------
        UnknownCutoutError
            The catalog has no fingerprint of that cutout.
        InputError
            An option is misspelt or out of range; a filter cannot be understood. Else as :meth:`resolve`.
        CatalogError
            The index has not been built, or not for that metric.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> len(catalog.neighbors(catalog.cutout_ids()[0], k=3, where="nodata_fraction < 0.5"))
        3
        """
        asked = SearchOptions(k=k, metric=metric, **options)
        found = self.resolve(query)
        search = self.search(asked)
        answer = self.answer(search, found)
        described = self.describe_cutouts(answer.column("neighbor_id").to_pylist())
        columns = [
            *(answer.column(name) for name in (*NEIGHBORS.names, *MEASURES.names)),
            *(
                pa.array([row[field.name] for row in described], field.type)
                for field in list(ANSWERS)[len(NEIGHBORS) + len(MEASURES) :]
            ),
        ]
        more = [name for name in MORE_ANSWERS.names if name in answer.column_names]
        fields = [*ANSWERS, *(MORE_ANSWERS.field(name) for name in more)]
        table = pa.table([*columns, *(answer.column(name) for name in more)], schema=pa.schema(fields))
        return Neighbors(
            table, found, search.options, self.describe(), self.typical(metric), self._thumbnails
        )

    def search(self, options: SearchOptions) -> NeighborSearch:
        """The engine that answers by some options, for any number of cutouts.

        Parameters
        ----------
        options : SearchOptions

        Returns
        -------
        NeighborSearch
            Called with cutout IDs, it gives a table of :data:`elodin_spark.schema.NEIGHBORS`.

        Raises
        ------
        InputError
            The MOC cannot be read, or the condition is not one on this catalog.
        CatalogError
            The index has not been built, or not for that metric.

        Examples
        --------
        >>> from elodin_spark import Catalog, SearchOptions
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.search(SearchOptions(k=3))(catalog.cutout_ids()[:2]).num_rows
        6
        """
        self._look()
        if options.k is None:
            options = options.but(k=self.settings.neighbors.k)
        kept = None if options.where is None else self._kept(options.where)
        repeats = None if options.repeats == "keep" else self._repeats
        index, removed = self._index(options.metric), self._store.removed
        return NeighborSearch(options, index, self._windows, str(self.path), kept, removed, repeats, self._l2)

    def answer(self, search: NeighborSearch, query: ResolvedQuery) -> pa.Table:
        """The neighbors of a query, not described.

        Parameters
        ----------
        search : NeighborSearch
            From :meth:`search`.
        query : ResolvedQuery
            From :meth:`resolve`.

        Returns
        -------
        pyarrow.Table
            Of :func:`elodin_spark.schema.answer_schema`.

        Examples
        --------
        >>> from elodin_spark import Catalog, SearchOptions
        >>> catalog = Catalog.open("runs/mine")
        >>> query = catalog.resolve(catalog.cutout_ids()[0])
        >>> catalog.answer(catalog.search(SearchOptions(k=3)), query).column("rank").to_pylist()
        [1, 2, 3]
        """
        options = search.options
        found = search(query.cutout_ids) if query.outside is None else search.outside(query.outside)
        distances = found.column("distance").to_numpy()
        typical = self.typical(options.metric)
        floor = noise_floor(self._store) if options.metric == "l2" else None
        columns: dict[str, Any] = {
            "distance_over_repeat_median": [None] * len(distances) if floor is None else distances / floor,
            "distance_percentile": [None if typical is None else typical.percentile(d) for d in distances],
        }
        if options.repeats == "group":
            columns["repeats"] = grouped_repeats(found, self._repeats, self._l2)
        if options.fold_duplicates:
            columns["duplicates"] = [
                group for query_id, near in answers_of(found) for group in search.folded(query_id, near)
            ]
        if options.explain:
            columns["explain"] = self._by_label.explain(query, found)
        schema = answer_schema(columns)
        arrays = (pa.array(values, schema.field(name).type) for name, values in columns.items())
        return pa.table([*found.columns, *arrays], schema=schema)

    def _thumbnails(self, cutout_ids: Sequence[int]) -> list[bytes | None]:
        return list(thumbnails_of(self._store, pa.array(cutout_ids, pa.int64())))

    def typical(self, metric: Metric = "l2") -> Typical | None:
        """What distances are usual among its cutouts.

        Parameters
        ----------
        metric : {"l2", "jaccard", "cosine", "label_scores", "rank_fusion"}

        Returns
        -------
        Typical or None
            None where no run has measured them.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").typical().percentile(0.0)
        0.0
        """
        return typical_of(self._store, metric)

    def describe_cutouts(self, cutout_ids: Iterable[int]) -> list[dict[str, Any]]:
        """Window, image, sky position and labels of cutouts.

        Parameters
        ----------
        cutout_ids : iterable of int

        Returns
        -------
        list of dict
            In the order given: `cutout_id`, `image` (path below the archive root), `x0`, `y0`, `x1`, `y1`
            (px, half-open), `ra`, `dec` (of the center, ICRS deg, or None) and `labels`.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold one of them.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> (first,) = catalog.describe_cutouts(catalog.cutout_ids()[:1])
        >>> first["x1"] - first["x0"], first["y1"] - first["y0"]
        (64, 64)
        """
        self._look()
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

    def cutout(self, cutout_id: int) -> Cutout:
        """One cutout, with its pixels as the archive has them.

        Parameters
        ----------
        cutout_id : int

        Returns
        -------
        Cutout
            Its pixels are read from the archive when they are first asked for.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold it.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.cutout(catalog.cutout_ids()[0]).write("cutout.fits").name
        'cutout.fits'
        """
        (row,) = self.describe_cutouts([cutout_id])
        images = self._store.dataset("images")
        image_id = self._windows.column("image_id")[
            int(rows_of(self.cutout_ids(), [cutout_id], source="")[0])
        ]
        (image,) = images.to_table(filter=among("image_id", [image_id.as_py()])).to_pylist()
        (thumbnail,) = self._thumbnails([cutout_id])
        place = {name: row[name] for name in ("x0", "y0", "x1", "y1", "ra", "dec", "labels")}
        return Cutout(
            row["cutout_id"], image, **place, thumbnail=thumbnail, _storage=self.settings.images.storage
        )

    def cutout_at(
        self,
        position: Any = None,
        radius_arcsec: Any = None,
        *,
        image: Any = None,
        pixel: tuple[float, float] | None = None,
    ) -> int:
        """The ID of the cutout nearest to a position, or to a pixel of an image.

        Parameters
        ----------
        position : SkyCoord, or (float, float), optional
            Plain numbers are RA and Dec, ICRS, deg.
        radius_arcsec : Quantity or float, optional
            As of :meth:`Query.from_position`.
        image : str, optional
            In place of a position: an image, as of :meth:`Query.from_pixel`.
        pixel : (float, float), optional
            Of that image, x and y, px from 0; by default its middle.

        Returns
        -------
        int

        Raises
        ------
        InputError
            There is none, or not one of `position` and `image` is given.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> query = catalog.cutout_at(image="tile_000_000.fits", pixel=(100, 80))
        >>> query in catalog.cutout_ids()
        True
        """
        if (position is None) == (image is None):
            raise InputError("a cutout is asked for at a position, or on an image")
        if position is not None:
            return self.resolve(Query.from_position(position, radius_arcsec)).cutout_ids[0]
        query = (
            Query("pixel", (str(image), None, None))
            if pixel is None
            else Query.from_pixel(str(image), *pixel)
        )
        return self.resolve(query).cutout_ids[0]

    def __repr__(self) -> str:
        counts = " of ".join(counted(count, name) for name, count in self._counts().items())
        return f"<Catalog {self.path}: {counts}>"

    def _repr_html_(self) -> str:
        rows = [[escape(name), f"{count:,}"] for name, count in self._counts().items()]
        about = f"Catalog {escape(str(self.path))}<br/><small>{escape(self.describe())}</small>"
        return f"<p>{about}</p>{html_table(['holds', ''], [[f'{name}s', count] for name, count in rows])}"

    def _counts(self) -> dict[str, int]:
        removed = self._store.removed
        gone = {"cutout": removed.cutouts.size, "image": removed.images.size}
        return {name: self._store.n_rows(f"{name}s") - count for name, count in gone.items()}

    @with_search_options
    def plot_neighbors(
        self,
        query: int | Query | ResolvedQuery,
        path: str | Path,
        k: int | None = None,
        metric: Metric = "l2",
        **options: Any,
    ) -> Path:
        """Draw a cutout, or a picture from elsewhere, and its neighbors.

        Parameters
        ----------
        query : int or Query or ResolvedQuery
            Of one cutout or image.
        path : str or Path
            The file to write: PNG, PDF or SVG by its extension.
        k, metric, **options
            As of :meth:`neighbors`.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            There are several queries, or a vector alone. Else as :meth:`neighbors`.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.plot_neighbors(catalog.cutout_ids()[0], "similar.png", k=4).name
        'similar.png'
        """
        from elodin_spark.catalog.search.figures import draw

        return draw(self, self._store, self.neighbors(query, k, metric, **options), path)

    # ---- what a query needs, loaded once ----------------------------------------------------

    def _kept(self, condition: str) -> NDArray[np.int64]:
        """The cutouts that a condition keeps; those of the last one are remembered."""
        if condition not in self._filtered:
            from elodin_spark.catalog.filters.where import Where

            self._filtered = {condition: Where(self._store, condition).ids()}
        return self._filtered[condition]

    def _index(self, metric: Metric) -> Index:
        return self._by_label.index_of(metric, self._l2)

    @cached_property
    def _l2(self) -> L2Index | ApproximateL2Index:
        return load_l2(self._store)

    @cached_property
    def _by_label(self) -> LabelIndices:
        return LabelIndices(self._store)

    @cached_property
    def places(self) -> Places:
        """Its cutouts by their positions.

        Raises
        ------
        InputError
            None has any.
        """
        return Places(self._store, self._windows, self._l2.contains)

    @cached_property
    def _repeats(self) -> Repeats:
        if self._store.product("repeats") is None:
            raise CatalogError(f"{self.path} knows no repeats: set run.repeats_arcsec and run it again")
        pairs = self.repeats()
        return Repeats(pairs.column("id_a").to_numpy(), pairs.column("id_b").to_numpy())

    @cached_property
    def _windows(self) -> pa.Table:
        cutouts = self._store.dataset("cutouts", WINDOW_COLUMNS)
        return cutouts.to_table(columns=WINDOW_COLUMNS).sort_by("cutout_id")
