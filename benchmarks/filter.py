"""Filters of a large catalog, by this checkout and by another.

    python benchmarks/filter.py --cutouts 1000000 --before ../elodin_spark_before

Tables are synthetic, in a temporary folder. Each checkout writes and reads its own, in processes of its own,
in turn; both must keep the same cutouts. Times are medians of `--rounds`, in seconds, of a condition parsed,
checked and run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from checkouts import ROOT, Checkout, import_either, name_in
from machine import machine, report

CONDITIONS = (
    "sky_sigma < 2",
    "sky_sigma < 2 and bands = 'r'",
    "path like 'field_7/%' and edge_px >= 32",
    "source.mag between 18 and 20 and coalesce(mask_fractions['CR'], 0) = 0",
    "score('unit 3') > 0.2 and nodata_fraction = 0",
)
IMAGE_CUTOUTS, LABELS, KEPT_LABELS = 1000, 1000, 10


def write(folder: Path, cutouts: int) -> None:
    """A catalog of one batch whose labels are units, without an index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from elodin_spark import schema

    storage = import_either("elodin_spark.catalog.storage.store")
    make_recipe = import_either("elodin_spark.provenance").make_recipe
    rng = np.random.default_rng(0)
    images = -(-cutouts // IMAGE_CUTOUTS)
    settings = {"images": {"paths": "/data"}, "fingerprints": {"weights": "random:0"}}
    wanted = import_either("elodin_spark.config.load").parse_settings(settings)
    names = [f"n{label:04d} unit {label}" for label in range(LABELS)]
    weights = import_either("elodin_spark.fingerprints.weights.types").Weights(
        "w.h5", "/w", "1" * 64, "resnet50", LABELS, tuple(names)
    )
    store = storage.Store.create(folder, wanted, make_recipe(wanted, "w.h5", "1" * 64), weights, "/data")
    ids = rng.permutation(cutouts) * 4_000_037
    whole = rng.integers(0, 100, cutouts)
    source = {"flux": rng.normal(size=cutouts), "mag": rng.normal(20, 2, cutouts)}
    source |= {name: rng.normal(size=cutouts) for name in ("x", "y", "a", "b", "theta_deg", "half_light_px")}
    source["flags"] = whole
    masked = rng.integers(0, 2, cutouts)
    offsets = np.concatenate([[0], np.cumsum(masked)])
    entries = pa.array(["CR"] * int(offsets[-1])), pa.array(rng.random(offsets[-1]), pa.float32())
    columns = {
        "images": {
            "image_id": np.arange(images),
            "uri": [f"/data/field_{at % 9}/{at}.fits" for at in range(images)],
            "path": [f"field_{at % 9}/{at}.fits" for at in range(images)],
            "bands": ["gri"[at % 3] for at in range(images)],
            "size_bytes": np.ones(images, np.int64),
            "status": ["ok"] * images,
        },
        "cutouts": {
            "cutout_id": ids,
            "image_id": np.arange(cutouts) // IMAGE_CUTOUTS,
            "ra": rng.uniform(0, 360, cutouts),
            "dec": rng.uniform(-90, 90, cutouts),
            "edge_px": whole,
            name_in(schema.CUTOUTS.names, "sky_sigma"): rng.normal(2, 1, cutouts),
            "nodata_fraction": np.where(rng.random(cutouts) < 0.9, 0, 0.5),
            "source": pa.StructArray.from_arrays(
                [pa.array(source[field.name], field.type) for field in schema.SOURCE],
                fields=list(schema.SOURCE),
            ),
            "mask_fractions": pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), *entries),
        },
        "fingerprints": {
            "cutout_id": rng.permutation(ids),
            "labels": list(rng.integers(0, LABELS, (cutouts, 1)) + 97 * np.arange(KEPT_LABELS)),
            "label_scores": list(rng.random((cutouts, KEPT_LABELS))),
        },
    }
    columns["fingerprints"]["labels"] = [row % LABELS for row in columns["fingerprints"]["labels"]]
    parts, rows = {}, {}
    for name, values in columns.items():
        kind = schema.TABLES[name]
        rows[name] = len(next(iter(values.values())))
        arrays = [
            pa.array(values[field.name], field.type)
            if field.name in values
            else pa.nulls(rows[name], field.type)
            for field in kind
        ]
        part = store.new_part(name, 0)
        (folder / part).mkdir(parents=True)
        pq.write_table(pa.table(arrays, kind), folder / part / "part-0.parquet", row_group_size=1 << 17)
        parts[name] = [part]
    store.commit(storage.Commit(0, ("0.fits",), parts, rows))


def ask(folder: Path) -> None:
    """Print, for each condition, its seconds, how many it keeps and a hash of them."""
    from elodin_spark.schema import CUTOUTS

    Where = import_either("elodin_spark.catalog.filters.where").Where
    store = import_either("elodin_spark.catalog.storage.store").Store(folder)
    for condition in CONDITIONS:
        condition = re.sub(r"\bsky_sigma\b", name_in(CUTOUTS.names, "sky_sigma"), condition)
        Where(store, "1 = 0")
        started = time.perf_counter()
        ids = Where(store, condition).ids()
        seconds = time.perf_counter() - started
        print(json.dumps([condition, seconds, len(ids), hashlib.sha256(ids.tobytes()).hexdigest()]))


def run(checkout: Checkout, folder: Path) -> list[list]:
    """What a checkout answers, in a process of its own."""
    said = checkout.run(__file__, "--ask", folder, cwd=folder)
    return [json.loads(line) for line in said.splitlines()]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cutouts", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--before-python", default=sys.executable, help="interpreter that runs it")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask)
        return
    if options.write:
        write(options.write, options.cutouts)
        return
    checkouts = [Checkout("after", ROOT, sys.executable)]
    if options.before:
        checkouts.append(Checkout("before", options.before.resolve(), options.before_python))
    found: dict[str, list[list[list]]] = {checkout.name: [] for checkout in checkouts}
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        for checkout in checkouts:
            checkout.run(__file__, "--write", work / checkout.name, "--cutouts", options.cutouts, cwd=work)
        for _ in range(options.rounds):
            for checkout in checkouts:
                found[checkout.name].append(run(checkout, work / checkout.name))
    rows = []
    for at, condition in enumerate(CONDITIONS):
        answers = {tuple(answer[at][2:]) for answered in found.values() for answer in answered}
        if len(answers) != 1:
            raise SystemExit(f"{condition}: the answers differ")
        seconds = {name: median(answer[at][1] for answer in answered) for name, answered in found.items()}
        kept = next(iter(answers))[0]
        rows.append({"condition": condition, "kept": kept} | {f"{name}, s": x for name, x in seconds.items()})
    settings = {"cutouts": options.cutouts, "rounds": options.rounds}
    result = {"machine": machine("duckdb", "pyarrow", "sqlglot"), "settings": settings}
    report(result, rows, as_json=options.json)


if __name__ == "__main__":
    main()
