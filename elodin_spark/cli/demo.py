"""The demonstration: a simulated survey through the main job, held against its truth."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elodin_spark.catalog import Catalog, open_or_create
from elodin_spark.catalog.search.figures import panels_of
from elodin_spark.catalog.search.neighbors import Neighbors
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.load import dump_settings, parse_settings
from elodin_spark.config.shipped import SURVEY, shipped_weights
from elodin_spark.datasets import simulate
from elodin_spark.datasets.truth import NAMES, Truth, write_share
from elodin_spark.display.style import save_figure
from elodin_spark.display.typed import TypedRow, typed_figure
from elodin_spark.errors import InputError
from elodin_spark.progress import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW_PX, STEP_PX, INPUT_PX = 96, 48, 96
#: Softer than the default: a network that was never trained is taken in by noise.
STRETCH = {
    "type": "AsinhStretch",
    "parameters": {"black_sigma": 0, "softening_sigma": 30, "white_percentile": 99.9},
}
#: Queries are taken of these types, so many of each line, in this order, where the survey has them alone
#: and well centerd.
QUERY_TYPES = (
    (("spiral", "edge_on", "lens", "merger", "elliptical", "star"), 3),
    (("satellite_trail", "saturated_star", "bad_column"), 1),
)
N_NEIGHBORS = 10
UNTRAINED = "A network that was never trained sees brightness and texture and little else."
EXPLAINED = (
    "Framed and marked: what holds the same type of object by the truth table of the survey. "
    "The percentage is the share of that type among all cutouts."
)


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
    rows = catalog.describe_cutouts(int(i) for i in catalog.cutout_ids())
    types = [truth.type_in(row) for row in rows]
    answers = [
        _answer(catalog, truth, kind, row, types.count(kind) / len(types))
        for row, kind in choose_queries(rows, truth)
    ]
    print(f"\n{catalog.describe()}")
    if settings.fingerprints.weights != SURVEY:
        print(UNTRAINED)
    for answer in answers:
        print(answer.text())
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    for answer in answers:
        for metric in settings.neighbors.metrics:
            name = f"{answer.kind}_{metric}.png"
            catalog.plot_neighbors(answer.query["cutout_id"], figures / name, metric=metric)
    if answers:
        about = f"{tiles} simulated tiles, seed {seed}: {len(rows):,} cutouts of {WINDOW_PX} px"
        save_figure(_figure(catalog, answers, about), figures / "demo.png")
    for figure in catalog.figures():
        (figures / figure.name).write_bytes(figure.read_bytes())
    _next_commands(out, config, catalog_path, answers)
    return catalog


def demo_network(seed: int) -> dict[str, Any]:
    """Settings of the fingerprints: defaults, or without weights of the package a network never trained."""
    if shipped_weights() is None:
        return {"weights": f"random:{seed}", "input_px": INPUT_PX}
    return {}


def choose_queries(rows: Sequence[dict[str, Any]], truth: Truth) -> list[tuple[dict[str, Any], str]]:
    """Cutouts in which a thing of the truth stands alone and well centerd.

    Parameters
    ----------
    rows : sequence of dict
        Of :meth:`Catalog.describe_cutouts`.
    truth : Truth

    Returns
    -------
    list of (dict, str)
        Row and type: at most as many as :data:`QUERY_TYPES` asks for, each of another type.
    """
    best: dict[str, tuple[float, int, dict[str, Any]]] = {}
    for row in rows:
        if (alone := truth.stands_alone(row)) is not None:
            kind, off = alone
            one = (off, row["cutout_id"], row)
            best[kind] = min(best.get(kind, one), one, key=lambda found: found[:2])
    chosen: list[tuple[dict[str, Any], str]] = []
    for kinds, count in QUERY_TYPES:
        chosen += islice(((best[kind][2], kind) for kind in kinds if kind in best), count)
    return chosen


@dataclass(frozen=True)
class _Answer:
    """A query, its neighbors by L2, and their types by the truth."""

    kind: str
    query: dict[str, Any]
    chance: float  # share of the type among all cutouts
    found: Neighbors
    types: list[str]

    def text(self) -> str:
        lines = [
            f"\n{NAMES[self.kind][0]} {self.query['cutout_id']}: {_window(self.query)}",
            f"{'rank':>4}  {'neighbor_id':>19}  {'L2 distance':>11}  {'holds':<16}"
            "window [x, y] (px) and tile",
        ]
        for row, kind in zip(self.found, self.types, strict=True):
            near = f"{row['rank']:>4}  {row['neighbor_id']:>19}  {row['distance']:>11.4f}"
            lines.append(f"{near}  {NAMES[kind][0]:<16}{_window(row)}")
        lines.append(f"{self.share()}; {self.by_chance()}")
        return "\n".join(lines)

    def share(self) -> str:
        return write_share(self.kind, self.types)

    def by_chance(self) -> str:
        return f"{self.chance:.0%} of all cutouts are"


def _answer(catalog: Catalog, truth: Truth, kind: str, query: dict[str, Any], chance: float) -> _Answer:
    found = catalog.neighbors(query["cutout_id"], N_NEIGHBORS)
    return _Answer(kind, query, chance, found, [truth.type_in(row) for row in found])


def _figure(catalog: Catalog, answers: Sequence[_Answer], about: str) -> Figure:
    store = Store(catalog.path)
    rows = []
    for answer in answers:
        query, *near = panels_of(store, [answer.query, *answer.found])
        names = [NAMES[kind][0] for kind in answer.types]
        rows.append(TypedRow(answer.share(), answer.by_chance(), query, near, NAMES[answer.kind][0], names))
    title = f"Cutouts of a simulated survey and the {N_NEIGHBORS} nearest to each by L2 distance"
    return typed_figure(rows, title=title, note=f"{catalog.describe()} · {about}", footer=EXPLAINED)


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


def _next_commands(out: Path, config: Path, catalog: Path, answers: Sequence[_Answer]) -> None:
    def quoted(*words: object) -> str:
        return shlex.join(str(word) for word in words)

    print(f"\nfigures: {out / 'figures'}\n\nnext:")
    for answer in answers[:1]:
        query, plot = answer.query["cutout_id"], f"{answer.kind}.png"
        print(f"  {quoted('elodin-spark', 'neighbors', catalog, query, '-k', 20, '--plot', plot)}")
        print(f"  {quoted('elodin-spark', 'neighbors', catalog, query, '--metric', 'jaccard')}")
    print(f"  {quoted('elodin-spark', 'info', catalog)}")
    print(f"  {quoted('elodin-spark', 'explore', catalog, '--open')}   # look around in the browser")
    own = quoted(
        "elodin-spark", "run", config, "--set", "catalog=mine", "--set", "images.paths=YOUR_FITS_FOLDER"
    )
    print(f"  {own} --set images.hdu=null --set images.steps=auto   # your own images")
