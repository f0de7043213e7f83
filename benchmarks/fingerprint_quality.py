"""How good fingerprints are: labeled cutouts, several recipes, one table.

    python benchmarks/fingerprint_quality.py --sets efigi radio --recipes pca haralick random --px 64
    python benchmarks/fingerprint_quality.py --sets efigi --recipes model.weights.h5 --scores precision
    python benchmarks/fingerprint_quality.py --recipes random:px=96,transform=standardize,metric=cosine
    python benchmarks/fingerprint_quality.py --recipes survey:augmentations=1,layer=avg_pool --transforms auto
    python benchmarks/fingerprint_quality.py --transforms auto --recipes "survey&imagenet-lite:px=128"
    python benchmarks/fingerprint_quality.py --recipes random --transforms none standardize whiten64 power+l2
    python benchmarks/fingerprint_quality.py --set mine=cutouts/ --set other=labels.csv --sets mine other

A recipe is pca (pixels to 64 principal components), haralick (texture), or what fingerprints.weights
takes: random:SEED, imagenet, survey, imagenet-lite, a file or URI. Options follow a colon: px, transform,
metric, backbone, layer, augmentations. A set is efigi or radio below --data; efigi-held, the third of efigi
that the weights survey did not learn from; or NAME=PATH of a folder with a folder for each class, or of a CSV
of file,label[,object].

precision: share of the 10 nearest others of the same class, mean by class, mean of the classes;
over the first: how far above that of the first recipe, cutout by cutout.
jaccard: the same by label sets. probe: a linear classifier, in 5 folds by object; balanced: mean over
classes. found: copies (turned, noisy, blurred, shifted) that stand before all else, of up to 1,000
cutouts. In brackets the 95 % intervals, by a bootstrap over objects. CPU, ms: what a cutout of 224 px in
memory takes on the way to its vector, resizing and transform included; the recipes are timed by turns.

Pictures and copies are read or made one by one; the peak of memory is printed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import machine, one_thread, report
from quality_recipes import (
    BASELINES,
    LearnedCopies,
    Recipe,
    Steps,
    Vectors,
    crossed,
    fit_transform,
    learned_rows,
    prototypes,
    units,
)

from elodin_spark.errors import ElodinError, InputError, WeightsError
from elodin_spark.fingerprints.copies import BLUR_SIDE, COPIES, NOISE_LEVELS, SHIFT_SIDE, copies
from elodin_spark.fingerprints.transform import Copied
from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.learning.labeled import LabeledSet, read_set
from elodin_spark.learning.quality import (
    Score,
    l2_index,
    linear_probe,
    mean_score,
    nearest_others,
    precision_at_k,
    retrieval,
    shares_of_same,
)
from elodin_spark.neighbors.cosine import CosineIndex
from elodin_spark.neighbors.labels.clustering import train_centers
from elodin_spark.neighbors.labels.index import LabelIndex, TieBroken
from elodin_spark.neighbors.labels.shard import LabelShard, add_label_shard

#: Where the named sets are below the folder of data.
NAMED = {"efigi": "efigi/labels.csv", "radio": "radio_galaxies"}
#: Of a set that weights of the package learned from, what they did not: share and seed of their training.
HELD = {"efigi-held": ("efigi", 1 / 3, 0)}
_SCORES = ("precision", "jaccard", "probe", "found")
#: Weights that a machine may lack: a line says so, and the rest is scored.
_MAY_LACK = ("imagenet", "survey", "imagenet-lite")
#: Of the cutouts that are timed: a window of a catalog, px; and how often they are.
_TIMED_PX, _TIMED_TURNS = 224, 3
_PRINTED = Path("-")


def main() -> int:
    """Parse the command line, run, report."""
    options = parse()
    one_thread()
    try:
        result, rows = run(options)
    except ElodinError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.json not in (None, _PRINTED):
        options.json.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    if options.json == _PRINTED:
        report(result, rows, as_json=True)
    else:
        columns = list(dict.fromkeys(name for row in rows for name in row["scores"]))
        report(result, [table_row(row, columns) for row in rows], as_json=False)
    print(f"peak of resident memory: {result['peak, MiB']:,} MiB", file=sys.stderr)
    if options.figure is not None:
        from quality_figure import draw

        draw(rows, options.figure)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of efigi and radio")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=PATH", help="a set of your own")
    parser.add_argument("--sets", nargs="+", help="names; all by default")
    parser.add_argument("--recipes", nargs="+", default=["pca", "haralick", "random"])
    parser.add_argument(
        "--transforms", nargs="+", default=["none"], help="of networks whose recipe names none"
    )
    parser.add_argument("--metrics", nargs="+", choices=("l2", "cosine"), default=["l2"], help="likewise")
    parser.add_argument("--px", type=int, default=64, help="of recipes that name none")
    parser.add_argument("--scores", nargs="+", choices=_SCORES, default=list(_SCORES))
    parser.add_argument(
        "--labels", nargs="+", choices=("units", "prototypes"), default=["units", "prototypes"]
    )
    parser.add_argument("--top", type=int, nargs="+", default=[30], help="sizes of label sets")
    parser.add_argument("--centers", type=int, default=1000, help="of prototypes; at most a tenth of a set")
    parser.add_argument("--k", type=int, default=10, help="neighbors of precision and jaccard")
    parser.add_argument("--found", type=int, default=1000, help="cutouts that are copied")
    parser.add_argument("--cost", type=int, default=0, help="cutouts that are timed; none by default")
    parser.add_argument("--limit", type=int, help="cutouts of a set, drawn at random; all by default")
    parser.add_argument("--cache", type=Path, help="folder that keeps vectors; by default none are kept")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--seed", type=int, default=0)
    whole = "file for everything, classes included; without a name, printed in place of the table"
    parser.add_argument("--json", type=Path, nargs="?", const=_PRINTED, help=whole)
    parser.add_argument("--figure", type=Path, help="file for a figure, such as scores.png")
    return parser.parse_args()


def run(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Score every recipe on every set."""
    import faiss

    faiss.omp_set_num_threads(options.threads)
    sets = read_sets(options)
    source = Vectors(options.cache, threads=options.threads)
    recipes, lacking = [], []
    for recipe in crossed(
        [Recipe.parse(text, options.px) for text in options.recipes], options.transforms, options.metrics
    ):
        try:
            source.weights(recipe)
            recipes.append(recipe)
        except WeightsError as error:
            if recipe.source not in _MAY_LACK:
                raise
            lacking.append(f"{recipe.source}: not scored: {error}")
    for line in dict.fromkeys(lacking):
        print(line, file=sys.stderr)
    if not recipes:
        raise InputError("no recipe is left to score")
    rows, first = [], {}
    for labeled in sets:
        # The copies are the same for all recipes.
        chosen = labeled.some(options.found, options.seed)
        copied = {k: copies(chosen.pictures, k, options.seed) for k in COPIES if "found" in options.scores}
        rows_found = labeled.rows(options.found, options.seed)
        learned = learned_rows(len(labeled.labels), rows_found, options.seed)
        transforms = []
        for recipe in recipes:
            started = time.perf_counter()
            row, transform = row_of(options, labeled, chosen, copied, learned, recipe, source, first)
            rows.append(row)
            transforms.append(transform)
            seconds = time.perf_counter() - started
            print(f"{labeled.name}, {recipe.name}, {recipe.transform}: {seconds:.0f} s", file=sys.stderr)
        if options.cost:
            costs = costs_of(options, labeled, recipes, transforms)
            for row, cost in zip(rows[-len(recipes) :], costs, strict=True):
                row["CPU, ms"] = round(cost, 2)
    facts = {
        "machine": machine("numpy", "scikit-learn", "faiss-cpu", "openvino", "tensorflow-cpu"),
        "settings": {name: getattr(options, name) for name in ("k", "top", "centers", "found", "seed")},
        "copies": {"noise_levels": NOISE_LEVELS, "blur_side": BLUR_SIDE, "shift_side": SHIFT_SIDE},
        "sets": {s.name: {"cutouts": len(s.labels), "classes": len(set(s.labels))} for s in sets},
        "not_scored": list(dict.fromkeys(lacking)),
        "peak, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,  # all runs in this process
    }
    return facts, rows


def read_sets(options: argparse.Namespace) -> list[LabeledSet]:
    """The sets asked for, in that order."""
    paths = {name: options.data / path for name, path in NAMED.items()}
    own = {}
    for item in options.set:
        name, _, path = item.partition("=")
        if not name or not path:
            raise InputError(f"--set takes NAME=PATH, got {item}")
        own[name] = Path(path)
    names = options.sets or list(own) or list(NAMED)
    if unknown := [name for name in names if name not in {**paths, **own, **HELD}]:
        raise InputError(
            f"there is no set {unknown[0]}: choose of {', '.join({**paths, **HELD, **own})}, or give --set"
        )
    found = []
    for name in names:
        if name in HELD and name not in own:
            whole, share, seed = HELD[name]
            found.append(read_set(whole, (paths | own)[whole]).split(share, seed)[1])
        else:
            found.append(read_set(name, (paths | own)[name]))
    return found if options.limit is None else [s.some(options.limit, options.seed) for s in found]


def row_of(
    options: argparse.Namespace,
    labeled: LabeledSet,
    chosen: LabeledSet,
    copied: dict[str, Sequence[np.ndarray]],
    learned: np.ndarray,
    recipe: Recipe,
    source: Vectors,
    first: dict[str, np.ndarray],
) -> tuple[dict[str, Any], Steps]:
    """All scores of one recipe on one set, and its transform; `first` has what the first recipe gave."""
    raw, classes = source(recipe, labeled.pictures)
    learned_from = None
    if recipe.transform == "auto":
        learned_from = Copied(learned, source(recipe, LearnedCopies(labeled.pictures, learned))[0])
    transform = fit_transform(recipe, raw, options.seed, learned_from)
    vectors = transform(raw)
    scores: dict[str, Score] = {}
    common: dict[str, Any] = {"groups": labeled.objects, "seed": options.seed}
    if "precision" in options.scores:
        index = l2_index(vectors)
        near = nearest_others(
            CosineIndex(index) if recipe.metric == "cosine" else index, options.k, labeled.objects
        )
        shares = shares_of_same(near, labeled.labels)
        scores["precision"] = mean_score(shares, labeled.labels, **common)
        base = first.setdefault(labeled.name, shares)
        if base is not shares:
            scores["over the first"] = mean_score(shares - base, labeled.labels, **common)
    if "jaccard" in options.scores and recipe.source not in BASELINES:
        ties = l2_index(vectors)
        for name, (sets, count) in label_sets_of(options, raw, classes, vectors).items():
            rows = np.arange(len(sets), dtype=np.int64)
            centers = train_centers([], 1, count)
            with TemporaryDirectory() as folder:
                add_label_shard(Path(folder) / "shard", centers, [(rows, sets)])
                index = TieBroken(LabelIndex(centers, [LabelShard(Path(folder) / "shard", centers)]), ties)
                near = nearest_others(index, options.k, labeled.objects)
            scores[f"jaccard {name}"] = precision_at_k(near, labeled.labels, **common)
    if "probe" in options.scores:
        scores |= linear_probe(vectors, labeled.labels, **common)
    if "found" in options.scores:
        originals = transform(source(recipe, chosen.pictures)[0])
        each = {kind: transform(source(recipe, pictures)[0]) for kind, pictures in copied.items()}
        asked: dict[str, Sequence[str]] = {"found": list(each), **{f"found {kind}": [kind] for kind in each}}
        for name, kinds in asked.items():
            together = np.stack([each[kind] for kind in kinds], axis=1)
            scores[name] = retrieval(
                originals, together, chosen.objects, metric=recipe.metric, seed=options.seed
            )
    row = {
        "set": labeled.name,
        "recipe": recipe.name,
        "source": recipe.source,
        "px": recipe.px,
        "transform": recipe.transform,
        "metric": recipe.metric,
        "d": int(vectors.shape[1]),
        "scores": {name: found.to_dict() for name, found in scores.items()},
    }
    return row, transform


def costs_of(
    options: argparse.Namespace, labeled: LabeledSet, recipes: Sequence[Recipe], transforms: Sequence[Steps]
) -> list[float]:
    """Milliseconds of CPU that a cutout takes by each recipe: medians of turns, networks built before."""
    source = Vectors(None, threads=options.threads)  # nothing is read back
    pictures = [
        resize_window(picture, _TIMED_PX) for picture in labeled.some(options.cost, options.seed).pictures
    ]
    taken: list[list[float]] = [[] for _ in recipes]
    for _ in range(_TIMED_TURNS):
        for recipe, transform, times in zip(recipes, transforms, taken, strict=True):
            source(recipe, pictures[:1])
            started = time.process_time()
            transform(source(recipe, pictures)[0])
            times.append(1000 * (time.process_time() - started) / len(pictures))
    return [statistics.median(times) for times in taken]


def label_sets_of(
    options: argparse.Namespace, raw: np.ndarray, classes: np.ndarray | None, vectors: np.ndarray
) -> dict[str, tuple[list[np.ndarray], int]]:
    """Label sets of each kind and size asked for, and the number of labels."""
    most = max(options.top)
    whole = {}
    if "units" in options.labels:
        whole["units" if classes is None else "classes"] = units(raw if classes is None else classes, most)
        if not np.array_equal(raw, vectors):
            whole["transformed units"] = units(vectors, most)
    if "prototypes" in options.labels:
        whole["prototypes"] = prototypes(vectors, most, options.centers, options.seed)
    # Best first, so that the smaller sets begin the larger ones.
    return {
        f"{name} {top}": ([labels[:top] for labels in sets], count)
        for name, (sets, count) in whole.items()
        for top in options.top
    }


def table_row(row: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """One line of the table; empty where a recipe has no such score."""
    cells = {name: row[name] for name in ("set", "recipe", "px", "transform", "metric", "d")}
    cells |= {name: row[name] for name in ("CPU, ms",) if name in row}
    for name in columns:
        found = row["scores"].get(name)
        cells[name] = (
            "" if found is None else f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        )
    return cells


if __name__ == "__main__":
    raise SystemExit(main())
