"""Cutouts by a pixel of an image of the catalog."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.settings import Step
from elodin_spark.cutouts.steps import trace_steps
from elodin_spark.errors import InputError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_PIXEL = re.compile(rf"(?P<image>.+):\s*(?P<x>{_NUMBER})\s*,\s*(?P<y>{_NUMBER})\s*", re.DOTALL)
_HDU = re.compile(r"(?P<image>.+)\[(?P<hdu>\d+)\]", re.DOTALL)
_FORM = "a pixel is IMAGE:X,Y, such as field_7/a.fits:456,1470 or a.fits[1]:456,1470"
_NAMED = 5  # images spelt out in a message


def nearest_to_pixel(
    store: Store,
    windows: pa.Table,
    contains: Callable[[ArrayLike], NDArray[np.bool_]],
    pixel: tuple[str, float | None, float | None],
    steps: Literal["auto"] | Sequence[Step] = "auto",
) -> tuple[int, str]:
    """The cutout that shows a pixel of an image best.

    Of the windows that hold the pixel, that whose center is nearest; where none does, the window that is
    nearest. Of equals that of the smallest ID.

    Parameters
    ----------
    store : Store
    windows : pyarrow.Table
        Of :data:`elodin_spark.catalog.search.engine.WINDOW_COLUMNS`, by ascending ID.
    contains : callable
        Whether cutouts, by their IDs, have fingerprints; the others are not found.
    pixel : (str, float or None, float or None)
        Image, x and y. The image by its path below the archive root, or an end of it that
        no other has; where it has several HDUs, ``IMAGE[HDU]``. x is the column and y the row, px, from
        0, as in the windows of the catalog; None is the middle.
    steps : "auto" or sequence of Step
        Of images before they are cut: windows lie on the grid that these leave.

    Returns
    -------
    cutout_id : int
    said : str
        Where it lies: which pixel it holds, or how far it is away.

    Raises
    ------
    InputError
        No image, or several, are called so; the pixel is outside the image; the image has no cutout.
    """
    name, x, y = pixel
    image = _image(store, name)
    if steps != "auto" and image["width"] is not None and image["height"] is not None:
        (height, width, *_), _ = trace_steps((image["height"], image["width"]), steps)
        image |= {"width": width, "height": height}
    x, y = _or_middle(image, "width", x), _or_middle(image, "height", y)
    _check_inside(image, x, y)
    rows = windows.filter(pc.equal(windows.column("image_id"), image["image_id"]))
    rows = rows.filter(pa.array(contains(rows.column("cutout_id").to_numpy()), pa.bool_()))
    called = _called(image)
    if not rows.num_rows:
        raise InputError(f"no cutout of {called} has a fingerprint: ask with another image")
    x0, y0, x1, y1 = (rows.column(side).to_numpy().astype(np.float64) for side in ("x0", "y0", "x1", "y1"))
    # Half-open windows of whole pixels: the first reaches from -0.5 to 0.5.
    apart = np.hypot(_beyond(x, x0, x1), _beyond(y, y0, y1))
    center = np.hypot(x - (x0 + x1 - 1) / 2, y - (y0 + y1 - 1) / 2)
    ids = rows.column("cutout_id").to_numpy()
    best = int(np.lexsort((ids, center, apart))[0])
    place = f"pixel {x:g},{y:g} of {called}"
    said = f"which holds {place}" if apart[best] == 0 else f"{apart[best]:.3g} px from {place}"
    return int(ids[best]), said


def _or_middle(image: dict[str, Any], side: str, value: float | None) -> float:
    if value is not None:
        return value
    if image[side] is None:
        raise InputError(f"the size of {_called(image)} is not known: ask with a pixel of it")
    return float((image[side] - 1) / 2)


def parsed_pixel(at: Any) -> tuple[str, float, float]:
    """Image, x and y of ``IMAGE:X,Y``, or of the three; InputError where it is neither."""
    if isinstance(at, str):
        found = _PIXEL.fullmatch(at)
        if found is None:
            raise InputError(f"{_FORM}; got {at!r}")
        return found["image"], float(found["x"]), float(found["y"])
    try:
        name, x, y = at
        name, x, y = str(name), float(x), float(y)
    except (TypeError, ValueError):
        raise InputError(f"{_FORM}, or (image, x, y); got {at!r}") from None
    if not (np.isfinite(x) and np.isfinite(y)):
        raise InputError(f"{_FORM}; got x {x:g}, y {y:g}")
    return name, x, y


def _image(store: Store, name: str) -> dict[str, Any]:
    """The one row of the images table that is meant."""
    columns = ["image_id", "path", "hdu", "width", "height", "status", "error"]
    images = store.dataset("images").to_table(columns=columns).to_pylist()
    found = _named(images, name, store.meta["root"])
    if not found and (split := _HDU.fullmatch(name)):  # a name may itself end in brackets
        of_file = _named(images, split["image"], store.meta["root"])
        found = [row for row in of_file if row["hdu"] == int(split["hdu"])]
        if of_file and not found:
            there = ", ".join(str(row["hdu"]) for row in sorted(of_file, key=_hdu))
            raise InputError(f"{of_file[0]['path']} has no image in HDU {split['hdu']}; it has in {there}")
    if not found:
        raise InputError(f"no image {name!r} in {store.path}{_near(images, name)}")
    if len({row["path"] for row in found}) > 1:
        raise InputError(f"several images end in {name!r}: {_listed(sorted({r['path'] for r in found}))}")
    usable = [row for row in found if row["status"] == "ok"]
    if not usable:
        raise InputError(f"{found[0]['path']} could not be used: {found[0]['error']}")
    if len(usable) > 1:
        forms = _listed([f"{row['path']}[{row['hdu']}]" for row in sorted(usable, key=_hdu)])
        raise InputError(f"{usable[0]['path']} holds several images: say which of {forms}")
    return usable[0]


def _named(images: Sequence[dict[str, Any]], name: str, root: str) -> list[dict[str, Any]]:
    """Images called so: exactly, as a file seen from here, by whole parts of the path, by its end."""
    below = _below(name, root)
    for called in (
        lambda path: path == name,
        lambda path: path == below,
        lambda path: path.endswith(f"/{name}"),
        lambda path: path.endswith(name),
    ):
        if found := [row for row in images if called(row["path"])]:
            return found
    return []


def _below(name: str, root: str) -> str | None:
    """The path below the archive root of a file as it is reached from the working folder."""
    try:
        return Path(name).resolve().relative_to(Path(root).resolve()).as_posix()
    except (OSError, ValueError):
        return None


def _near(images: Sequence[dict[str, Any]], name: str) -> str:
    paths = sorted({row["path"] for row in images})
    ends = {path.rsplit("/", 1)[-1]: path for path in reversed(paths)}
    near = difflib.get_close_matches(name, paths, n=3) or [
        ends[end] for end in difflib.get_close_matches(name.rsplit("/", 1)[-1], list(ends), n=3)
    ]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; it has {_listed(paths)}" if paths else ""


def _check_inside(image: dict[str, Any], x: float, y: float) -> None:
    width, height = image["width"], image["height"]
    if width is None or height is None:
        return
    if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
        raise InputError(
            f"pixel {x:g},{y:g} is outside {_called(image)}, which is {width} x {height} px: "
            f"x from 0 to {width - 1}, y from 0 to {height - 1}"
        )


def _beyond(value: float, first: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a coordinate is beyond windows; 0 within."""
    return np.maximum(np.maximum(first - 0.5 - value, value - (end - 0.5)), 0.0)


def _hdu(image: dict[str, Any]) -> int:
    return int(image["hdu"] or 0)


def _called(image: dict[str, Any]) -> str:
    return f"{image['path']}[{image['hdu']}]" if image["hdu"] else str(image["path"])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
