"""A catalog as the explorer sees it: read once, and asked by many."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.catalog.search.engine import rows_of
from elodin_spark.catalog.search.options import SearchOptions
from elodin_spark.catalog.search.query import Query, ResolvedQuery
from elodin_spark.catalog.storage.rowindex import RowIndex
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Metric
from elodin_spark.errors import CatalogError, ElodinError, InputError
from elodin_spark.web import columns as colors
from elodin_spark.web.binary import pack
from elodin_spark.web.links import archive_links
from elodin_spark.web.points import PointMap, make_map, map_names, read_map
from elodin_spark.web.recent import Recent

_METRIC_TITLES: dict[Metric, str] = {
    "l2": "Euclidean (L2)",
    "jaccard": "Jaccard, of labels",
    "cosine": "cosine",
    "label_scores": "label scores",
    "rank_fusion": "fused ranks of L2 and Jaccard",
}
_THUMBNAIL_BYTES, _COLUMN_BYTES = 64 << 20, 128 << 20  # that are kept
_FILTER_S = 25.0  # below the bound on a request
_MOST_NEIGHBORS = 10_000
_IMAGES_LISTED = 100
_MEASURED = ("rank", "distance", "distance_percentile", "distance_over_repeat_median")


class View:
    """A catalog, opened and ready to be asked by several threads.

    Parameters
    ----------
    catalog : Catalog
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.store = catalog, Store(catalog.path)
        self.ids = catalog.cutout_ids()
        self._windows = catalog.windows
        self.cutout_rows = RowIndex(self.store.files("cutouts", ()), str(catalog.path))
        images = self.store.dataset("images").to_table()
        self.images = images.select([name for name in images.column_names if name != "wcs"]).sort_by(
            "image_id"
        )
        self._image_ids = self.images.column("image_id").to_numpy()
        of_images = self._windows.column("image_id").to_numpy()
        self._image_rows = np.minimum(
            np.searchsorted(self._image_ids, of_images), max(self._image_ids.size - 1, 0)
        ).astype(np.int32)
        self._cutouts_of = np.bincount(self._image_rows, minlength=self._image_ids.size)
        self.columns = colors.known_columns(self.cutout_rows, self.images)
        self.labels = colors.label_names(self.store)
        self._maps: dict[str, PointMap] = {}
        self._thumbnails, self._packed = Recent(_THUMBNAIL_BYTES), Recent(_COLUMN_BYTES)
        # FAISS uses all cores for one search, and indices open their files when they are first asked.
        self._asking, self._reading = threading.Lock(), threading.RLock()
        self.metrics = [self._about_metric(metric) for metric in get_args(Metric)]
        self.made: PointMap | None = None
        self.map_names = map_names(self.store)
        if not self.map_names and self.store.n_rows("fingerprints"):
            self.made = make_map(self.store, self.ids, catalog.settings.seed)
            self.map_names = [] if self.made is None else [self.made.name]
        for name in self.map_names[:1]:
            self.map(name)

    def _about_metric(self, metric: Metric) -> dict[str, Any]:
        why: str | None = None
        try:
            self.catalog.search(SearchOptions(metric=metric))
        except ElodinError as error:
            why = str(error)
        return {
            "name": metric,
            "title": _METRIC_TITLES[metric],
            "available": why is None,
            "why_not": why,
        }

    # ---- maps and their columns -------------------------------------------------------------------

    def map(self, name: str | None) -> PointMap:
        """A map by its name; the first where none is given.

        Raises
        ------
        InputError
            There is no such map.
        """
        if name is None and self.map_names:
            name = self.map_names[0]
        if name not in self.map_names:
            if not self.map_names:
                raise InputError("there is no map: the catalog has no vectors yet")
            raise InputError(f"there is no map {str(name)[:100]!r}: one of {', '.join(self.map_names)}")
        with self._reading:
            if name not in self._maps:
                self._maps[name] = self.made or read_map(self.store, name, self.ids)
            return self._maps[name]

    def points(self, name: str | None) -> bytes:
        """The points of a map in binary columns."""
        found = self.map(name)
        return self._packed.or_make(("points", found.name), found.packed)

    def column(self, map_name: str | None, name: str) -> bytes:
        """A column of the points of a map in binary columns.

        Raises
        ------
        InputError
            There is no such map or column.
        """
        points = self.map(map_name)
        with self._reading:  # two who ask for one column read it once
            return self._packed.or_make((points.name, name), lambda: self._column(points, name))

    def _column(self, points: PointMap, name: str) -> bytes:
        if name.startswith("score:"):
            label = colors.label_of(self.store, name.removeprefix("score:"))
            about = colors.Column(
                name, "fingerprints", "number", "", f"score of {self.store.label_name(label)}"
            )
            scores = colors.scores_of(self.store, label)
            return colors.packed_numbers(
                _taken(scores, self._fingerprint_rows.rows_of(points.ids), np.nan), about
            )
        if name == "top_label" and self.labels:
            best = _taken(self._best_labels, self._fingerprint_rows.rows_of(points.ids), -1)
            return colors.packed_categories(best.astype(np.int64), self.labels, colors.TOP_LABEL)
        column = next((each for each in (*self.columns, colors.IMAGE) if each.name == name), None)
        if column is None:
            labels = [colors.TOP_LABEL] if self.labels else []
            raise colors.unknown_column(name, [*self.columns, colors.IMAGE, *labels])
        if column.table == "images":
            values: Any = self.images.column("path" if name == "image" else name)
            rows = self._image_rows[points.rows]
        else:
            values, rows = colors.read_values(self.store, column), self.cutout_rows.rows_of(points.ids)
        if column.kind == "number":
            numbers = values.cast(pa.float64()).to_numpy()  # null is NaN
            return colors.packed_numbers(_taken(numbers, rows, np.nan), column)
        codes, names = colors.coded(values)
        return colors.packed_categories(_taken(codes, rows, -1), names, column)

    @cached_property
    def _fingerprint_rows(self) -> RowIndex:
        return RowIndex(self.store.files("fingerprints", ()), str(self.catalog.path))

    @cached_property
    def _best_labels(self) -> NDArray[np.int32]:
        return colors.best_labels(self.store)

    def mask(self, map_name: str | None, condition: str) -> bytes:
        """Which points of a map a condition keeps, as packed bits, the lowest first."""
        points = self.map(map_name)
        kept = self.catalog.ids_where(condition, _FILTER_S)
        inside = np.zeros(self.ids.size, bool)
        inside[np.searchsorted(self.ids, kept)] = True
        found = inside[points.rows]
        return pack({"mask": np.packbits(found, bitorder="little")}, len(found), count=int(found.sum()))

    # ---- cutouts ------------------------------------------------------------------------------------

    def describe(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Cutouts as JSON, in the order given.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold one.
        """
        rows = self.catalog.describe_cutouts(ids)
        at = rows_of(self.ids, np.asarray(ids, np.int64), source=str(self.catalog.path))
        images = self._image_rows[at]
        names = sorted(
            {column.name.partition(".")[0] for column in self.columns if column.table == "cutouts"}
        )
        values = self.cutout_rows.read(ids, names).to_pylist() if names else [{}] * len(rows)
        facts = self.images.take(pa.array(images)).to_pylist()
        return [self._one(row, value, image) for row, value, image in zip(rows, values, facts, strict=True)]

    def _one(self, row: dict[str, Any], values: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
        scale = image["pixel_scale"]
        side = None if scale is None else max(row["x1"] - row["x0"], row["y1"] - row["y0"]) * scale / 3600
        found: dict[str, Any] = {}
        for column in self.columns:
            top, _, inner = column.name.partition(".")
            value = (image if column.table == "images" else values)[top]
            found[column.name] = (value or {}).get(inner) if inner else value
        return {
            "id": str(row["cutout_id"]),
            "image": row["image"],
            "image_id": str(image["image_id"]),
            "hdu": image["hdu"],
            **{name: row[name] for name in ("x0", "y0", "x1", "y1", "ra", "dec", "labels")},
            "columns": found,
            "links": archive_links(row["ra"], row["dec"], side),
        }

    def known(self, ids: NDArray[np.int64]) -> None:
        """Raise UnknownCutoutError where the catalog does not hold one of some cutouts."""
        self.store.tombstones.refuse(ids, str(self.catalog.path))
        rows_of(self.ids, ids, source=str(self.catalog.path))

    def thumbnails(self, ids: Sequence[int]) -> list[bytes]:
        """JPEGs of cutouts, in the order given; empty where there is none.

        Raises
        ------
        UnknownCutoutError
            The catalog does not hold one.
        """
        self.store.tombstones.refuse(ids, str(self.catalog.path))
        kept = {each: self._thumbnails.get(each) for each in ids}
        missing = [each for each, found in kept.items() if found is None]
        if missing:
            read = self.cutout_rows.read_bytes(missing, "thumbnail")
            for each, found in zip(missing, read, strict=True):
                kept[each] = found or b""
                self._thumbnails.put(each, found or b"")
        return [kept[each] or b"" for each in ids]

    def packed_thumbnails(self, ids: Sequence[int]) -> bytes:
        """JPEGs of cutouts in binary columns."""
        found = self.thumbnails(ids)
        sizes = np.array([len(each) for each in found], np.uint32)
        offsets = (np.cumsum(sizes, dtype=np.int64) - sizes).astype(np.uint32)
        data = np.frombuffer(b"".join(found), np.uint8)
        columns: dict[str, NDArray] = {
            "id": np.asarray(ids, np.int64),
            "offset": offsets,
            "size": sizes,
            "data": data,
        }
        return pack(columns, len(found))

    def cutouts_table(self, ids: Sequence[int]) -> pa.Table:
        """The table of cutouts, without pictures and lists, for some, with the path of their image."""
        self.store.tombstones.refuse(ids, str(self.catalog.path))
        at = rows_of(self.ids, np.asarray(ids, np.int64), source=str(self.catalog.path))
        names = [
            field.name
            for field in self.store.dataset("cutouts", ()).schema
            if field.name not in ("thumbnail", "haralick", "zernike")
        ]
        found = self.cutout_rows.read(ids, names)
        paths = self.images.column("path").take(pa.array(self._image_rows[at]))
        return found.add_column(2, "image", paths)

    # ---- images -------------------------------------------------------------------------------------

    def image(self, image_id: int) -> dict[str, Any]:
        """The row of an image, with `n_cutouts`.

        Raises
        ------
        InputError
            There is no such image.
        """
        at = int(np.searchsorted(self._image_ids, image_id))
        if at == self._image_ids.size or self._image_ids[at] != image_id:
            raise UnknownImageError(f"{self.catalog.path} holds no image {image_id}")
        (row,) = self.images.slice(at, 1).to_pylist()
        return {**row, "n_cutouts": int(self._cutouts_of[at])}

    def images_named(self, text: str) -> list[dict[str, Any]]:
        """The first hundred images whose paths hold a text, in any case, by path."""
        rows = self.images.select(["image_id", "path", "hdu"])
        rows = rows.append_column("n_cutouts", pa.array(self._cutouts_of))
        if text:
            rows = rows.filter(pc.match_substring(rows.column("path"), text, ignore_case=True))
        rows = rows.sort_by([("path", "ascending"), ("hdu", "ascending")]).slice(0, _IMAGES_LISTED)
        return [{**row, "image_id": str(row["image_id"])} for row in rows.to_pylist()]

    # ---- asking -------------------------------------------------------------------------------------

    def query(self, asked: dict[str, Any]) -> Query:
        """The query that JSON names: `ids`, `position` or `pixel`.

        Raises
        ------
        InputError
            It names none, several, or something else than these.
        """
        if len(asked) != 1 or not set(asked) <= {"ids", "position", "pixel"}:
            named = ", ".join(map(repr, sorted(map(str, asked)))) or "nothing"
            raise InputError(f"a query is one of ids, position and pixel; got {named[:200]}")
        ((way, value),) = asked.items()
        if way == "ids":
            return Query.from_id(checked_ids(value, _MOST_NEIGHBORS))
        if not isinstance(value, dict):
            raise InputError(f"the query's {way} is an object, such as {_FORMS[way]}")
        try:
            if way == "position":
                place = float(value["ra"]), float(value["dec"])
                radius = value.get("radius_arcsec")
                return Query.from_position(place, None if radius is None else float(radius))
            image = self.image(checked_id(value["image_id"]))
            name = image["path"] if image["hdu"] is None else f"{image['path']}[{image['hdu']}]"
            return Query.from_pixel(name, float(value["x"]), float(value["y"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(f"the query's {way} reads {_FORMS[way]}") from None

    def neighbors(self, query: Query | ResolvedQuery, options: SearchOptions) -> dict[str, Any]:
        """The neighbors of a query as JSON: `query`, `metric`, `neighbors`.

        Raises
        ------
        ElodinError
            As :meth:`Catalog.neighbors`.
        """
        if options.where is not None:  # which takes its time, while others are answered
            self.catalog.ids_where(options.where, _FILTER_S)
        with self._asking:
            resolved = self.catalog.resolve(query)
            found = self.catalog.answer(self.catalog.search(options), resolved)
        rows = found.to_pylist()
        asked = list(resolved.cutout_ids)
        described = self.describe([*asked, *(row["neighbor_id"] for row in rows)])
        near = []
        for row, about in zip(rows, described[len(asked) :], strict=True):
            more: dict[str, Any] = {
                name: [str(each) for each in row[name]] for name in ("repeats", "duplicates") if name in row
            }
            if "explain" in row:
                more["explain"] = [_as_texts(each) for each in row["explain"]]
            measured = {name: row[name] for name in _MEASURED}
            near.append({"query_id": str(row["query_id"]), **measured, **more, **about})
        query_facts = {"name": resolved.name, "cutouts": described[: len(asked)], "picture": None}
        return {"query": query_facts, "metric": options.metric, "neighbors": near}

    def neighbors_table(self, query: Query, options: SearchOptions) -> Any:
        """The neighbors of a query as :class:`~elodin_spark.catalog.search.neighbors.Neighbors`."""
        if options.where is not None:
            self.catalog.ids_where(options.where, _FILTER_S)
        with self._asking:
            return self.catalog.neighbors(query, **dict(options))

    # ---- all of it ----------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What a page has to know of the catalog before it asks for more."""
        windows = self._windows
        sides = [
            int(np.median(windows.column(high).to_numpy() - windows.column(low).to_numpy()))
            if len(windows)
            else 0
            for low, high in (("x0", "x1"), ("y0", "y1"))
        ]
        maps = []
        for name in self.map_names:
            points = self.map(name)
            maps.append(
                {"name": name, "title": points.title, "quality": points.quality, "n_points": len(points.ids)}
            )
        extra = [colors.IMAGE, *([colors.TOP_LABEL] if self.labels else [])]
        return {
            "name": self.catalog.path.name,
            "described": self.catalog.describe(),
            "n_cutouts": int(self.ids.size),
            "n_images": int(np.count_nonzero(self._cutouts_of)),
            "n_points": maps[0]["n_points"] if maps else 0,
            "k": self.catalog.settings.neighbors.k,
            "has_sky": windows.column("ra").null_count < len(windows),
            "window_px": max(sides),
            "maps": maps,
            "metrics": self.metrics,
            "columns": [column.facts() for column in (*self.columns, *extra)],
            "labels": self.labels,
            "label_kind": self.store.labels,
            "classes": [],
        }


class UnknownImageError(CatalogError):
    """An image ID that the catalog does not hold."""


_FORMS = {
    "position": '{"ra": 150.1, "dec": 2.2, "radius_arcsec": null}',
    "pixel": '{"image_id": "12", "x": 100, "y": 80}',
}


def checked_id(value: Any) -> int:
    """An ID of JSON, where it is a text, as a number.

    Raises
    ------
    InputError
        It is none of 63 bits.
    """
    try:
        if isinstance(value, bool | float) or len(str(value)) > 20:
            raise ValueError
        number = int(value)
    except (TypeError, ValueError):
        raise InputError(f"an ID is a whole number, as a text: got {str(value)[:50]!r}") from None
    if not -(1 << 63) <= number < 1 << 63:
        raise InputError(f"an ID has 63 bits, and {number} more")
    return number


def checked_ids(values: Any, most: int) -> list[int]:
    """IDs of JSON; InputError where there are none, too many, or one is none."""
    if not isinstance(values, list) or not values:
        raise InputError('ids is a list of at least one ID, such as {"ids": ["12"]}')
    if len(values) > most:
        raise InputError(f"{len(values):,} IDs: at most {most:,} at once")
    return [checked_id(value) for value in values]


def checked_options(values: Any) -> SearchOptions:
    """The search options of JSON.

    Raises
    ------
    InputError
        One is misspelt or out of range, or would open a file.
    """
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError('options is an object, such as {"k": 9, "metric": "l2"}')
    if values.get("moc") is not None:
        raise InputError(
            "the option moc names a file, and none is opened for a browser: give a cone, or a "
            "condition by where"
        )
    options = SearchOptions(**{str(name): value for name, value in values.items()})
    if options.k is not None and options.k > _MOST_NEIGHBORS:
        raise InputError(f"k is at most {_MOST_NEIGHBORS:,} in the explorer, got {options.k:,}")
    return options


def options_schema() -> dict[str, Any]:
    """JSON schema of the search options that may be asked for."""
    found = SearchOptions.model_json_schema()
    found["properties"] = {name: each for name, each in found["properties"].items() if name != "moc"}
    found["properties"]["k"]["anyOf"][0]["maximum"] = _MOST_NEIGHBORS
    return found


def state_of(path: Path) -> tuple[int, ...]:
    """What changes when a catalog is changed by another process."""
    places = (path / "catalog.json", path / "commits", path / "products")
    return tuple(number for place in places for number in (place.stat().st_ino, place.stat().st_mtime_ns))


def _taken(values: NDArray, rows: NDArray[np.integer], missing: float) -> NDArray:
    """Values at rows; `missing` where the row is -1."""
    if not len(values):
        return np.full(
            len(rows), missing, np.result_type(values.dtype, np.float32) if missing != -1 else np.int64
        )
    found = values[rows]
    if (rows < 0).any():
        found[rows < 0] = missing
    return found


def _as_texts(shared: dict[str, Any]) -> dict[str, Any]:
    return {**shared, "like": [str(each) for each in shared["like"]]} if "like" in shared else shared
