"""The explorer of a large catalog: what its server takes, and what it holds.

    python benchmarks/explore.py --cutouts 1000000

The catalog is synthetic: tables, an exact index of random vectors, a map of all cutouts, JPEGs of noise. It
is made in a temporary folder, or kept in `--catalog`, to be used again. The server is a process of its own,
and is asked as a page asks it. Times are in ms but where the row says otherwise.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np
from checkouts import ROOT
from explore_page import measure_page
from machine import machine, report

IMAGE_CUTOUTS, LABELS, KEPT_LABELS, DIMENSION = 1000, 1000, 10, 64
GROUP, GROUPS = 4096, 16  # rows of a row group, and row groups of a file
PICTURES = 256  # that differ
CONDITIONS = (
    "sky_sigma < {}",
    "sky_sigma < {} and bands = 'r'",
    "path like 'field_7/%' and edge_px >= {}",
    "score('unit 3') > {} and nodata_fraction = 0",
)
LASSO, AT_ONCE = 100_000, 200


def write(folder: Path, cutouts: int) -> None:
    """A catalog of one batch with an exact index and a map."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from elodin_spark import schema
    from elodin_spark.catalog.build.products import make_index
    from elodin_spark.catalog.storage.store import Commit, Store
    from elodin_spark.config.load import parse_settings
    from elodin_spark.cutouts.tile import thumbnail
    from elodin_spark.fingerprints.weights.types import Weights
    from elodin_spark.provenance import make_recipe
    from elodin_spark.spark.tablefiles import table_writer

    rng = np.random.default_rng(0)
    network = {"weights": "random:0", "networks": []}
    wanted = parse_settings(
        {"images": {"paths": "/data"}, "fingerprints": network, "neighbors": {"metrics": ["l2"]}}
    )
    names = tuple(f"n{label:04d} unit {label}" for label in range(LABELS))
    weights = Weights("w.h5", "/w", "1" * 64, "resnet50", LABELS, names)
    store = Store.create(folder, wanted, make_recipe(wanted, "w.h5", "1" * 64), weights, "/data")
    images = -(-cutouts // IMAGE_CUTOUTS)
    ids = rng.permutation(cutouts).astype(np.int64) * 4_000_037 + 1
    middle = rng.normal(0, 1, (300, 2))[rng.integers(0, 300, cutouts)]
    xy = (middle * 20 + rng.normal(0, 1, (cutouts, 2))).astype(np.float32)
    noise = rng.integers(0, 256, (PICTURES, 24, 24), dtype=np.uint8)
    pictures = [thumbnail(np.kron(each, np.ones((4, 4), np.uint8)), 96) for each in noise]

    def rows(name: str, start: int, stop: int) -> dict[str, Any]:
        count = stop - start
        if name == "images":
            return {
                "image_id": np.arange(start, stop),
                "uri": [f"/data/field_{at % 9}/{at}.fits" for at in range(start, stop)],
                "path": [f"field_{at % 9}/{at}.fits" for at in range(start, stop)],
                "hdu": np.zeros(count, np.int32),
                "bands": ["gri"[at % 3] for at in range(start, stop)],
                "width": np.full(count, 4096, np.int32),
                "height": np.full(count, 4096, np.int32),
                "pixel_scale": np.full(count, 0.2),
                "mjd": rng.uniform(59000, 61000, count),
                "size_bytes": np.ones(count, np.int64),
                "status": ["ok"] * count,
            }
        if name == "cutouts":
            at = np.arange(start, stop) % IMAGE_CUTOUTS
            x, y = (64 * (at % 32)).astype(np.int32), (64 * (at // 32)).astype(np.int32)
            return {
                "cutout_id": ids[start:stop],
                "image_id": np.arange(start, stop) // IMAGE_CUTOUTS,
                **{"x0": x, "y0": y, "x1": x + 64, "y1": y + 64},
                "ra": rng.uniform(0, 360, count),
                "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, count))),
                "edge_px": rng.integers(0, 100, count),
                "sky": rng.normal(10, 1, count),
                "sky_sigma": rng.normal(2, 1, count),
                "nodata_fraction": np.where(rng.random(count) < 0.9, 0, 0.5),
                "thumbnail": [pictures[each] for each in rng.integers(0, PICTURES, count)],
            }
        labels = (rng.integers(0, LABELS, (count, 1)) + 97 * np.arange(KEPT_LABELS)) % LABELS
        return {
            "cutout_id": ids[start:stop],
            "vector": list(rng.normal(size=(count, DIMENSION)).astype(np.float32)),
            "labels": list(labels),
            "label_scores": list(-np.sort(-rng.random((count, KEPT_LABELS)), axis=1)),
        }

    parts, counts = {}, {"images": images, "cutouts": cutouts, "fingerprints": cutouts}
    for name, total in counts.items():
        part, kind = store.new_part(name, 0), schema.TABLES[name]
        (folder / part).mkdir(parents=True)
        parts[name] = [part]
        for number, start in enumerate(range(0, total, GROUP * GROUPS)):
            with table_writer(folder / part / f"part-{number:05d}.parquet", kind) as writer:
                for begin in range(start, min(start + GROUP * GROUPS, total), GROUP):
                    end = min(begin + GROUP, total)
                    values = rows(name, begin, end)
                    arrays = [
                        pa.array(values[field.name], field.type)
                        if field.name in values
                        else pa.nulls(end - begin, field.type)
                        for field in kind
                    ]
                    writer.write_table(pa.table(arrays, kind), row_group_size=GROUP)
    store.commit(Commit(0, ("0.fits",), parts, counts))
    assert make_index(store, wanted, lambda: None)  # type: ignore[arg-type, return-value]
    made = store.new_product("projection")
    table = pa.table({"cutout_id": ids, "x": xy[:, 0], "y": xy[:, 1]})
    pq.write_table(table, made / "tsne.parquet")
    record = {"digest": "synthetic", "rows": cutouts, "methods": ["tsne"], "seed": 0, "seconds": 0}
    store.commit_product("projection", made, record)


class Server:
    """The explorer of a catalog, in a process of its own, and a connection to it."""

    def __init__(self, catalog: Path) -> None:
        started = time.perf_counter()
        command = [sys.executable, "-m", "elodin_spark", "explore", str(catalog), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        found = re.search(r"http://([^:/]+):(\d+)/", self.process.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        self.seconds, self.address = time.perf_counter() - started, found[0]
        self._place = found[1], int(found[2])
        self.connect()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._place[0], self._place[1], timeout=600)

    def connect(self) -> None:
        """Open the connection of those who ask one after another."""
        self._connection = self._connect()

    def ask(self, path: str, body: Any = None, method: str | None = None, alone: bool = False) -> bytes:
        """What it answers; JSON where a body is given. By a connection of its own, or that of all."""
        content = None if body is None else json.dumps(body).encode()
        connection = self._connect() if alone else self._connection
        connection.request(method or ("GET" if body is None else "POST"), path, content)
        answer = connection.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {found[:200]!r}")
        return found

    def neighbors(self, cutout: int, alone: bool = False) -> list[str]:
        """IDs of the nine nearest."""
        query = {"query": {"ids": [str(cutout)]}, "options": {"k": 9}}
        found = json.loads(self.ask("/api/neighbors", query, alone=alone))
        return [row["id"] for row in found["neighbors"]]

    def cpu_ms(self) -> float:
        """CPU time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1000

    def peak_mib(self) -> float:
        """Most memory it has held, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def timed(times: int, work: Callable[[int], Any]) -> list[float]:
    """Milliseconds of each turn."""
    found = []
    for turn in range(times):
        started = time.perf_counter()
        work(turn)
        found.append((time.perf_counter() - started) * 1000)
    return found


def measure(catalog: Path, clicks: int, filters: int) -> list[dict[str, Any]]:
    """Rows of the report: what is done, median, 95th percentile, CPU of the server, and what else to say."""
    from elodin_spark.web.binary import unpack

    rows: list[dict[str, Any]] = []

    def add(what: str, times: list[float], cpu: float, note: str = "") -> None:
        half, most = (float(each) for each in np.percentile(times, [50, 95]))
        rows.append({"what": what, "n": len(times), "p50": half, "p95": most, "CPU": cpu, "note": note})

    def each(what: str, times: int, work: Callable[[int], Any], note: str = "") -> None:
        server.connect()  # one that was idle for long is closed
        before = server.cpu_ms()
        taken = timed(times, work)
        add(what, taken, (server.cpu_ms() - before) / times, note)

    rng = np.random.default_rng(1)
    with Server(catalog) as server:
        add("start", [server.seconds * 1000], server.cpu_ms(), f"{server.peak_mib():,.0f} MiB at the peak")
        points = b""

        def take(turn: int) -> None:
            nonlocal points
            points = server.ask("/api/points")

        each("catalog", 1, lambda turn: server.ask("/api/catalog"))
        each("points", 5, take)
        rows[-1]["note"] = f"{len(points) / 1e6:.1f} MB"
        ids = unpack(points)[2]["id"]
        clicked = rng.choice(ids, clicks + 5, replace=False)

        def click(turn: int) -> None:
            near = server.neighbors(int(clicked[turn]))
            assert len(near) == 9
            server.ask("/api/thumbnails", {"ids": near})

        each("first click", 1, click)
        each("click to nine pictures", clicks, lambda turn: click(turn + 5))

        def at_once(turn: int) -> None:
            asked = rng.choice(ids, AT_ONCE, replace=False)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                answers = list(pool.map(lambda each: server.neighbors(int(each), alone=True), asked))
            assert all(len(found) == 9 for found in answers)

        each(f"{AT_ONCE} queries at once, all", 1, at_once)

        def pictures(turn: int) -> None:
            some = rng.choice(ids, 100, replace=False)
            server.ask("/api/thumbnails", {"ids": [str(each) for each in some]})

        each("100 pictures from anywhere", 20, pictures)

        def keep(turn: int) -> None:
            pattern = CONDITIONS[turn % len(CONDITIONS)]
            value = round(40 + turn / 100, 3) if "edge_px" in pattern else round(0.3 + turn / 1000, 3)
            server.ask(f"/api/mask?where={quote(pattern.format(value))}")

        each("filter to mask", filters, keep)
        each("column, first", 1, lambda turn: server.ask("/api/column?name=sky_sigma"))
        each("column, again", 5, lambda turn: server.ask("/api/column?name=sky_sigma"))
        each("top label, first", 1, lambda turn: server.ask("/api/column?name=top_label"))
        each("score of a label", 1, lambda turn: server.ask("/api/column?name=score:unit%205"))
        some = [str(each) for each in rng.choice(ids, min(LASSO, ids.size), replace=False)]
        called = f"{len(some):,} cutouts"
        each(
            "selection kept",
            3,
            lambda turn: server.ask("/api/selections/lasso", {"ids": some}, "PUT"),
            called,
        )
        each("selection read", 3, lambda turn: server.ask("/api/selections/lasso"), called)
        each("list as CSV", 1, lambda turn: server.ask("/api/list?format=csv", {"ids": some}), called)
        server.ask("/api/selections/lasso", method="DELETE")
        rows += measure_page(server.address, unpack(points)[2], LASSO)
        rows.append(
            {
                "what": "memory at the peak, MiB",
                "n": 1,
                "p50": server.peak_mib(),
                "p95": "",
                "CPU": "",
                "note": "",
            }
        )
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cutouts", type=int, default=1_000_000)
    parser.add_argument("--clicks", type=int, default=200)
    parser.add_argument("--filters", type=int, default=40)
    parser.add_argument("--catalog", type=Path, help="where the catalog is kept; made where it is not there")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    options = parser.parse_args()
    with ExitStack() as stack:
        catalog = options.catalog
        if catalog is None:
            catalog = Path(stack.enter_context(TemporaryDirectory())) / "catalog"
        if not (catalog / "catalog.json").exists():
            write(catalog, options.cutouts)
        rows = measure(catalog, options.clicks, options.filters)
    packages = ("starlette", "uvicorn", "pyarrow", "duckdb", "faiss-cpu")
    settings = {"cutouts": options.cutouts, "dimension": DIMENSION}
    report({"machine": machine(*packages), "settings": settings}, rows, as_json=options.json)


if __name__ == "__main__":
    main()
