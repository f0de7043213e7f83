"""Figures of a catalog that are drawn when they are asked for."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elodin_spark.catalog.build.figures import draw_map_of, map_pictures
from elodin_spark.catalog.maps import map_or_first
from elodin_spark.catalog.report import stage_seconds
from elodin_spark.catalog.search.figures import panels_of
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Settings
from elodin_spark.errors import CatalogError, ImageError, InputError
from elodin_spark.progress import counted

if TYPE_CHECKING:
    from elodin_spark.catalog.search.neighbors import Neighbors
    from elodin_spark.display.onimage import ImageWindow, SourceImage
    from elodin_spark.display.quality import ImageQuality

log = logging.getLogger(__name__)

#: What points of a map and of the sky are told apart by.
ColorBy: TypeAlias = Literal["label", "image", "band"]

#: Most images of a figure of neighbors on their images.
MOST_IMAGES = 12

_PERCENTILES = (16, 50, 84)
_MEASURES = ("nodata_fraction", "masked_fraction", "saturated_fraction", "sky", "sky_sigma")
_REASONS = (
    (re.compile(r"^[\d.]+ of the window has (.+)$"), r"\1"),
    (re.compile(r"^the window is -?\d+ px from the (edge of the image, less than .+)$"), r"\1 px"),
)


def draw_contact_sheet(
    store: Store,
    described: Sequence[dict[str, Any]],
    path: str | Path,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    title: str = "",
) -> Path:
    """Draw cutouts, from :meth:`Catalog.describe_cutouts`, in a grid; see `contact_sheet_figure`."""
    from elodin_spark.display.sheet import contact_sheet_figure
    from elodin_spark.display.style import save_figure

    panels = panels_of(store, described)
    figure = contact_sheet_figure(
        panels, captions=captions, columns=columns, title=title, subtitle=store.describe()
    )
    return save_figure(figure, path)


def draw_on_images(
    store: Store,
    settings: Settings,
    found: Neighbors,
    asked: Sequence[dict[str, Any]],
    image_ids: Callable[[Sequence[int]], NDArray[np.int64]],
    path: str | Path,
) -> Path:
    """Draw a query and its neighbors on the images that they were cut from.

    Parameters
    ----------
    store : Store
    settings : Settings
        Which say how images are read.
    found : Neighbors
        Of one cutout, or of what is none.
    asked : sequence of dict
        From :meth:`Catalog.describe_cutouts`: the cutout; empty where it is none.
    image_ids : callable
        From cutout IDs to the IDs of their images.
    path : str or Path

    Raises
    ------
    InputError
        There are several queries; no neighbor; or none of the images can be read.
    """
    from elodin_spark.display.onimage import ImageWindow, on_image_figure
    from elodin_spark.display.style import save_figure

    if len(found.query.cutout_ids) > 1:
        raise InputError(f"a figure shows the neighbors of one cutout or image, not of {found.query.name}")
    rows = [*asked, *found]
    if not rows:
        raise InputError(f"{found.query.name} has no neighbor to show on an image")
    ids = [row["cutout_id"] if "cutout_id" in row else row["neighbor_id"] for row in rows]
    windows: dict[int, list[ImageWindow]] = {}
    for row, image in zip(rows, image_ids(ids).tolist(), strict=True):
        place = (row["x0"], row["y0"], row["x1"], row["y1"])
        windows.setdefault(image, []).append(ImageWindow(*place, rank=row.get("rank")))
    shown = dict(list(windows.items())[:MOST_IMAGES])
    sources = _sources(store, settings, shown)
    names = {row["image_id"]: row for row in sources}
    images = [_source_image(names[image], settings, on_it) for image, on_it in shown.items()]
    if all(image.pixels is None for image in images):
        raise InputError(f"none of the images can be read: {names[next(iter(shown))]['uri']} for one")
    name = f"cutout {asked[0]['cutout_id']}" if asked else found.query.name
    noun = "nearest neighbor" if len(found) == 1 else f"{len(found)} nearest neighbors"
    title = f"{name[:1].upper()}{name[1:]} and its {noun} on their images"
    note = "" if len(windows) == len(shown) else f"{len(shown)} of {len(windows)} images."
    figure = on_image_figure(images, title=title, note=note, subtitle=store.describe())
    return save_figure(figure, path)


def draw_quality(store: Store, path: str | Path) -> Path:
    """Draw failures and the quality of cutouts by image.

    Raises
    ------
    CatalogError
        No run has cut anything, or refused it.
    """
    from elodin_spark.display.quality import quality_figure
    from elodin_spark.display.style import save_figure

    kinds = store.dataset("failures", ["kind"]).to_table(columns=["kind"]).column("kind").to_pylist()
    cutouts = store.dataset("cutouts", ["image_id", "rejected", "nodata_fraction"]).to_table(
        columns=["image_id", "rejected", "nodata_fraction"]
    )
    if not cutouts.num_rows and not kinds:
        raise CatalogError(f"{store.path} has neither cutouts nor failures yet; run it first")
    reasons = Counter(reason_kind(reason) for reason in pc.drop_null(cutouts.column("rejected")).to_pylist())
    counts = _by_image(cutouts)
    images, out = counts.num_rows, sum(reasons.values())
    rejected = f"{out:,} rejected" if out else "none rejected"
    title = f"Quality of {counted(cutouts.num_rows, 'cutout')} of {counted(images, 'image')}, {rejected}"
    from elodin_spark.display.quality import MOST_IMAGES as MOST

    shown = counts.slice(0, MOST).to_pylist()
    note = "" if images <= MOST else f"The {MOST} images of which most is rejected or without data."
    figure = quality_figure(
        _qualities(store, shown),
        failures=Counter(kinds),
        rejected=reasons,
        title=title,
        note=note,
        subtitle=store.describe(),
    )
    return save_figure(figure, path)


def draw_timings(store: Store, path: str | Path) -> Path:
    """Draw the wall time of the stages of its runs, and the rate of each batch.

    Raises
    ------
    CatalogError
        No run has done anything yet.
    """
    from elodin_spark.display.style import save_figure
    from elodin_spark.display.timings import timings_figure

    seconds = stage_seconds(store)
    if not seconds:
        raise CatalogError(f"{store.path} has no timings yet; run it first")
    commits = [commit for commit in store.commits() if commit.rows.get("cutouts") and commit.seconds]
    rates = [commit.rows["cutouts"] / max(sum(commit.seconds.values()), 1e-3) for commit in commits]
    images, cutouts = (counted(store.n_rows(f"{name}s"), name) for name in ("image", "cutout"))
    runtimes = sorted({commit.runtime for commit in commits if commit.runtime})
    by = f"; network by {', '.join(runtimes)}" if runtimes else ""
    note = f"{images}, {cutouts}, {counted(len(commits), 'batch')}{by}."
    return save_figure(timings_figure(seconds, rates, note=note, subtitle=store.describe()), path)


def draw_map(store: Store, path: str | Path, method: str | None, color_by: ColorBy | None) -> Path:
    """Draw a map of the catalog, its points colored by their label, image or band."""
    from elodin_spark.display.style import save_figure

    chosen, _ = map_or_first(store, method)
    pictures = map_pictures(store, chosen)
    figure = draw_map_of(store, chosen, pictures, lambda ids: groups_of(store, ids, color_by))
    return save_figure(figure, path)


def draw_sky(
    store: Store,
    path: str | Path,
    color_by: ColorBy | None,
    highlight: Sequence[int],
) -> Path:
    """Draw where cutouts lie on the sky, some of them with a ring.

    Raises
    ------
    UnknownCutoutError
        One to highlight is not there.
    """
    from elodin_spark.catalog.search.engine import rows_of
    from elodin_spark.display.sky import sky_figure
    from elodin_spark.display.style import save_figure

    columns = ["cutout_id", "ra", "dec"]
    cutouts = store.dataset("cutouts", columns).to_table(columns=columns).sort_by("cutout_id")
    ra, dec = (cutouts.column(name).to_numpy().astype(np.float64) for name in ("ra", "dec"))
    ids = cutouts.column("cutout_id")
    marked = rows_of(ids.to_numpy(), np.asarray(highlight, np.int64), source=str(store.path)).tolist()
    groups = groups_of(store, ids, color_by)
    figure = sky_figure(ra, dec, groups=groups, highlight=marked, subtitle=store.describe())
    return save_figure(figure, path)


def groups_of(
    store: Store, ids: pa.Array | pa.ChunkedArray, color_by: ColorBy | None
) -> list[str | None] | None:
    """The group of each cutout: its first label, or the path or the bands of its image.

    Raises
    ------
    InputError
        `color_by` is something else.
    """
    if color_by is None:
        return None
    wanted = ids.to_pylist()
    if color_by == "label":
        found = store.dataset("fingerprints", ["labels"]).to_table(columns=["cutout_id", "labels"])
        first = pc.list_element(
            found.filter(pc.greater(pc.list_value_length(found["labels"]), 0))["labels"], 0
        )
        known = found.filter(pc.greater(pc.list_value_length(found["labels"]), 0))["cutout_id"]
        names = {label: store.label_name(label) for label in pc.unique(first).to_pylist()}
        of = {
            cutout: names[label] for cutout, label in zip(known.to_pylist(), first.to_pylist(), strict=True)
        }
        return [of.get(cutout) for cutout in wanted]
    if color_by not in ("image", "band"):
        raise InputError(f"points are told apart by label, image or band, not by {color_by!r}")
    column = "path" if color_by == "image" else "bands"
    images = store.dataset("images", [column]).to_table(columns=["image_id", column])
    name_of = dict(zip(*(part.to_pylist() for part in images.columns), strict=True))
    cutouts = store.dataset("cutouts", ["image_id"]).to_table(columns=["cutout_id", "image_id"])
    image_of = dict(zip(*(part.to_pylist() for part in cutouts.columns), strict=True))
    return [name_of.get(image_of.get(cutout)) for cutout in wanted]


def reason_kind(reason: str) -> str:
    """A reason for a rejection without the measure of the window.

    >>> reason_kind("0.483 of the window has no data, more than 0.3")
    'no data, more than 0.3'
    """
    for pattern, kind in _REASONS:
        if pattern.match(reason):
            return pattern.sub(kind, reason)
    return reason


# ---- images --------------------------------------------------------------------------------


def _sources(store: Store, settings: Settings, wanted: Mapping[int, object]) -> list[dict[str, Any]]:
    return store.dataset("images").to_table(filter=among("image_id", list(wanted))).to_pylist()


def _source_image(row: Mapping[str, Any], settings: Settings, windows: Sequence[ImageWindow]) -> SourceImage:
    """An image as it is cut, or, where it cannot be read, its outline."""
    from elodin_spark.cutouts.overview import overview
    from elodin_spark.display.onimage import SourceImage
    from elodin_spark.images.uris import is_fits

    images, quality = settings.images, settings.cutouts.quality
    blank = "auto" if quality is None else quality.blank
    name = f"{row['path']}[{row['hdu']}]" if row["hdu"] else row["path"]
    try:
        seen = overview(row, images.steps, images.color, images.storage, blank)
    except (ImageError, OSError, ValueError) as error:
        log.warning("%s cannot be read: %s", row["uri"], error)
        width = row["width"] or max(window.x1 for window in windows)
        height = row["height"] or max(window.y1 for window in windows)
        return SourceImage(name, None, width, height, windows, is_fits(row["uri"]))
    return SourceImage(name, seen.pixels, seen.width, seen.height, windows, seen.upwards)


def _by_image(cutouts: pa.Table) -> pa.Table:
    """`image_id`, `cutouts`, `rejected` and `nodata` of each image, the worst first."""
    columns = {
        "image_id": cutouts.column("image_id"),
        "rejected": pc.cast(pc.is_valid(cutouts.column("rejected")), pa.int64()),
        "nodata": pc.fill_null(pc.cast(cutouts.column("nodata_fraction"), pa.float64()), 0.0),
    }
    grouped = pa.table(columns).group_by("image_id")
    counts = grouped.aggregate([("rejected", "count"), ("rejected", "sum"), ("nodata", "mean")])
    counts = counts.select(["image_id", "rejected_count", "rejected_sum", "nodata_mean"])
    counts = counts.rename_columns(["image_id", "cutouts", "rejected", "nodata"])
    share = pc.divide(pc.cast(counts.column("rejected"), pa.float64()), counts.column("cutouts"))
    order = [("share", "descending"), ("nodata", "descending"), ("image_id", "ascending")]
    return counts.append_column("share", share).sort_by(order)


def _qualities(store: Store, shown: Sequence[dict[str, Any]]) -> list[ImageQuality]:
    """Of some images, by name."""
    from elodin_spark.display.quality import ImageQuality

    ids = [row["image_id"] for row in shown]
    columns = ["image_id", *_MEASURES]
    cutouts = store.dataset("cutouts", columns).to_table(columns=columns, filter=among("image_id", ids))
    images = store.dataset("images", ["path", "hdu"]).to_table(
        columns=["image_id", "path", "hdu"], filter=among("image_id", ids)
    )
    names = {
        row["image_id"]: f"{row['path']}[{row['hdu']}]" if row["hdu"] else row["path"]
        for row in images.to_pylist()
    }
    of = cutouts.column("image_id").to_numpy()
    values = {name: cutouts.column(name).to_numpy().astype(np.float64) for name in _MEASURES}
    found = []
    for row in shown:
        rows = of == row["image_id"]
        spread = {}
        for name, column in values.items():
            known = column[rows]
            known = known[np.isfinite(known)]
            if known.size:
                low, middle, high = np.percentile(known, _PERCENTILES).tolist()
                spread[name] = (low, middle, high)
        found.append(ImageQuality(names[row["image_id"]], row["cutouts"], row["rejected"], spread))
    return sorted(found, key=lambda image: image.name)
