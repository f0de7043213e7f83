"""What a catalog holds and what it found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from elodin_spark.catalog.build.shardedindex import shard_facts
from elodin_spark.catalog.build.typical import typical_facts
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.backbones import get_backbone
from elodin_spark.progress import counted
from elodin_spark.provenance import transform_of
from elodin_spark.terminal import command, plain

_PRODUCTS = ("positions", "repeats", "shards", "index", "projection", "figures")
_FAILURES_SHOWN = 20
_SHARDS_SHOWN = 20
_REASONS_SHOWN = 5

#: Columns of ``images`` that are counted.
SKY_COLUMNS = ["status", "no_sky_reason", "sky_note"]


def gather(store: Store) -> dict[str, Any]:
    """Facts about a catalog as plain values.

    Returns
    -------
    dict
        `path`, `described`, `recipe_id`, `recipe`, `precision` (what the gate measured, or None),
        `transform` (None, or of the vectors `kind`, `power`, the `length` of the network's own, `components`
        that are kept, `variance_ratio`, `prototypes`, `sample`), `labels` (what they are),
        `runtimes`, `files`, `batches`, `tables` (rows and bytes of each),
        `removed` (cutouts and images taken out),
        `products`, `shards` (see :func:`~elodin_spark.catalog.build.shardedindex.shard_facts`), `seconds`
        (stage to wall time), `sky` (see :meth:`~elodin_spark.catalog.report.SkyCounts.facts`),
        `failures` (a list), `failure_kinds` (kind to count), `examples`
        (a few cutout IDs), `disk_bytes`.
    """
    commits = store.commits()
    products = {name: record for name in _PRODUCTS if (record := store.product(name)) is not None}
    if "distances" in products.get("index", {}):
        products["index"] = {**products["index"], "distances": typical_facts(store)}
    transform = store.transform_record
    tables = ("images", "cutouts", "fingerprints", "failures")
    failures = store.dataset("failures").to_table().to_pylist()
    return {
        "path": str(store.path),
        "described": store.describe(),
        "recipe_id": store.meta["recipe_id"],
        "recipe": store.meta["recipe"],
        "precision": store.meta.get("precision"),
        "transform": transform and {**transform_of(store.meta["recipe"]), **transform},
        "labels": store.labels,
        "runtimes": sorted({commit.runtime for commit in commits if commit.runtime}),
        "files": sum(len(commit.files) for commit in commits),
        "batches": len(commits),
        "tables": {
            name: {"rows": store.n_rows(name), "bytes": sum(_bytes_below(part) for part in store.parts(name))}
            for name in tables
        },
        "removed": {"cutouts": store.tombstones.cutouts.size, "images": store.tombstones.images.size},
        "products": products,
        "shards": shard_facts(store),
        "seconds": {stage: round(time, 1) for stage, time in stage_seconds(store).items()},
        "sky": SkyCounts().add(store.dataset("images").to_table(columns=SKY_COLUMNS)).facts(),
        "failure_kinds": dict(Counter(row["kind"] for row in failures).most_common()),
        "failures": failures[:_FAILURES_SHOWN],
        "examples": store.dataset("fingerprints", ()).head(3, columns=["cutout_id"])["cutout_id"].to_pylist(),
        "disk_bytes": _bytes_below(store.path),
    }


def stage_seconds(store: Store) -> dict[str, float]:
    """Wall time of each stage of all runs, s: the transform, the batches, and the products there are."""
    seconds: Counter[str] = Counter()
    if transform := store.transform_record:
        seconds["fitting the transform"] = transform["seconds"]
    for commit in store.commits():
        seconds.update(commit.seconds)
    for name in _PRODUCTS:
        if "seconds" in (record := store.product(name) or {}):
            seconds[name] = record["seconds"]
    return dict(seconds)


def info_text(facts: dict[str, Any]) -> str:
    """The facts of :func:`gather` for a terminal."""
    lines = [
        f"catalog    {facts['path']}  ({size_text(facts['disk_bytes'])})",
        f"recipe     {facts['described']}",
    ]
    recipe = facts["recipe"]
    lines += [
        f"{'' if number else 'networks':<11}{network}" for number, network in enumerate(network_lines(recipe))
    ]
    generator = ", ".join(f"{key} {value}" for key, value in recipe["cutouts"]["generator"].items())
    lines.append(f"cutouts    {generator}")
    if facts["runtimes"]:
        lines.append(f"network    {recipe['fingerprints']['precision']}, by {', '.join(facts['runtimes'])}")
    lines += _precision_lines(facts["precision"])
    lines += _transform_lines(facts["transform"])
    lines.append(f"files      {facts['files']:,} in {counted(facts['batches'], 'batch')}")
    if facts["removed"]["cutouts"] or facts["removed"]["images"]:
        lines.append(
            f"removed    {counted(facts['removed']['cutouts'], 'cutout')}, of these all of "
            f"{counted(facts['removed']['images'], 'image')}"
        )
    lines += ["", f"{'table':<14}{'rows':>14}{'size':>12}"]
    for name, table in facts["tables"].items():
        lines.append(f"{name:<14}{table['rows']:>14,}{size_text(table['bytes']):>12}")
    for name, record in facts["products"].items():
        rows = f"{record['rows']:,}" if "rows" in record else ""
        folder = Path(facts["path"]) / "products" / record["folder"]
        where = f"  in {folder}" if name == "figures" else ""
        lines.append(f"{name:<14}{rows:>14}{size_text(_bytes_below(folder)):>12}{where}")
    lines += _index_lines(facts["products"].get("index", {}))
    lines += _shard_lines(facts["shards"])
    lines += _distance_lines(facts["products"].get("index", {}))
    lines += _noise_lines(facts["products"].get("index", {}))
    lines += _map_lines(facts["products"].get("projection", {}))
    lines += ["", f"{'stage':<30}{'wall time':>10}"]
    lines += [f"{stage:<30}{time:>8.1f} s" for stage, time in facts["seconds"].items()]
    if found := sky_lines(facts["sky"]):
        lines += ["", *found]
    total = facts["tables"]["failures"]["rows"]
    lines += ["", f"{total:,} refused" + (":" if total else "")]
    lines += [f"  {count} x {kind}" for kind, count in facts["failure_kinds"].items()]
    lines += [f"    {row['uri'] or row['cutout_id']}: {row['message']}" for row in facts["failures"]]
    if total > len(facts["failures"]):
        lines.append(f"    ... and {total - len(facts['failures'])} more, in the table 'failures'")
    if facts["examples"]:
        lines += ["", "ask for neighbors, for example:"]
        lines += [f"  {command('neighbors', facts['path'], cutout)}" for cutout in facts["examples"]]
        lines += ["", "look around in the browser:", f"  {command('explore', facts['path'], '--open')}"]
    return "\n".join(plain(line) for line in lines)


def network_lines(recipe: dict[str, Any]) -> list[str]:
    """What each network of a recipe sees, and its factor where several are joined; the first's first."""
    first = recipe["fingerprints"]
    further = first.get("networks", ())
    return [
        ", ".join(
            [
                f"{get_backbone(network['backbone']).title} of {network['weights']}: "
                + (f"{network['input_px']} px" if "input_px" in network else f"mode {network['mode']}"),
                *([f"layer {network['layer']}"] if "layer" in network else []),
                f"augmentations {network.get('augmentations', 1)}",
                *([f"factor {network.get('factor', 1.0):g}"] if further else []),
            ]
        )
        for network in (first, *further)
    ]


def _index_lines(record: dict[str, Any]) -> list[str]:
    """How the vectors are indexed, and how good that was found to be."""
    if "trained" not in record:
        return []
    lines = ["", f"index      {record['index_config']}; {record['shards']} shards"]
    if found := record["accuracy"]:
        recalls = ", ".join(f"{name} {found[name]:.3f}" for name in found if name.startswith("recall@"))
        lines += [
            f"           {recalls} against exact search, on {found['queries']} cutouts; distances "
            f"{100 * found['distance_error']:.2g} % too long",
            f"           a query {found['single_ms_p50']:.1f} ms (99 of 100 within "
            f"{found['single_ms_p99']:.1f} ms), in bulk {found['batch_per_second']:,.0f} a second; "
            f"{found['memory_bytes_per_vector']} B/vector in memory, "
            f"{found['disk_bytes_per_vector']:,.0f} B on disk",
        ]
    for metric, found in (record.get("label_index") or {"accuracy": {}})["accuracy"].items():
        recalls = ", ".join(f"{name} {found[name]:.3f}" for name in found if name.startswith("recall@"))
        lines.append(
            f"           {metric}: {found['nprobe']} of {found['lists']} lists searched; {recalls}; "
            f"{found['per_second']:,.0f} a second; {found['bytes_per_set']:,.0f} B/set on disk"
        )
    return lines


def _noise_lines(record: dict[str, Any]) -> list[str]:
    """How far apart the vectors of one source are, seen twice."""
    noise = record.get("noise")
    if noise is None:
        return []
    head = f"noise      repeats within {noise['max_sep_arcsec']:g} arcsec "
    if not noise["pairs"]:
        return [head + "were looked for, and none is indexed"]
    return [
        head + f"lie {noise['median']:.4g} apart in the median, 68 % of them {noise['p16']:.4g} to "
        f"{noise['p84']:.4g}; of {noise['pairs']:,} pairs"
    ]


def _distance_lines(record: dict[str, Any]) -> list[str]:
    """How far apart cutouts are."""
    found = (record.get("distances") or {}).get("l2")
    if found is None:
        return []
    (low, _, high), (nearest_low, _, nearest_high) = found["pairs"], found["nearest"]
    return [
        f"distances  68 % of pairs of cutouts lie {low:.4g} to {high:.4g} apart by L2, a cutout and its "
        f"nearest {nearest_low:.4g} to {nearest_high:.4g}"
    ]


def _map_lines(record: dict[str, Any]) -> list[str]:
    """How true the maps are."""
    lines: list[str] = []
    for method, found in record.get("quality", {}).items():
        doubtful = record["doubtful"][method]
        lines.append(
            f"{'' if lines else 'maps':<11}{method}: trustworthiness {found['trustworthiness']:.3f}, "
            f"{found['neighbors_kept']:.1%} of the 10 nearest kept; {doubtful:,} doubtful"
        )
    if lines and record["placed"]:
        lines.append(f"{'':<11}{record['sample']:,} cutouts laid out, {record['placed']:,} placed among them")
    return lines


def _shard_lines(shards: list[dict[str, Any]]) -> list[str]:
    """The shards, each of a night or of some; those that do not fit the training are marked."""
    if not shards:
        return []
    lines = [f"{'shard':<30}{'vectors':>14}{'error':>12}{'of training':>13}"]
    for shard in shards[-_SHARDS_SHOWN:]:
        ratio = f"{shard['ratio']:.2f}" if shard["ratio"] is not None else ""
        told = f"{shard['name']:<30}{shard['count']:>14,}{shard['error']:>12.4g}{ratio:>13}"
        lines.append(told + ("  train again" if shard["retrain"] else ""))
    if len(shards) > _SHARDS_SHOWN:
        lines.append(f"  and {len(shards) - _SHARDS_SHOWN:,} earlier ones")
    if count := sum(shard["retrain"] for shard in shards):
        lines.append(
            f"  {count:,} of {len(shards):,} do not fit the training: elodin-spark run CONFIG --retrain"
        )
    return lines


def size_text(n_bytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    size = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _precision_lines(gate: dict[str, Any] | None) -> list[str]:
    """What the gate measured when the catalog was begun."""
    if gate is None:
        return []
    lines = [f"precision  {gate['asked']}: {gate['reason']}"]
    if not gate["rows"]:
        return lines
    head = f"on {gate['windows']} cutouts: {gate['neighbors']} nearest in common with f32"
    lines.append(f"           {head}, cosine about the mean, cosine, windows/s")
    for row in gate["rows"]:
        lines.append(
            f"           {row['precision']:<6}{row['overlap']:>7.3f}{row['centerd_cosine']:>9.4f}"
            f"{row['cosine']:>10.5f}{row['per_second']:>9.1f}"
        )
    if gate["kept"]:
        lines.append(f"           not quantized: {', '.join(gate['kept'])}")
    return lines


def _transform_lines(transform: dict[str, Any] | None) -> list[str]:
    """What is made of the network's vectors."""
    if transform is None:
        return []
    done = ["standardized"] if transform["kind"] == "standardize" else []
    if transform["power"] != 1:
        done.append(f"power {transform['power']:g}")
    if transform["copies"]:
        done.append("what copies change counts less")
    if transform["variance_ratio"]:
        whitened = "whitened " if transform["kind"] == "whiten" else ""
        share = sum(transform["variance_ratio"])
        done.append(
            f"{transform['components']} {whitened}principal components of {transform['length']} "
            f"({share:.1%} of the variance)"
        )
    if transform["prototypes"]:
        done.append(f"labeled by {transform['prototypes']:,} prototypes")
    if transform["sample"]:
        done.append(f"fitted to {transform['sample']:,} windows")
    return [f"vectors    {', '.join(done)}"]


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class SkyCounts:
    """Sums over rows of the table ``images``.

    Attributes
    ----------
    images : int
        That can be used.
    reasons : Counter of str
        ``no_sky_reason`` to count.
    notes : Counter of str
        Each of ``sky_note`` to count.
    """

    def __init__(self) -> None:
        self.images = 0
        self.reasons: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def add(self, rows: pa.Table) -> SkyCounts:
        """Add rows with :data:`SKY_COLUMNS`; returns itself."""
        # Not equal(): to make a scalar of a text, pyarrow imports pandas.
        used = rows.select(SKY_COLUMNS).filter(pc.match_like(rows.column("status"), "ok"))
        self.images += used.num_rows
        for pair in pc.value_counts(pc.drop_null(used.column("no_sky_reason"))).to_pylist():
            self.reasons[pair["values"]] += pair["counts"]
        for pair in pc.value_counts(pc.drop_null(used.column("sky_note"))).to_pylist():
            for note in pair["values"].split("; "):
                self.notes[note] += pair["counts"]
        return self

    def facts(self) -> dict[str, Any]:
        """Plain values: `images`, `reasons` and `notes`, the most common first."""
        return {
            "images": self.images,
            "reasons": dict(self.reasons.most_common()),
            "notes": dict(self.notes.most_common()),
        }


def sky_lines(facts: Mapping[str, Any]) -> list[str]:
    """The facts of :meth:`SkyCounts.facts` in at most two lines."""
    lines = []
    if missing := sum(facts["reasons"].values()):
        have = "has" if missing == 1 else "have"
        lines.append(
            f"{missing:,} of {_images(facts['images'])} {have} no position on the sky: "
            f"{_counted(facts['reasons'])}"
        )
    if facts["notes"]:
        lines.append(f"assumed of the WCS of images: {_counted(facts['notes'])}")
    return lines


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _counted(counts: Mapping[str, int]) -> str:
    shown = [f"{count:,} x {text}" for text, count in list(counts.items())[:_REASONS_SHOWN]]
    more = len(counts) - len(shown)
    return "; ".join([*shown, *([f"and {more} more kinds, in the table 'images'"] if more > 0 else [])])
