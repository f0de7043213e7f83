"""The demonstration: a simulated survey through the main job, held against its truth."""

from __future__ import annotations

import csv
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.catalog import Catalog, open_or_create
from elodin_spark.config import dump_settings, parse_settings
from elodin_spark.errors import InputError
from elodin_spark.progress import Progress
from elodin_spark.settings.shipped import SURVEY, shipped_weights
from elodin_spark.simulate import ARTEFACT_TYPES, simulate

WINDOW_PX, STEP_PX, INPUT_PX = 96, 48, 96
#: Softer than the default: a network that was never trained is taken in by noise.
STRETCH = {
    "type": "AsinhStretch",
    "parameters": {"black_sigma": 0, "softening_sigma": 30, "white_percentile": 99.9},
}
#: Queries are taken of these types, in this order, where the survey has them well centred.
QUERY_TYPES = ("spiral", "edge_on", "lens", "merger", "elliptical", "star")
N_QUERIES = 3
_CENTRED_PX = STEP_PX / 2


@dataclass(frozen=True)
class Truth:
    """The objects of a simulated survey, one element per row of its truth table.

    Attributes
    ----------
    tile, kind : ndarray of str, shape (n,)
    x, y : ndarray of float, shape (n,)
        px, 0-based, x = column.
    radius_px : ndarray of float, shape (n,)
    """

    tile: NDArray[np.str_]
    kind: NDArray[np.str_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    radius_px: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Read ``truth.csv``."""
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        numbers = {name: np.array([float(row[name]) for row in rows]) for name in ("x", "y", "radius_px")}
        return cls(
            np.array([row["tile"] for row in rows]), np.array([row["type"] for row in rows]), **numbers
        )

    def inside(self, row: dict[str, Any]) -> NDArray[np.intp]:
        """Objects whose centre lies in the window of a cutout, largest first."""
        found = self.tile == row["image"].rsplit("/", 1)[-1]
        found &= (self.x >= row["x0"] - 0.5) & (self.x < row["x1"] - 0.5)
        found &= (self.y >= row["y0"] - 0.5) & (self.y < row["y1"] - 0.5)
        rows = np.flatnonzero(found)
        return rows[np.argsort(-self.radius_px[rows], kind="stable")]

    def is_spoilt(self, row: dict[str, Any]) -> bool:
        """Whether an artefact of the same tile may reach into the window of a cutout."""
        found = np.isin(self.kind, ARTEFACT_TYPES) & (self.tile == row["image"].rsplit("/", 1)[-1])
        dx, dy = self.x - (row["x0"] + row["x1"] - 1) / 2, self.y - (row["y0"] + row["y1"] - 1) / 2
        reach = self.radius_px + (row["x1"] - row["x0"]) / 2
        return bool((found & (np.hypot(dx, dy) < reach)).any())

    def type_in(self, row: dict[str, Any]) -> str:
        """Type of the largest object in the window of a cutout, or ``sky``."""
        rows = self.inside(row)
        return str(self.kind[rows[0]]) if rows.size else "sky"


def run_demo(out: Path, *, tiles: int = 12, seed: int = 0) -> Catalog:
    """Simulate a survey below `out`, run the main job on it and print what it finds.

    Parameters
    ----------
    out : Path
        Made where absent; a demonstration that stopped half-way is taken up again.
    tiles : int
    seed : int

    Returns
    -------
    Catalog

    Raises
    ------
    InputError
        `out` holds something else, or a demonstration of another size or seed.
    """
    truth_file = _survey(out, tiles, seed)
    catalog_path = out / "catalog"
    settings = parse_settings(
        {
            "catalog": str(catalog_path),
            "seed": seed,
            "images": {"paths": str(out / "survey" / "tiles"), "hdu": "IMAGE", "steps": [STRETCH]},
            "cutouts": {"generator": {"kind": "sliding_window", "size": WINDOW_PX, "step": STEP_PX}},
            "fingerprints": demo_network(seed),
        }
    )
    config = out / "demo.yaml"
    config.write_text(dump_settings(settings), encoding="utf-8")
    catalog = open_or_create(catalog_path, settings)
    print(catalog.run().text())
    truth = Truth.read(truth_file)
    queries = choose_queries(catalog, truth)
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    print(f"\n{catalog.describe()}")
    if settings.fingerprints.weights != SURVEY:
        print("A network that was never trained sees brightness and texture and little else.")
    for query, kind in queries:
        found = catalog.neighbors(query)
        print(f"\n{kind} {query}: {_window(catalog.describe_cutouts([query])[0])}")
        print(f"{'rank':>4}  {'cutout_id':>19}  {'L2 distance':>11}  {'holds':<16}window (px) and tile")
        for row in found:
            holds = truth.type_in(row)
            distance = f"{row['distance']:>11.4f}"
            print(f"{row['rank']:>4}  {row['cutout_id']:>19}  {distance}  {holds:<16}{_window(row)}")
        for metric in settings.neighbors.metrics:
            catalog.plot_neighbors(query, figures / f"{kind}_{metric}.png", metric=metric)
    for figure in catalog.figures():
        (figures / figure.name).write_bytes(figure.read_bytes())
    _next_commands(out, config, catalog_path, queries)
    return catalog


def demo_network(seed: int) -> dict[str, Any]:
    """Settings of the fingerprints: the weights of the package, or without them a network never trained."""
    if shipped_weights() is None:
        return {"weights": f"random:{seed}", "input_px": INPUT_PX}
    return {"weights": SURVEY}


def choose_queries(catalog: Catalog, truth: Truth) -> list[tuple[int, str]]:
    """Cutouts in which an object of the truth stands alone and well centred.

    Returns
    -------
    list of (int, str)
        Cutout ID and type; at most :data:`N_QUERIES`, each of another type.
    """
    ids = [int(i) for i in catalog.cutout_ids()]
    rows = catalog.describe_cutouts(ids)
    chosen: list[tuple[int, str]] = []
    for kind in QUERY_TYPES:
        best: tuple[float, int] | None = None
        for row in rows:
            there = truth.inside(row)
            if not there.size or truth.kind[there[0]] != kind or truth.is_spoilt(row):
                continue
            dx = truth.x[there[0]] - (row["x0"] + row["x1"] - 1) / 2
            dy = truth.y[there[0]] - (row["y0"] + row["y1"] - 1) / 2
            offset = float(np.hypot(dx, dy))
            if offset <= _CENTRED_PX and (best is None or (offset, row["cutout_id"]) < best):
                best = (offset, row["cutout_id"])
        if best is not None:
            chosen.append((best[1], kind))
        if len(chosen) == N_QUERIES:
            break
    return chosen


def _survey(out: Path, tiles: int, seed: int) -> Path:
    survey, partial, done = out / "survey", out / ".survey.partial", out / "survey.txt"
    wanted = f"{tiles} tiles, seed {seed}\n"
    if done.exists():
        if (there := done.read_text(encoding="utf-8")) != wanted:
            raise InputError(
                f"{out} holds a demonstration of {there.strip()}; choose another folder or the same options"
            )
        print(f"simulated survey: {survey} is there already")
        return survey / "truth.csv"
    if out.exists() and (not out.is_dir() or any(entry != partial for entry in out.iterdir())):
        raise InputError(f"{out} exists and is not a demonstration; choose another folder")
    if partial.exists():
        shutil.rmtree(partial)  # left by a run that was stopped
    with Progress(tiles, "simulating a survey", "tiles") as progress:
        simulate(partial, tiles=tiles, seed=seed, progress=lambda done, total: progress.to(done))
    partial.rename(survey)
    done.write_text(wanted, encoding="utf-8")
    return survey / "truth.csv"


def _window(row: dict[str, Any]) -> str:
    return f"[{row['x0']}:{row['x1']}, {row['y0']}:{row['y1']}] {row['image']}"


def _next_commands(out: Path, config: Path, catalog: Path, queries: Sequence[tuple[int, str]]) -> None:
    def quoted(*words: object) -> str:
        return shlex.join(str(word) for word in words)

    print(f"\nfigures: {out / 'figures'}\n\nnext:")
    for query, kind in queries[:1]:
        print(f"  {quoted('elodin-spark', 'neighbors', catalog, query, '-k', 20, '--plot', f'{kind}.png')}")
        print(f"  {quoted('elodin-spark', 'neighbors', catalog, query, '--metric', 'jaccard')}")
    print(f"  {quoted('elodin-spark', 'info', catalog)}")
    own = quoted(
        "elodin-spark", "run", config, "--set", "catalog=mine", "--set", "images.paths=YOUR_FITS_FOLDER"
    )
    print(f"  {own} --set images.hdu=null --set images.steps=auto   # your own images")
