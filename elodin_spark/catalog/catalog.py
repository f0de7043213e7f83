"""The catalog: one folder with a run's tables and indices, and neighbors by cutout ID."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.build.crossmatch import PAIRS, UNMATCHED
from elodin_spark.catalog.build.label_sheets import examples_of
from elodin_spark.catalog.build.maps import read_map
from elodin_spark.catalog.build.products import load_l2, thumbnails_of
from elodin_spark.catalog.build.resolve import (
    begin,
    check_index,
    network_of,
    require_recipe,
    settled_network,
    to_begin,
)
from elodin_spark.catalog.build.typical import Typical, noise_floor, typical_of
from elodin_spark.catalog.cutout import Cutout
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
    whole_ids,
)
from elodin_spark.catalog.storage.removal import Removal, remove, vanished_images
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.rowindex import RowIndex
from elodin_spark.catalog.storage.store import Store
from elodin_spark.catalog.storage.tombstones import Tombstones
from elodin_spark.config.load import load_config
from elodin_spark.config.settings import Method, Metric, Settings
from elodin_spark.errors import CatalogError, ConfigError, InputError
from elodin_spark.fingerprints.resolve import ResolvedNetwork
from elodin_spark.fingerprints.transform import load_transform
from elodin_spark.fingerprints.weights.resolve import resolve_settings
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import ImageFile
from elodin_spark.neighbors.base import Index
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.neighbors.ivf.index import ApproximateL2Index
from elodin_spark.neighbors.suppression import Repeats
from elodin_spark.progress import counted, step
from elodin_spark.provenance import wants_transform
from elodin_spark.schema import ANSWERS, CUTOUTS, MEASURES, MORE_ANSWERS, NEIGHBORS, answer_schema

if TYPE_CHECKING:
    from elodin_spark.catalog.build.run import RunReport, RunStage
    from elodin_spark.catalog.export.report import Export
    from elodin_spark.catalog.figures import ColorBy
    from elodin_spark.catalog.storage.compaction import Compaction
    from elodin_spark.learning.cutoutset import CutoutSet
    from elodin_spark.web.notebook import CatalogExplorer

_LABELS_SHOWN = 10
_FILTERS_KEPT = 8  # conditions, whose IDs are remembered


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
    >>> from elodin_spark import Catalog
    >>> catalog = Catalog.open("runs/mine")
    >>> len(catalog.cutout_ids())
    100
    >>> nearest = catalog.neighbors(catalog.cutout_ids()[0], k=5)
    >>> len(nearest)
    5
    """

    def __init__(self, store: Store, settings: Settings, weights: Weights | None = None) -> None:
        self._store, self.settings = store, settings
        self._to_keep: Settings | None = None  # those that the next run writes
        self._files: list[ImageFile] | None = None  # of the archive, as it has just been listed
        self._filtered: dict[str, NDArray[np.int64]] = {}
        self._taken_out = store.meta.get("tombstones")
        if weights is not None:
            self._weights = weights  # fills the cached property

    @classmethod
    def create(cls, path: str | Path, settings: Settings) -> Catalog:
        """Make an empty catalog.

        Parameters
        ----------
        path : str or Path
            A folder that does not exist or is empty, on a file system that the driver and
            all executors share. A catalog without a cutout that was begun otherwise is begun anew.
        settings : Settings
            See :func:`elodin_spark.config.load.load_config`.

        Returns
        -------
        Catalog
            Empty: :meth:`run` fills it.

        Raises
        ------
        CatalogError
            `path` holds a catalog with cutouts already, or anything else.
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
        store, settled, weights, _ = begin(path, settings)
        return cls(store, settled, weights)

    @classmethod
    def open(cls, path: str | Path, settings: Settings | None = None) -> Catalog:
        """Open a catalog. Nothing is written: the settings given are kept when it is run.

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
            There is none at `path`, or `settings` are of another recipe.

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
        opened = cls(store, settled, weights)
        opened._to_keep = settled.model_copy(update={"fingerprints": settings.fingerprints})
        return opened

    @cached_property
    def _weights(self) -> Weights:
        return resolve_settings(self.settings.fingerprints)

    @cached_property
    def _network(self) -> ResolvedNetwork:
        return network_of(self._store, self.settings, self._weights)

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
        files, self._files = self._files, None
        report = run_catalog(
            self._store,
            self.settings,
            lambda: self._network,
            stages,
            retrain=retrain,
            config=self._to_keep,
            files=files,
        )
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
        for name in ("_l2", "_by_label", "_repeats", "windows", "_image_paths", "places", "_labeled"):
            self.__dict__.pop(name, None)
        self._filtered = {}
        self._taken_out = self._store.meta.get("tombstones")

    def _look(self) -> None:
        """Forget what was loaded where another process has taken something out since."""
        self._store.look()
        if self._store.meta.get("tombstones") != self._taken_out:
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
        return self.windows.column("cutout_id").to_numpy()

    def ids_where(self, condition: str, seconds: float | None = None) -> NDArray[np.int64]:
        """IDs of the cutouts that meet a condition; those of the last ones are remembered.

        Parameters
        ----------
        condition : str
            As the option `where` of :meth:`neighbors`.
        seconds : float, optional
            It is stopped after as many; by default a minute, and half a minute for a million cutouts.

        Returns
        -------
        ndarray of int64, shape (m,)
            Ascending.

        Raises
        ------
        InputError
            It is not a condition on this catalog, or takes too long.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> len(Catalog.open("runs/mine").ids_where("nodata_fraction < 0.5 and x0 < 64"))
        40
        """
        self._look()
        found = self._filtered.get(condition)
        if found is None:
            from elodin_spark.catalog.filters.where import Where

            found = Where(self._store, condition).ids(seconds)
            kept = list(self._filtered.items())[1 - _FILTERS_KEPT :]
            self._filtered = dict([*kept, (condition, found)])
        return found

    def select(
        self,
        cutout_ids: Iterable[int] | None = None,
        *,
        ids_file: str | Path | None = None,
        where: str | None = None,
        sample: int | None = None,
    ) -> NDArray[np.int64]:
        """Choose cutouts: by IDs, a file of them, a condition, or a sample.

        Parameters
        ----------
        cutout_ids : iterable of int, optional
            All by default.
        ids_file : str or Path, optional
            In place of `cutout_ids`: text with an ID a line, or CSV or Parquet with a column `cutout_id` or
            `neighbor_id`, such as :meth:`Neighbors.write <elodin_spark.Neighbors.write>` writes.
        where : str, optional
            Those that meet this condition.
        sample : int, optional
            Of more, a stable sample of so many.

        Returns
        -------
        ndarray of int64, shape (n,)
            In the order of the IDs given, each once, else ascending.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold one that is given.
        InputError
            The file or the condition cannot be understood, or nothing is left.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").select(where="nodata_fraction < 0.5", sample=10).shape
        (10,)
        """
        from elodin_spark.catalog.selection import select_cutouts

        return select_cutouts(
            self._store,
            self.cutout_ids(),
            cutout_ids,
            ids_file=ids_file,
            where=where,
            sample=sample,
            seed=self.settings.seed,
        )

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
            steps = self.settings.images.steps
            return by_pixel(self._store, self.windows, self._l2.contains, query.value, steps)
        if query.way == "vector":
            return by_vector(self._store, self.settings, query.value, self._l2.dimension)
        if query.way == "image":
            return by_image(self._store, self.settings, lambda: self._network, query.value)
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
        kept = None if options.where is None else self.ids_where(options.where)
        repeats = None if options.repeats == "keep" else self._repeats
        index, removed = self._index(options.metric), self._store.tombstones
        return NeighborSearch(options, index, self.windows, str(self.path), kept, removed, repeats, self._l2)

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
        ids = np.asarray(whole_ids(cutout_ids), dtype=np.int64)
        self._store.tombstones.refuse(ids, str(self.path))
        rows = self.windows.take(rows_of(self.cutout_ids(), ids, source=str(self.path))).to_pylist()
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
        table = self._store.dataset("images")
        image_id = self.windows.column("image_id")[int(rows_of(self.cutout_ids(), [cutout_id], source="")[0])]
        (image,) = table.to_table(filter=among("image_id", [image_id.as_py()])).to_pylist()
        (thumbnail,) = self._thumbnails([cutout_id])
        place = {name: row[name] for name in ("x0", "y0", "x1", "y1", "ra", "dec", "labels")}
        images = self.settings.images
        return Cutout(
            row["cutout_id"],
            image,
            **place,
            thumbnail=thumbnail,
            _storage=images.storage,
            _steps=() if images.steps == "auto" else images.steps,
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
        if (pixel is not None and image is None) or (radius_arcsec is not None and position is None):
            raise InputError("a pixel goes with an image, and a radius with a position")
        if position is not None:
            return self.resolve(Query.from_position(position, radius_arcsec)).cutout_ids[0]
        if pixel is None:
            query = Query("pixel", (str(image), None, None))
        elif isinstance(pixel, str) or np.shape(pixel) != (2,):
            raise InputError(f"a pixel is two numbers, x and y, got {pixel!r}")
        else:
            query = Query.from_pixel(str(image), *pixel)
        return self.resolve(query).cutout_ids[0]

    def __repr__(self) -> str:
        counts = " of ".join(counted(count, name) for name, count in self._counts().items())
        return f"<Catalog {self.path}: {counts}, {self._store.meta['network']}>"

    def _repr_html_(self) -> str:
        from elodin_spark.catalog.report import network_lines

        rows = [[escape(name), f"{count:,}"] for name, count in self._counts().items()]
        described = [self.describe(), *network_lines(self._store.meta["recipe"])]
        about = "<br/>".join(f"<small>{escape(line)}</small>" for line in described)
        about = f"Catalog {escape(str(self.path))}<br/>{about}"
        return f"<p>{about}</p>{html_table(['holds', ''], [[f'{name}s', count] for name, count in rows])}"

    def _counts(self) -> dict[str, int]:
        removed = self._store.tombstones
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

        found = self.neighbors(query, k, metric, **options)
        return draw(self._store, found, self.describe_cutouts(found.query.cutout_ids[:2]), path)

    @with_search_options
    def plot_on_image(
        self,
        query: int | Query | ResolvedQuery,
        path: str | Path,
        k: int | None = None,
        metric: Metric = "l2",
        **options: Any,
    ) -> Path:
        """Draw a query and its neighbors on the images that they were cut from, numbered by rank.

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
            The file. Of more than 12 images it shows those of the query and of the nearest.

        Raises
        ------
        InputError
            There are several queries; none of the images can be read. Else as :meth:`neighbors`.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.plot_on_image(catalog.cutout_ids()[0], "where.png", k=4).name
        'where.png'
        """
        from elodin_spark.catalog.figures import draw_on_images

        found = self.neighbors(query, k, metric, **options)
        asked = self.describe_cutouts(found.query.cutout_ids[:2])
        return draw_on_images(self._store, self.settings, found, asked, self._image_ids, path)

    def plot_contact_sheet(
        self,
        cutout_ids: Iterable[int],
        path: str | Path,
        *,
        captions: Sequence[str] | None = None,
        columns: int | None = None,
        title: str = "",
    ) -> Path:
        """Draw cutouts in a grid, in the order given.

        Parameters
        ----------
        cutout_ids : iterable of int
            At most 2,500.
        path : str or Path
            The file to write: PNG, PDF or SVG by its extension.
        captions : sequence of str, optional
            Below each, of up to three lines; by default ID, image and window.
        columns : int, optional
        title : str

        Returns
        -------
        Path
            The file.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold one of them.
        InputError
            There are too many, or not as many captions.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.plot_contact_sheet(catalog.cutout_ids()[:20], "sheet.pdf").name
        'sheet.pdf'
        """
        from elodin_spark.catalog.figures import draw_contact_sheet

        described = self.describe_cutouts(cutout_ids)
        return draw_contact_sheet(self._store, described, path, captions, columns, title)

    def plot_quality(self, path: str | Path) -> Path:
        """Draw failures by kind, rejections by reason, and the quality of cutouts by image.

        Parameters
        ----------
        path : str or Path
            The file to write: PNG, PDF or SVG by its extension.

        Returns
        -------
        Path
            The file. Of more than 40 images it shows those of which most is rejected or without data.

        Raises
        ------
        CatalogError
            No run has cut anything yet.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").plot_quality("quality.png").name
        'quality.png'
        """
        from elodin_spark.catalog.figures import draw_quality

        self._look()
        return draw_quality(self._store, path)

    def plot_timings(self, path: str | Path) -> Path:
        """Draw how long each stage of its runs took, and the rate of each batch.

        Parameters
        ----------
        path : str or Path
            The file to write: PNG, PDF or SVG by its extension.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        CatalogError
            No run has done anything yet.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").plot_timings("timings.png").name
        'timings.png'
        """
        from elodin_spark.catalog.figures import draw_timings

        self._look()
        return draw_timings(self._store, path)

    def plot_map(
        self, path: str | Path, method: Method | None = None, *, color_by: ColorBy | None = None
    ) -> Path:
        """Draw a map of its cutouts, some of them as pictures.

        Parameters
        ----------
        path : str or Path
            The file to write: PNG, PDF or SVG by its extension.
        method : {"tsne", "umap"}, optional
            By default the first that the last run made.
        color_by : {"label", "image", "band"}, optional
            What points are told apart by: their first label, or path or bands of their image.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        CatalogError
            No run has made a map.
        InputError
            None by that method; points are to be told apart by something else.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> Catalog.open("runs/mine").plot_map("map.png", color_by="image").name
        'map.png'
        """
        from elodin_spark.catalog.figures import draw_map

        self._look()
        return draw_map(self._store, path, method, color_by)

    def plot_sky(
        self, path: str | Path, *, color_by: ColorBy | None = None, highlight: Iterable[int] = ()
    ) -> Path:
        """Draw where its cutouts lie on the sky.

        Parameters
        ----------
        path : str or Path
            The file to write: PNG, PDF or SVG by its extension.
        color_by : {"label", "image", "band"}, optional
            As of :meth:`plot_map`.
        highlight : iterable of int, optional
            Cutouts that have a ring.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold one to highlight.
        InputError
            Points are to be told apart by something else.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.plot_sky("sky.svg", highlight=catalog.cutout_ids()[:3]).name
        'sky.svg'
        """
        from elodin_spark.catalog.figures import draw_sky

        self._look()
        return draw_sky(self._store, path, color_by, whole_ids(highlight))

    def export(
        self,
        path: str | Path,
        format: Literal["embedding-atlas", "tensorboard"],
        cutout_ids: Iterable[int] | None = None,
        *,
        ids_file: str | Path | None = None,
        where: str | None = None,
        sample: int | None = None,
        method: Method | None = None,
        neighbors: int = 10,
        vectors: bool = False,
    ) -> Export:
        """Write cutouts, with their map, pictures and metadata, for another tool.

        Parameters
        ----------
        path : str or Path
            Of Embedding Atlas a ``.parquet`` file, which is replaced; of TensorBoard a folder that is new or
            holds an earlier export.
        format : {"embedding-atlas", "tensorboard"}
        cutout_ids, ids_file, where, sample
            As of :meth:`select`. For TensorBoard a sample of 10,000 is taken by default.
        method : {"tsne", "umap"}, optional
            The map; by default the first that the last run made, and for TensorBoard none.
        neighbors : int
            For Embedding Atlas: neighbors of each by L2 among what is exported; 0 for none.
        vectors : bool
            For Embedding Atlas: write the vectors too.

        Returns
        -------
        Export
            What was written, and the command that opens it.

        Raises
        ------
        CatalogError
            There is no map, or no index.
        InputError
            There is no such format or map; nothing is left to write; `path` cannot be written. Else as
            :meth:`select`.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.export("projector", "tensorboard", where="nodata_fraction < 0.5").cutouts
        100
        """
        from elodin_spark.catalog.export.embedding_atlas import export_embedding_atlas
        from elodin_spark.catalog.export.tensorboard import USUAL_POINTS, export_tensorboard

        if format not in ("embedding-atlas", "tensorboard"):
            raise InputError(f"there is no format {format!r}; one of embedding-atlas, tensorboard")
        if neighbors < 0:
            raise InputError(f"neighbors is 0 or more, got {neighbors}")
        if format == "tensorboard" and sample is None:
            sample = USUAL_POINTS
        ids = self.select(cutout_ids, ids_file=ids_file, where=where, sample=sample)
        if format == "tensorboard":
            return export_tensorboard(self._store, path, ids, method=method)
        return export_embedding_atlas(
            self._store,
            path,
            ids,
            method=method,
            nearest=(lambda among: self._searched_among(neighbors, among)) if neighbors else None,
            vectors=vectors,
        )

    def _searched_among(self, k: int, ids: NDArray[np.int64]) -> NeighborSearch:
        """The engine that answers with some cutouts alone, by L2."""
        options = SearchOptions(k=k)
        return NeighborSearch(
            options, self._index("l2"), self.windows, str(self.path), ids, self._store.tombstones
        )

    def explore(self, height: int = 720) -> CatalogExplorer:
        """Look at it in a cell of a notebook: its map, and neighbors by click.

        Parameters
        ----------
        height : int
            Of the cell, px.

        Returns
        -------
        CatalogExplorer
            It shows itself; :attr:`CatalogExplorer.selection` is what was selected in it, as a DataFrame.

        Raises
        ------
        MissingDependencyError
            The extras ``explore`` and ``notebooks`` are not installed.
        CatalogError
            No run has made its fingerprints yet.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> explorer = Catalog.open("runs/mine").explore()
        >>> explorer.selection.columns[0]
        'cutout_id'
        """
        from elodin_spark.web.notebook import CatalogExplorer  # the one way outward: see docs/architecture.md

        return CatalogExplorer(self, height)

    # ---- what it holds, as it was written ----------------------------------------------------

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def tombstones(self) -> Tombstones:
        """What was taken out of it."""
        return self._store.tombstones

    @property
    def removed_file(self) -> Path | None:
        """Parquet file of the removed IDs, `kind` (cutout or image) and `id`; None where there are none."""
        return self._store.removed_file

    def parts(self, name: str) -> list[Path]:
        """Folders of Parquet files of a table, with the removed rows that are still in them.

        Parameters
        ----------
        name : {"images", "cutouts", "fingerprints", "failures"}

        Returns
        -------
        list of Path
            One for each batch of files.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> len(catalog.parts("cutouts"))
        1
        """
        return self._store.parts(name)

    def table(self, name: str) -> pa.Table:
        """A whole table, in memory: images, cutouts, fingerprints or failures.

        Parameters
        ----------
        name : {"images", "cutouts", "fingerprints", "failures"}

        Returns
        -------
        pyarrow.Table
            Without what was removed; its columns are those of :mod:`elodin_spark.schema`.

        Raises
        ------
        InputError
            There is no such table.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.table("cutouts").num_rows
        100
        """
        if name not in ("images", "cutouts", "fingerprints", "failures"):
            raise InputError(f"no table {name!r}; one of images, cutouts, fingerprints, failures")
        return self._store.dataset(name).to_table()

    @property
    def images(self) -> pa.Table:
        """The table of images, see :data:`elodin_spark.schema.IMAGES`; read anew each time."""
        return self.table("images")

    @property
    def cutouts(self) -> pa.Table:
        """The table of cutouts but for their thumbnails, see :data:`elodin_spark.schema.CUTOUTS`."""
        names = [name for name in CUTOUTS.names if name != "thumbnail"]
        return self._store.dataset("cutouts", names).to_table(columns=names)

    def vectors(
        self, cutout_ids: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """IDs (ascending, int64) and vectors (float32, shape (n, d)) of all or some fingerprints.

        Parameters
        ----------
        cutout_ids : sequence of int, optional
            All by default; those that have no fingerprint are left out.

        Returns
        -------
        ids : ndarray of int64, shape (n,)
            Ascending.
        vectors : ndarray of float32, shape (n, d)

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> ids, vectors = catalog.vectors(catalog.cutout_ids()[:10])
        >>> ids.shape, len(vectors)
        ((10,), 10)
        """
        wanted = None
        if cutout_ids is not None:
            wanted = among("cutout_id", list(cutout_ids))
        dataset = self._store.dataset("fingerprints", ["vector"])
        found = dataset.to_table(columns=["cutout_id", "vector"], filter=wanted).sort_by("cutout_id")
        return found.column("cutout_id").to_numpy(), to_matrix(found.column("vector").combine_chunks())

    def transformed(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """The network's own vectors, from outside, as the catalog has those of its cutouts.

        Parameters
        ----------
        vectors : array_like of float, shape (n, d_in)
            Of the same network, layer and kind of window, such as the verb ``fingerprint`` gives.

        Returns
        -------
        ndarray of float32, shape (n, d)
            To ask with by :meth:`Query.from_vector <elodin_spark.catalog.search.query.Query.from_vector>`.

        Raises
        ------
        InputError
            They are no finite matrix.
        CatalogError
            They are of another length, or no run has fitted the transform yet.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.transformed(np.ones((3, 2048))).dtype
        dtype('float32')
        """
        matrix = np.asarray(vectors)
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
            raise InputError(
                "vectors to transform are finite numbers of shape (n, d), not "
                f"{matrix.dtype} of {matrix.shape}"
            )
        transform = load_transform(self._store.transform)
        if transform is None and wants_transform(self._store.meta["recipe"]):
            raise CatalogError(f"the transform of {self.path} is not fitted yet: run it first")
        rows = matrix.astype(np.float32)
        return rows if transform is None else transform.apply(rows)

    def cutout_set(self, image: str | None = None) -> CutoutSet:
        """The cutouts as a set to learn from: not those that were removed, or rejected by a rule of quality.

        Parameters
        ----------
        image : str, optional
            ``thumbnail``, or ``pixels`` of a catalog that keeps them; those, where there are any, otherwise.

        Returns
        -------
        CutoutSet

        Raises
        ------
        CatalogError
            No run has cut anything yet.
        InputError
            It keeps no pixels, and these are asked for.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.cutout_set().image
        'thumbnail'
        """
        from elodin_spark.learning.cutoutset import CutoutSet  # here: it starts pandas

        parts = self.parts("cutouts")
        if not parts:
            raise CatalogError(f"{self.path} has no cutouts yet; run it first")
        found = CutoutSet.read(parts, image)
        return replace(found, without=self._store.tombstones.of("cutouts"), accepted=True).checked()

    def repeats(self) -> pa.Table:
        """Pairs of cutouts of one place in different images.

        Returns
        -------
        pyarrow.Table
            `id_a`, `id_b`, `sep_arcsec` (of the centers) and `dmjd` (between the exposures, d).

        Raises
        ------
        CatalogError
            ``run.repeats_arcsec`` was not set when it was run.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.repeats().column_names
        ['id_a', 'id_b', 'sep_arcsec', 'dmjd']
        """
        pairs = pq.read_table(self._store.product_file("repeats", PAIRS))
        gone = self._store.tombstones.cutouts
        return pairs.filter(~(among("id_a", gone) | among("id_b", gone)))

    def unmatched_positions(self) -> pa.Table:
        """Positions of the catalog that lie on no image.

        Returns
        -------
        pyarrow.Table
            `position_id`, `ra` and `dec` (ICRS, deg).

        Raises
        ------
        CatalogError
            No catalog of positions was cut.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.unmatched_positions()
        Traceback (most recent call last):
        elodin_spark.errors.CatalogError: ...
        """
        return pq.read_table(self._store.product_file("positions", UNMATCHED))

    def projection(self, method: Method = "tsne") -> pa.Table:
        """The cutouts on a map.

        How true the map is stands in ``info()["products"]["projection"]["quality"]``.

        Parameters
        ----------
        method : {"tsne", "umap", "pca"}
            One of ``projection.methods``.

        Returns
        -------
        pyarrow.Table
            Of ``schema.PROJECTION``: `cutout_id` (int64, ascending), `x` and `y` (float32, in units of the
            map), `placed` (False for the sample that was laid out, True for those placed among it),
            `doubtful` (True where most neighbors on the map are not near by vector). Cutouts whose vectors
            are not finite, and those that were removed, are not on it.

        Raises
        ------
        CatalogError
            No run has made that map, or its file is damaged.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> places = catalog.projection("pca")
        >>> places.num_rows, places.column_names
        (100, ['cutout_id', 'x', 'y', 'placed', 'doubtful'])
        """
        return read_map(self._store, method)

    def figures(self) -> list[Path]:
        """The figures the last run drew.

        Returns
        -------
        list of Path
            PNG files, by name.

        Raises
        ------
        CatalogError
            No run has drawn any.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> "sky.png" in [path.name for path in catalog.figures()]
        True
        """
        return sorted(self._store.product_file("figures", "").glob("*.png"))

    def label_sheet(self) -> Path | None:
        """The figure of what labels without a name look like; None where no run has drawn one.

        Returns
        -------
        Path or None

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.label_sheet().suffix
        '.png'
        """
        if self._store.product("figures") is None:
            return None
        sheet = self._store.product_folder("figures") / f"{self._store.labels}.png"
        return sheet if sheet.exists() else None

    def label_examples(self) -> dict[str, list[int]]:
        """Cutouts that show each label without a name best, best first; empty where labels have names.

        Returns
        -------
        dict of str to list of int
            Label to cutout IDs.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> examples = catalog.label_examples()
        >>> all(len(ids) > 0 for ids in examples.values())
        True
        """
        return {self._store.label_name(label): ids for label, ids in examples_of(self._store).items()}

    def describe(self) -> str:
        """One line for figures and outputs: backbone, weights, recipe.

        Returns
        -------
        str

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> print(catalog.describe())
        ResNet50... recipe ...
        """
        return self._store.describe()

    def check(self) -> None:
        """Read every byte of its files, and compare them with what was written.

        Raises
        ------
        CatalogError
            Something is damaged, missing, or not of the catalog: all of it is named, each with its remedy.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.check()
        """
        if damages := list(dict.fromkeys(self._store.damages())):
            raise CatalogError("\n".join(damages))

    def info(self) -> dict[str, Any]:
        """Tables, counts, recipe, timings, failures and disk use, as plain values.

        Returns
        -------
        dict
            What ``elodin-spark info --json`` prints.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> info = catalog.info()
        >>> info["files"], info["tables"]["cutouts"]["rows"], info["failures"]
        (4, 100, [])
        """
        from elodin_spark.catalog.report import gather

        return gather(self._store)

    # ---- what a query needs, loaded once ----------------------------------------------------

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
        return Places(self._store, self.windows, self._l2.contains)

    @cached_property
    def _repeats(self) -> Repeats:
        if self._store.product("repeats") is None:
            raise CatalogError(f"{self.path} knows no repeats: set run.repeats_arcsec and run it again")
        pairs = self.repeats()
        return Repeats(pairs.column("id_a").to_numpy(), pairs.column("id_b").to_numpy())

    @cached_property
    def windows(self) -> pa.Table:
        """Window and position of each cutout, by ascending ID; read once.

        Its columns are `cutout_id`, `image_id`, `x0`, `y0`, `x1`, `y1`, `ra` and `dec`, as in
        :data:`elodin_spark.schema.CUTOUTS`.
        """
        cutouts = self._store.dataset("cutouts", WINDOW_COLUMNS)
        return cutouts.to_table(columns=WINDOW_COLUMNS).sort_by("cutout_id")

    @cached_property
    def _image_paths(self) -> dict[int, str]:
        images = self._store.dataset("images", ["path"]).to_table(columns=["image_id", "path"])
        return dict(zip(*(column.to_pylist() for column in images.columns), strict=True))

    def _image_ids(self, cutout_ids: ArrayLike) -> NDArray[np.int64]:
        """The images of cutouts, in their order."""
        rows = rows_of(self.cutout_ids(), cutout_ids, source=str(self.path))
        return self.windows.column("image_id").to_numpy()[rows]

    def _labels_of(self, ids: NDArray[np.int64]) -> dict[int, list[str]]:
        try:
            return self._read_labels(ids)
        except FileNotFoundError:  # another process has compacted the tables
            self.__dict__.pop("_labeled", None)
            return self._read_labels(ids)

    def _read_labels(self, ids: NDArray[np.int64]) -> dict[int, list[str]]:
        index = self._labeled
        held = index.rows_of(ids)
        indexed = held >= 0  # others were rejected, or have no fingerprint yet
        lists = index.take(held[indexed], ["labels"]).column("labels").to_pylist()
        named: dict[int, list[str]] = {int(i): [] for i in ids}
        for cutout, labels in zip(ids[indexed].tolist(), lists, strict=True):
            named[cutout] = [self._store.label_name(label) for label in labels[:_LABELS_SHOWN]]
        return named

    @cached_property
    def _labeled(self) -> RowIndex:
        return RowIndex(self._store.files("fingerprints", ["labels"]), str(self.path))


def open_or_create(path: str | Path, settings: Settings) -> Catalog:
    """Open the catalog at `path`, or make it, to run it at once."""
    if not to_begin(path, settings):
        return Catalog.open(path, settings)
    store, settled, weights, files = begin(path, settings)
    made = Catalog(store, settled, weights)
    made._files = files
    return made


def run_config(
    config: str | Path,
    overrides: Iterable[str] = (),
    stages: Sequence[RunStage] | None = None,
    *,
    retrain: bool = False,
) -> RunReport:
    """Run a configuration file: make its catalog, or take up what a run before left.

    Parameters
    ----------
    config : str or Path
        YAML with at least `catalog` and `images.paths`.
    overrides : iterable of str
        ``section.key=value``.
    stages, retrain
        As of :meth:`Catalog.run`.

    Returns
    -------
    RunReport
    """
    settings = load_config(config, overrides)
    if settings.catalog is None:
        raise ConfigError(f"{config} names no catalog; add 'catalog: FOLDER' or --set catalog=FOLDER")
    return open_or_create(settings.catalog, settings).run(stages, retrain=retrain)
