"""What neighbors are asked of: cutouts by ID, position or pixel, a vector, a picture."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.search.coordinates import arcsec_of, degrees_of
from elodin_spark.catalog.search.html import inline_picture
from elodin_spark.catalog.search.pixels import nearest_to_pixel, parsed_pixel
from elodin_spark.catalog.search.positions import Places, checked_radius, within
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Settings, Step
from elodin_spark.errors import LEAVE_OUT, InputError
from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.fingerprints.resolve import ResolvedNetwork
from elodin_spark.fingerprints.transform import load_transform
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.uris import is_fits
from elodin_spark.neighbors.base import ExternalQueries
from elodin_spark.neighbors.distance import checked_vector
from elodin_spark.progress import counted
from elodin_spark.stage import run_plain

Way = Literal["id", "position", "pixel", "vector", "image"]

#: Beyond this the nearest cutout is no answer to a position, whatever the radius.
_FAR_ARCSEC = 3600.0


@dataclass(frozen=True, eq=False, repr=False)
class Query:
    """What neighbors are asked of: cutouts, a vector, an image. Made by one of the ``from_`` methods.

    A catalog looks it up when it is asked, or beforehand by :meth:`Catalog.resolve`.

    Examples
    --------
    >>> Query.from_position((150.1, 2.2), radius_arcsec=3)
    Query.from_position((150.1, 2.2), radius_arcsec=3.0)
    """

    way: Way
    value: Any
    radius_arcsec: float | None = None

    @classmethod
    def from_id(cls, cutout_id: int | Iterable[int]) -> Query:
        """Ask with a cutout, or with several, each answered by itself.

        Raises
        ------
        InputError
            Something else than whole numbers, or none.
        """
        numbers = whole_ids(cutout_id)
        if not numbers:
            raise InputError("no cutout ID is given to ask with")
        return cls("id", numbers)

    @classmethod
    def from_position(cls, position: Any, radius_arcsec: Any = None) -> Query:
        """Ask with the cutout whose center is nearest to a position.

        Parameters
        ----------
        position : SkyCoord, or (float, float)
            Plain numbers are RA and Dec, ICRS, deg.
        radius_arcsec : Quantity or float, optional
            How far that may be, a plain number in arcsec; by default half the longer side of its window.

        Raises
        ------
        InputError
            It is no position, or a number is out of range.
        """
        radius = None if radius_arcsec is None else checked_radius(arcsec_of(radius_arcsec))
        return cls("position", degrees_of(position), radius)

    @classmethod
    def from_pixel(cls, image: str, x: float | None = None, y: float | None = None) -> Query:
        """Ask with the cutout that shows a pixel best.

        Parameters
        ----------
        image : str
            Its path below the archive root or an end of it that no other has, with ``[HDU]`` where it has
            several; or ``IMAGE:X,Y``, all of it.
        x, y : float, optional
            px from 0, x the column and y the row, as in the answers.

        Raises
        ------
        InputError
            That is no image and pixel.
        """
        return cls("pixel", parsed_pixel(image if x is None and y is None else (image, x, y)))

    @classmethod
    def from_vector(cls, vector: ArrayLike | str | Path) -> Query:
        """Ask with a vector like those of the catalog, shape (d,), or an ``.npy`` file with one."""
        return cls("vector", vector)

    @classmethod
    def from_image(cls, image: str | Path) -> Query:
        """Ask with an image file, fingerprinted whole by the recipe of the catalog."""
        return cls("image", image)

    def __repr__(self) -> str:
        value = self.value
        if self.way == "id":
            value = value[0] if len(value) == 1 else list(value)
        elif self.way == "vector" and not isinstance(value, str | Path):
            value = f"<{len(value)} numbers>" if isinstance(value, Sized) else value
            return f"Query.from_vector({value})"
        elif self.way == "pixel":
            return f"Query.from_pixel({', '.join(map(repr, value))})"
        radius = "" if self.radius_arcsec is None else f", radius_arcsec={self.radius_arcsec!r}"
        return f"Query.from_{self.way}({value!r}{radius})"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"


@dataclass(frozen=True, eq=False, repr=False)
class ResolvedQuery:
    """A query that a catalog has looked up, to be asked as often as wanted.

    Attributes
    ----------
    name : str
        What to call it.
    cutout_ids : tuple of int
        The cutouts; empty where it is none.
    outside : ExternalQueries, optional
        What is no cutout of the catalog.
    picture : dict, optional
        Of an image: what a figure shows of it, see :class:`~elodin_spark.display.neighbors.Panel`.
    """

    name: str
    cutout_ids: tuple[int, ...] = ()
    outside: ExternalQueries | None = None
    picture: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<ResolvedQuery: {self.name}>"

    def _repr_html_(self) -> str:
        picture = "" if self.picture is None else inline_picture(self.picture["thumbnail"])
        return f"<div>{picture} {escape(self.name)}</div>"


def by_id(cutout_ids: tuple[int, ...]) -> ResolvedQuery:
    """Ask by IDs."""
    count = len(cutout_ids)
    return ResolvedQuery(f"cutout {cutout_ids[0]}" if count == 1 else counted(count, "cutout"), cutout_ids)


def by_position(places: Places, position: tuple[float, float], radius_arcsec: float | None) -> ResolvedQuery:
    """Ask by the cutout whose center is nearest to a position (ICRS, deg).

    Raises
    ------
    InputError
        There is none within the radius, by default half the size of the window.
    """
    ra, dec = position
    found = places.nearest([ra], [dec])
    cutout, apart, reach = int(found.cutout_id[0]), found.separation_arcsec[0], found.reach_arcsec[0]
    if not within(found, radius_arcsec)[0]:
        limit = radius_arcsec if radius_arcsec is not None else reach
        asked = f"{limit:.4g} arcsec" if np.isfinite(limit) else "half a window, whose scale is not known,"
        if apart > _FAR_ARCSEC:
            nearest = f"{apart / 3600:.4g} deg away"
        else:
            nearest = f"{apart:.4g} arcsec away: give a larger radius to ask with it"
        raise InputError(
            f"no cutout has its center within {asked} of RA {ra:g}, Dec {dec:g} deg; the nearest, {cutout}, "
            f"is {nearest}"
        )
    return ResolvedQuery(f"cutout {cutout}, {apart:.3g} arcsec from RA {ra:g}, Dec {dec:g} deg", (cutout,))


def by_pixel(
    store: Store,
    windows: pa.Table,
    contains: Callable[[ArrayLike], NDArray[np.bool_]],
    pixel: tuple[str, float | None, float | None],
    steps: Literal["auto"] | Sequence[Step],
) -> ResolvedQuery:
    """Ask by the cutout that shows a pixel best: see `nearest_to_pixel`."""
    cutout, said = nearest_to_pixel(store, windows, contains, pixel, steps)
    return ResolvedQuery(f"cutout {cutout}, {said}", (cutout,))


def by_vector(
    store: Store, settings: Settings, vector: ArrayLike | str | Path, dimension: int
) -> ResolvedQuery:
    """Ask by a vector of the catalog's dimension.

    Its labels are known where they are the strongest units of a vector, or its nearest prototypes;
    elsewhere jaccard cannot be asked with it.

    Raises
    ------
    InputError
        As :func:`~elodin_spark.neighbors.distance.checked_vector`.
    """
    checked = checked_vector(vector, dimension)[np.newaxis]
    sets, most = None, settings.neighbors.labels or settings.fingerprints.top_labels
    transform = load_transform(store.transform)
    if transform is not None and transform.prototypes is not None:
        found, _ = transform.prototypes.label_sets(checked, settings.fingerprints.top_labels)
        sets = [row[:most] for row in found]
    elif store.labels == "units" and transform is None:
        sets = label_sets(checked, most)[0]
    name = f"the vector of {vector}" if isinstance(vector, str | Path) else "a vector"
    return ResolvedQuery(name, outside=ExternalQueries(checked, sets))


def whole_ids(given: int | Iterable[int]) -> tuple[int, ...]:
    """Cutout IDs, one or several, as Python's own numbers.

    Raises
    ------
    InputError
        Something else than whole numbers of 64 bits.
    """
    try:
        some = given if isinstance(given, Iterable) else (given,)
        numbers = tuple(operator.index(each) for each in some)
    except TypeError as error:
        raise InputError(
            f"a cutout ID is a whole number: {error}; other queries are Query.from_position, from_pixel, "
            "from_vector and from_image"
        ) from None
    for number in numbers:
        if not -(1 << 63) <= number < 1 << 63:
            raise InputError(f"a cutout ID has 63 bits, and {number} more")
    return numbers


def by_image(
    store: Store, settings: Settings, network: Callable[[], ResolvedNetwork], file: str | Path
) -> ResolvedQuery:
    """Ask by an image file, fingerprinted whole and as the catalog's own cutouts are, in this process.

    Parameters
    ----------
    store : Store
    settings : Settings
        Of the recipe of the catalog.
    network : callable
        Gives the network of the catalog; called once there is an image to ask with.
    file : str or Path
        Of any kind that is read, local or remote; of a FITS file the HDU of the settings or, where
        it has no such, the first image.

    Raises
    ------
    InputError
        The file cannot be read, holds no image or several, or is rejected by a rule of quality; in
        dense mode, it is not of the size of a window.
    """
    # Here, not above: other queries need nothing that reads images.
    from elodin_spark.catalog.build.pipeline import fingerprinting_whole

    images = settings.images
    files = list_files([str(file)], None, images.storage)
    if len(files) != 1:
        raise InputError(f"{file} holds {len(files)} image files; ask with one")
    if images.color is not None and is_fits(files[0].uri):
        raise InputError(
            f"{file} is one plane, and the cutouts of {store.path} are of several bands: ask with a "
            "picture in color, such as a PNG"
        )
    hdu = None if images.hdu == "all" else images.hdu

    def fingerprinted(hdu: int | str | None) -> pa.Table:
        recipe, transform = store.meta["recipe_id"], store.transform
        stages = fingerprinting_whole(settings, network(), recipe, hdu=hdu, transform=transform)
        return run_plain(stages, files_to_batches(files))

    rows = fingerprinted(hdu)
    if hdu is not None and _failure(rows, "no_such_hdu"):
        rows = fingerprinted(None)
    if failure := _failure(rows):
        raise InputError(f"{file} cannot be asked with: {failure['message'].removesuffix(LEAVE_OUT)}")
    windows = rows.filter(rows.column("cutout_id").is_valid()).to_pylist()
    if len(windows) != 1:
        size = windows[0] if windows else None
        wanted = f", of {size['x1'] - size['x0']} x {size['y1'] - size['y0']} px," if size else ""
        raise InputError(f"{file} makes {counted(len(windows), 'window')}, and one{wanted} can be asked with")
    (window,) = windows
    if window["rejected"] is not None:
        raise InputError(f"{file} cannot be asked with: rejected, {window['rejected']}")
    found = rows.filter(rows.column("vector").is_valid())
    vectors = to_matrix(found.column("vector").combine_chunks())
    labels = np.asarray(window["labels"][: settings.neighbors.labels], np.int32)
    picture = {name: window[name] for name in ("x0", "y0", "x1", "y1", "ra", "dec", "thumbnail")}
    picture |= {"cutout_id": None, "image": Path(file).name}
    picture["labels"] = [store.label_name(label) for label in window["labels"]]
    return ResolvedQuery(f"the image {file}", outside=ExternalQueries(vectors, [labels]), picture=picture)


def _failure(rows: pa.Table, kind: str | None = None) -> dict[str, Any] | None:
    """The first refusal among rows, of a kind."""
    failures = rows.column("failure").drop_null().to_pylist()
    return next((failure for failure in failures if kind in (None, failure["kind"])), None)
