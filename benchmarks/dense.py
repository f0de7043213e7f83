"""Windows a second in dense mode against the per-window stages, and what becomes of the neighbors.

Both run from the same simulated FITS tile to rows with vectors, by turns, in one process. Then
the vectors are compared: the overlap of the 10 nearest windows, and the cosine of the vectors as
they are and around their mean. For each halo the dense vectors stand against those of one pass
over the whole image.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import interleaved, machine, one_thread, report

from elodin_spark import schema
from elodin_spark.catalog.build.pipeline import fingerprinting
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings
from elodin_spark.cutouts.tile import TileSpec
from elodin_spark.datasets import simulate
from elodin_spark.fingerprints.dense import DenseSpec, FeatureMap
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.describe import describe
from elodin_spark.images.listing import ImageFile
from elodin_spark.stage import StageSpec, fuse, run_plain

NEIGHBORS = 10


def settings_for(options: argparse.Namespace, tile: Path, step: int, mode: str) -> Settings:
    """Settings of a run over the tile."""
    return parse_settings(
        {
            "images": {"paths": str(tile)},
            "cutouts": {
                "generator": {"kind": "sliding_window", "size": options.size, "step": step, "edge": "drop"}
            },
            "fingerprints": {
                "mode": mode,
                "weights": options.weights,
                "runtime": options.runtime,
                "precision": options.precision,
                "block_px": options.block,
                "halo_px": options.halo,
            },
        }
    )


def spec_for(settings: Settings, weights: Weights) -> StageSpec:
    """The stages of a run, from a described image to vectors."""
    if settings.fingerprints.mode == "dense":
        network = resolve_network(settings.fingerprints, weights)
        return fingerprinting(settings, network, "dense", described=True).specs[0]
    network = FingerprintSpec.from_network(resolve_network(settings.fingerprints, weights), "window")
    return fuse(TileSpec.from_settings(settings), network)


def vectors_of(table: pa.Table) -> np.ndarray:
    """Vectors by the place of their windows, shape (n, vector_length)."""
    table = table.filter(pa.compute.is_valid(table["vector"])).sort_by(
        [("y0", "ascending"), ("x0", "ascending")]
    )
    return np.stack(table["vector"].to_numpy())


def neighbors(vectors: np.ndarray) -> np.ndarray:
    """The nearest of the others by L2, shape (n, NEIGHBORS)."""
    values = vectors.astype(np.float64)
    values = values - values.mean(axis=0)  # leaves distances as they are, and their digits
    squares = (values**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * values @ values.T
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, :NEIGHBORS]


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Overlap of neighbors, cosine and centerd cosine (medians) of two sets of vectors."""
    both = zip(neighbors(ours), neighbors(theirs), strict=True)
    shared = np.mean([len(set(one) & set(other)) / NEIGHBORS for one, other in both])
    return {
        "overlap of 10 neighbors": float(shared),
        "cosine": _cosine(ours, theirs),
        "centerd cosine": _cosine(ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)),
    }


def _cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    products = (ours * theirs).sum(axis=1)
    return float(np.median(products / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)))


def halo_rows(options: argparse.Namespace, image: np.ndarray, spec: DenseSpec) -> list[dict[str, Any]]:
    """Vectors by blocks of each halo against those of one pass over the image."""
    runtime = spec.network.load(str)[0]
    side, step = options.size, 32
    height, width = image.shape[:2]
    corners = [(x, y) for y in range(0, height - side + 1, step) for x in range(0, width - side + 1, step)]
    windows = np.array([[x, y, x + side, y + side] for x, y in corners], np.int32)

    def pooled(block_px: int, halo_px: int) -> np.ndarray:
        blocks = FeatureMap(
            image.shape, lambda x0, y0, x1, y1: image[y0:y1, x0:x1], runtime.features, block_px, halo_px
        )
        return blocks.pool(windows)

    whole = pooled(max(image.shape) // 32 * 32 + 32, 0)
    scale = np.linalg.norm(whole - whole.mean(axis=0), axis=1).mean()
    rows = []
    for halo in options.halos:
        ours = pooled(options.halo_core + 2 * halo, halo)
        error = np.linalg.norm(ours - whole, axis=1) / scale
        rows.append(
            {
                "halo, px": halo,
                "error, median": float(np.median(error)),
                "error, largest": float(error.max()),
                **agreement(ours, whole),
            }
        )
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--image", type=Path, help="a file to take instead of a simulated tile")
    parser.add_argument("--side", type=int, default=1536, help="of the simulated tile, px")
    parser.add_argument("--size", type=int, default=224, help="of a window, px")
    parser.add_argument("--steps", type=int, nargs="+", default=[96, 64], help="between windows, px")
    parser.add_argument("--block", type=int, default=1536)
    parser.add_argument("--halo", type=int, default=128)
    parser.add_argument("--halos", type=int, nargs="*", default=[0, 32, 64, 96, 128, 192, 256])
    parser.add_argument("--halo-core", type=int, default=256, help="of blocks there, without their halo, px")
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    one_thread()
    weights = resolve_weights(options.weights)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        tile = (
            options.image or simulate(Path(scratch) / "tile", tiles=1, size_px=options.side, seed=1).tiles[0]
        )
        row = describe(ImageFile(str(tile), tile.name, tile.stat().st_size))
        batch = schema.rows_to_batch([{name: row[name] for name in schema.IMAGES.names}], schema.IMAGES)
        for step in options.steps:
            specs = {
                mode: spec_for(settings_for(options, tile, step, mode), weights)
                for mode in ("window", "dense")
            }
            found: dict[str, pa.Table] = {}

            def run(mode: str, specs: Any = specs, found: Any = found) -> None:
                found[mode] = run_plain(specs[mode], [batch])

            taken = interleaved(
                {mode: lambda mode=mode, run=run: run(mode) for mode in specs}, options.repeats
            )
            vectors = {mode: vectors_of(table) for mode, table in found.items()}
            count = len(vectors["dense"])
            rows.append(
                {
                    "step, px": step,
                    "windows": count,
                    **{f"{mode}, windows/s of CPU": count / taken[mode]["cpu"] for mode in specs},
                    "ratio, CPU": taken["window"]["cpu"] / taken["dense"]["cpu"],
                    **agreement(vectors["dense"], vectors["window"]),
                }
            )
        halos = []
        if options.halos:
            spec = spec_for(settings_for(options, tile, 32, "dense"), weights)
            halos = halo_rows(options, _pixels(row), spec)
    shown = vars(options) | {"image": options.image and str(options.image)}
    facts = {"machine": machine("tensorflow", "openvino", "numpy"), "settings": shown}
    report({**facts, "halos": halos}, rows, as_json=options.json)
    if halos and not options.json:
        report(facts, halos, as_json=False)


def _pixels(row: dict[str, Any]) -> np.ndarray:
    from elodin_spark.cutouts.picture import open_picture

    with open_picture(row, "auto", None, {}, True) as (picture, _):
        return picture.read(0, 0, row["width"], row["height"])


if __name__ == "__main__":
    main()
