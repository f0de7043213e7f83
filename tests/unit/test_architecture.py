"""Imports run one way, and Spark and TensorFlow stay in their rooms."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers.limits import HANG_S
from helpers.paths import ROOT

PACKAGE = ROOT / "elodin_spark"
MODULES = sorted(PACKAGE.rglob("*.py"))

BASE = ("errors", "ids", "schema", "stage", "config", "provenance", "progress", "exits", "arrow")
BASE += ("diskfiles", "redaction", "terminal")
DOMAIN = (
    "images",
    "cutouts",
    "fingerprints",
    "neighbors",
    "sampling",
    "projection",
    "display",
    "datasets",
    "learning",
)
#: Outer rooms may import inner ones, never the other way.
LAYERS = (
    BASE,
    DOMAIN,
    ("spark",),
    ("catalog",),
    ("planning",),
    ("web",),
    ("cli",),
    ("__main__",),
)
#: A catalog shows itself in a notebook by what is made of catalogs; imported when it is asked to.
DOORS = {("catalog/catalog.py", "elodin_spark.web.notebook")}
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(file: Path) -> tuple[tuple[str, ast.stmt], ...]:
    """Every imported module, wherever in the file it stands: ``elodin_spark.images.fits``."""
    path = file.relative_to(PACKAGE).as_posix()
    return tuple(each for each in _imports(file) if (path, each[0]) not in DOORS)


def _imports(file: Path) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative imports hide which room they reach"
            yield str(node.module), node
            if node.module == "elodin_spark":
                yield from ((f"elodin_spark.{alias.name}", node) for alias in node.names)


def imported_rooms(file: Path) -> Iterator[tuple[str, int]]:
    for name, node in imports(file):
        room = name.split(".")[1] if name.startswith("elodin_spark.") else ""
        if room in RANK:
            yield room, node.lineno


def test_every_module_has_its_place_in_the_order_of_rooms() -> None:
    rooms = {room_of(file) for file in MODULES} - {"__init__"}
    assert rooms <= set(RANK), f"give {sorted(rooms - set(RANK))} a layer here and in docs/architecture.md"


def test_no_room_imports_one_further_out() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {room}"
        for file in MODULES
        if room_of(file) in RANK
        for room, line in imported_rooms(file)
        if RANK[room] > RANK[room_of(file)]
    ]
    assert not wrong


def dotted(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_files(file: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it stands the import."""
    known = {dotted(other) for other in MODULES}
    path = file.relative_to(PACKAGE).as_posix()
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return (found & known) - {dotted(file)} - {name for door, name in DOORS if door == path}


def test_files_do_not_import_each_other_in_a_circle() -> None:
    graph = {dotted(file): imported_files(file) for file in MODULES}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError where there is one


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {room: set() for room in RANK}
    for file in MODULES:
        if room_of(file) in RANK:
            graph[room_of(file)] |= {room for room, _ in imported_rooms(file)} - {room_of(file)}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError where there is one


def test_the_table_of_rooms_is_in_the_order_of_imports() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", page[: page.index("## One contract")], re.MULTILINE)
    place = {
        name.strip("/").removesuffix(".py"): i
        for i, row in enumerate(rows)
        for name in re.findall(r"`(.+?)`", row)
    }
    assert set(place) == set(RANK) - {"__main__"}, "each room stands in the table once"
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {room}"
        for file in MODULES
        if room_of(file) in place
        for room, line in imported_rooms(file)
        if place[room] > place[room_of(file)]
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("pyspark", ("spark/",)),
        ("tensorflow", ("fingerprints/runtimes/tensorflow.py", "fingerprints/runtimes/framework.py")),
        ("keras", ("fingerprints/runtimes/framework.py",)),
        ("jax", ("fingerprints/runtimes/framework.py",)),
        (
            "torch",
            (
                "fingerprints/runtimes/framework.py",
                "learning/torchresnet.py",
                "learning/optimizers.py",
                "learning/pretrainmodel.py",
            ),
        ),
        ("openvino", ("fingerprints/runtimes/openvino.py",)),
        ("nncf", ("fingerprints/runtimes/quantize.py",)),
        ("safetensors", ("fingerprints/weights/packed.py",)),
        ("petastorm", ("learning/feed.py",)),
        ("sqlglot", ("catalog/filters/conditions.py",)),
        ("duckdb", ("catalog/filters/conditions.py",)),
    ],
)
def test_a_heavy_library_is_imported_in_its_room_only(library: str, homes: tuple[str, ...]) -> None:
    for file in MODULES:
        path = file.relative_to(PACKAGE).as_posix()
        if path.startswith(homes):
            continue
        for name, node in imports(file):
            # The catalog may name Spark's types; TYPE_CHECKING blocks are indented, like lazy imports.
            typed = library == "pyspark" and path.startswith("catalog/") and node.col_offset > 0
            assert name.split(".")[0] != library or typed, f"{path}:{node.lineno} imports {library}"


#: Made of PyTorch's layers; imported where PyTorch trains, and nowhere else.
OF_PYTORCH = ("torchresnet.py",)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=HANG_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_or_the_command_line_starts_neither_spark_nor_tensorflow() -> None:
    loaded = run_python(
        "import elodin_spark, elodin_spark.cli.main, elodin_spark.cli.spark_jobs, sys\n"
        "heavy = ('pyspark', 'tensorflow', 'keras', 'openvino', 'faiss', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


BLOCKED = """
import sys
for name in ("pyspark", "tensorflow", "keras", "openvino", "nncf"):
    sys.modules[name] = None  # importing it raises ImportError
"""


def test_everything_outside_the_spark_room_imports_without_spark_and_tensorflow() -> None:
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in MODULES
        if room_of(file) not in ("spark", "__main__") and file.name not in OF_PYTORCH
    ]
    assert len(names) > 20
    run_python(f"{BLOCKED}\nimport importlib\nfor name in {names!r}:\n    importlib.import_module(name)")


def test_the_kernels_run_without_spark_and_tensorflow(tmp_path: Path) -> None:
    printed = run_python(
        f"""{BLOCKED}
import numpy as np
from astropy.io import fits
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.display.map import map_figure
from elodin_spark.images.listing import files_to_batches, list_files
from elodin_spark.images.stage import DescribeSpec
from elodin_spark.neighbors.flat import L2Index
from elodin_spark.projection.reduce import project
from elodin_spark.config.settings import SlidingWindow
from elodin_spark.stage import fuse, run_plain

rng = np.random.default_rng(0)
fits.writeto({str(tmp_path / "sky.fits")!r}, rng.normal(size=(96, 128)).astype(np.float32))
spec = fuse(DescribeSpec(None), TileSpec(SlidingWindow(size=32, step=32), "auto", (), 32))
rows = run_plain(spec, files_to_batches(list_files([{str(tmp_path)!r}])))
ids = np.array([i for i in rows.column("cutout_id").to_pylist() if i is not None])
pixels = [p for p in rows.column("pixels").to_pylist() if p is not None]
vectors = np.array([np.frombuffer(p, np.uint8) for p in pixels], np.float32)
L2Index.build(iter([(ids, vectors)]), vectors.shape[1], expected=len(ids))
xy = project(vectors, "tsne", pca=5, perplexity=3.0, n_neighbors=3, min_dist=0.1, seed=0)
map_figure(xy, [None] * len(xy), method="tsne", subtitle="")
print(len(ids), xy.shape)
"""
    )
    assert printed.split("\n")[-2] == "12 (12, 2)"
