"""Whether two checkouts of the package give the same answers: IDs, vectors, label sets, neighbors, distances.

    python benchmarks/compare_checkouts.py ../before --peer-python ../before/.venv/bin/python

Both make catalogs of one archive, simulated tiles and real files where ``../shared/data`` has them, with the
same settings, each in processes of its own, and are asked the same. Vectors must be the same to the bit where
both have the same numpy, pyarrow and so on, else equal but for rounding: 1e-5 of the largest value. Then
neighbors may change places only where their distances are that near to each other. Names that the peer has
for what is called otherwise here are in ``checkouts.py``. Prints one line a comparison; the exit code is 1
where something differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from checkouts import ROOT, Checkout, add_peer_arguments, checkouts_of, import_either, name_in
from PIL import Image

#: What rounding may make of a value, over the largest one.
CLOSE = 1e-5
K, QUERIES = 6, 12
STACK = (
    "numpy",
    "pyarrow",
    "scipy",
    "opencv-python-headless",
    "openvino",
    "faiss-cpu",
    "scikit-learn",
    "astropy",
)
METRICS = ("l2", "cosine", "jaccard", "label_scores", "rank_fusion")
#: Real files of the archive, below ../shared/data.
REAL = (
    "fits/c4d_170316_062107_ooi_z_ls9.N2.fits",
    "fits/CFHTLS_03_g_sci.fits.fz",
    "fits/100_114.330+029.492_0.1105_0034.32.fits",
    "fits/m13_rice.fits",
    "fits/dist_lookup.fits.gz",
    "efigi/PGC0051100.jpg",
    "efigi/PGC0039624.jpg",
    "efigi/PGC0040562.jpg",
    "hubble/j9dt02020_drz_small.jpg",
)
#: Settings of each catalog, by dotted names.
CASES: dict[str, dict[str, Any]] = {
    "windows": {
        "cutouts.generator": {"kind": "sliding_window", "size": 128, "step": 96, "edge": "drop"},
        "fingerprints.runtime": "openvino",
        "neighbors.metrics": METRICS,
        "run.repeats_arcsec": 8,
    },
    "sources": {
        "cutouts.generator": {"kind": "sources", "size": 64},
        "fingerprints.runtime": "openvino",
        "fingerprints.weights": "random:0",
        "fingerprints.input_px": 64,
        "neighbors.metrics": METRICS,
        "neighbors.index_config": "IVF4,SQ8",
        "neighbors.shard_rows": 40,
    },
    "dense": {
        "cutouts.generator": {"kind": "sliding_window", "size": 128, "step": 64, "edge": "drop"},
        "fingerprints.runtime": "tensorflow",
        "fingerprints.weights": "random:0",
        "fingerprints.mode": "dense",
        "neighbors.metrics": METRICS,
    },
}
#: Neighbors that are asked for in other ways than by the metric.
OPTIONS: dict[str, dict[str, Any]] = {
    "overlap allowed": {"allow_overlap": True},
    "apart on the sky": {"min_separation_arcsec": 30.0},
    "duplicates folded": {"fold_duplicates": True},
    "where sky_sigma": {"where": "sky_sigma < 5 and nodata_fraction = 0"},
    "where path and edge": {"where": "path like '%tile%' and edge_px between 0 and 200"},
    "where bands, position, null": {"where": "(bands is null or dec > -90) and not (ra between 400 and 500)"},
}


# ---- in each checkout -----------------------------------------------------------------------


class Answers:
    """Arrays by name, as they are compared."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def table(self, name: str, table: Any, drop: Iterable[str] = ()) -> None:
        """Every column; lists and maps as text."""
        import pyarrow as pa

        while any(pa.types.is_struct(kind) for kind in table.schema.types):
            table = table.flatten()
        for field in table.schema:
            if field.name in drop:
                continue
            column = table.column(field.name)
            if pa.types.is_integer(field.type) and not column.null_count:
                values = np.asarray(column.to_pylist(), np.int64)
            elif pa.types.is_floating(field.type):
                values = np.asarray([np.nan if x is None else x for x in column.to_pylist()], np.float64)
            else:
                values = np.asarray([_text(x) for x in column.to_pylist()], np.str_)
            self.arrays[f"{name}, {OLD_COLUMNS.get(field.name, field.name)}"] = values

    def neighbors(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Rows of an answer of either checkout."""
        new = bool(rows) and "neighbor_id" in rows[0]
        self.arrays[f"{name}: neighbors"] = np.asarray(
            [row["neighbor_id" if new else "cutout_id"] for row in rows], np.int64
        )
        self.arrays[f"{name}: distances"] = np.asarray([row["distance"] for row in rows], np.float64)
        for column in ("distance_over_repeat_median", "distance_percentile"):
            values = [row.get(column if new else name_in(rows[0], column)) for row in rows]
            if any(value is not None for value in values):
                self.arrays[f"{name}: {column}"] = np.asarray(values, np.float64)
        rest = ("rank", "image", "x0", "y0", "x1", "y1", "labels", "repeats", "duplicates")
        known = [{key: row[key] for key in rest if key in row} for row in rows]
        for row, given in zip(known, rows, strict=True):
            shared = given.get("explain" if new else "why")
            if shared is not None:
                row["explain"] = [(each["label"], round(each["weight"], 6)) for each in shared]
        self.arrays[f"{name}: rows"] = np.asarray([_text(row) for row in known], np.str_)


#: Columns of tables of an older checkout, as they are called here.
OLD_COLUMNS = {"noise": "sky_sigma"}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return json.dumps(value, default=str)


def settings_of(case: str, archive: Path, catalog: Path) -> dict[str, Any]:
    """The settings of a case, by the names of the checkout."""
    model = import_either("elodin_spark.config.settings")
    tree: dict[str, Any] = {
        "catalog": str(catalog),
        "images": {"paths": str(archive)},
        "projection": {"methods": []},
        "run": {"figures": False},
        "spark": {"master": "local[1]"},
    }
    metrics = get_args(model.Metric)
    for dotted, value in CASES[case].items():
        section, name = dotted.split(".")
        known = model.Settings.model_fields[section].annotation.model_fields
        if name == "metrics":
            value = [name_in(metrics, metric) for metric in value]
        tree.setdefault(section, {})[name_in(known, name)] = value
    return tree


def answer(case: str, archive: Path, out: Path) -> None:
    """Make a catalog with the checkout on the path, ask it, and write all answers to a file."""
    import elodin_spark
    from elodin_spark import Catalog, parse_settings, schema

    config = parse_settings(settings_of(case, archive, out / case))
    catalog = Catalog.create(out / case, config)
    report = catalog.run()
    found = Answers()
    counts = (report.n_images, report.n_cutouts, report.n_failures)
    found.arrays["counts of images, cutouts, refusals"] = np.asarray(counts)
    keys = {"images": "image_id", "cutouts": "cutout_id", "failures": "uri"}
    for name, key in keys.items():
        table = catalog.table(name)
        order = [(key, "ascending")] if name != "failures" else [("uri", "ascending"), ("kind", "ascending")]
        found.table(name, table.sort_by(order), drop=("message",))
    prints = catalog.table("fingerprints").sort_by("cutout_id")
    found.arrays["fingerprints, cutout_id"] = prints.column("cutout_id").to_numpy()
    found.arrays["vectors"] = np.asarray(prints.column("vector").to_pylist(), np.float32)
    found.arrays["label sets"] = np.asarray(prints.column("labels").to_pylist(), np.int64)
    found.arrays["label scores"] = np.asarray(prints.column("label_scores").to_pylist(), np.float32)
    if config.run.repeats_arcsec:
        found.table("repeats", catalog.repeats().sort_by([("id_a", "ascending"), ("id_b", "ascending")]))
    ask(catalog, found, archive, elodin_spark, set(schema.CUTOUTS.names))
    np.savez_compressed(out / f"{case}.npz", **found.arrays)
    print(elodin_spark.__file__)


def ask(catalog: Any, found: Answers, archive: Path, package: Any, columns: set[str]) -> None:
    """All questions."""
    metrics = get_args(import_either("elodin_spark.config.settings").Metric)
    made = catalog.table("fingerprints").column("cutout_id").to_numpy()
    ids = np.sort(made)[:: max(1, len(made) // QUERIES)][:QUERIES].tolist()
    for metric in METRICS:
        rows = catalog.neighbors(ids, k=K, metric=name_in(metrics, metric))
        found.neighbors(metric, list(rows))
    new = hasattr(package, "Query")
    options = dict(OPTIONS)
    ra, dec = next((row["ra"], row["dec"]) for row in catalog.describe_cutouts(ids) if row["ra"] is not None)
    options["cone"] = {"cone": ((ra, dec), 60.0) if new else (ra, dec, 60.0 / 3600)}
    if catalog.settings.run.repeats_arcsec:
        options["repeats grouped"] = {"repeats": "group"}
        options["repeats left out"] = {"repeats": "leave-out"}
    options["explained"] = {"explain" if new else "why": True}
    for name, given in options.items():
        if "where" in given and "sky_sigma" not in columns:
            given = {"where": re.sub(r"\bsky_sigma\b", name_in(columns, "sky_sigma"), given["where"])}
        found.neighbors(name, list(catalog.neighbors(ids, k=K, **given)))
    for condition in (given["where"] for given in options.values() if "where" in given):
        rows = catalog.neighbors(ids[:1], k=3, metric="jaccard", where=_by_old(condition, columns))
        found.neighbors(f"jaccard, {condition}", list(rows))
    vector = catalog.table("fingerprints").sort_by("cutout_id").column("vector")[len(made) // 2].as_py()
    # Rounded, so that another rounding of the network asks nearly the same.
    asked = np.round(np.asarray(vector, np.float32) * np.float32(1.01), 3)
    image = _one_window(archive, catalog)
    path = catalog.describe_cutouts(ids[:1])[0]["image"]
    queries: dict[str, tuple[str, Any]] = {
        "asked by position": ("position", (ra + 1e-4, dec - 1e-4)),
        "asked by pixel": ("pixel", (path, 40.0, 40.0)),
        "asked by vector": ("vector", asked),
        "asked by image": ("image", image),
    }
    for name, (way, value) in queries.items():
        if new:
            query = getattr(package.Query, f"from_{way}")
            rows = catalog.neighbors(query(*value) if way == "pixel" else query(value), k=K)
        else:
            rows = catalog.neighbors(k=K, **{"at" if way == "pixel" else way: value})
        found.neighbors(name, list(rows))


def _one_window(archive: Path, catalog: Any) -> str:
    """File of an image; in dense mode, which lays windows in it, a part that holds one."""
    pictures = sorted(archive.rglob("*.jpg"))
    if not pictures:
        return str(sorted(archive.rglob("*.fits"))[0])
    if catalog.settings.fingerprints.mode != "dense":
        return str(pictures[0])
    (side,) = catalog.settings.cutouts.generator.size
    part = archive.parent / "asked.png"
    with Image.open(max(pictures, key=lambda file: file.stat().st_size)) as image:
        image.convert("L").crop((0, 0, side, side)).save(part)
    return str(part)


def _by_old(condition: str, columns: set[str]) -> str:
    return re.sub(r"\bsky_sigma\b", name_in(columns, "sky_sigma"), condition)


def simulate(out: Path) -> None:
    """A small survey, by the checkout's simulator."""
    import_either("elodin_spark.datasets").simulate(out, tiles=4, size_px=256, seed=7)


def stack() -> None:
    """Print the versions that decide how numbers are rounded."""
    print(json.dumps({name: version(name) for name in STACK} | {"python": sys.version.split()[0]}))


# ---- both beside each other -----------------------------------------------------------------


def compare(here: dict[str, np.ndarray], there: dict[str, np.ndarray], close: float) -> list[dict[str, Any]]:
    """One row for each array: the largest difference, and whether it is one."""
    rows = []
    for name in dict.fromkeys([*here, *there]):
        if name not in here or name not in there:
            only = "only here" if name in here else "only in the peer"
            rows.append({"compared": name, "values": 0, "difference": only, "same": False})
            continue
        difference, same = _difference(name, here, there, close)
        rows.append(
            {"compared": name, "values": int(here[name].size), "difference": difference, "same": same}
        )
    return rows


def _difference(
    name: str, here: dict[str, np.ndarray], there: dict[str, np.ndarray], close: float
) -> tuple[str, bool]:
    a, b = here[name], there[name]
    if a.shape != b.shape:
        return f"shape {a.shape}, peer {b.shape}", False
    if a.tobytes() == b.tobytes() or (a.dtype.kind in "US" and np.array_equal(a, b)):
        return "0", True
    if a.dtype.kind == "f":
        lone = int((np.isnan(a) != np.isnan(b)).sum())
        largest = float(np.nanmax(np.abs(a.astype(np.float64) - b)))
        over = largest / max(float(np.nanmax(np.abs(b))), 1e-300)
        return f"{largest:.3g}, {over:.2g} of the largest" + f", {lone} null" * bool(lone), not (
            lone or over > close
        )
    other = a != b
    if close and (places := _near_ties(name, here, there, close)) is not None and not (other & ~places).any():
        return (
            f"{int(other.sum())} change places, of distances or scores that are the same but for rounding",
            True,
        )
    if a.dtype.kind in "US":
        at = int(np.flatnonzero(other)[0])
        return f"{int(other.sum())} differ, such as {a.flat[at]!s:.120}, peer {b.flat[at]!s:.120}", False
    return f"{int(other.sum())} differ, by up to {np.abs(a - b).max()}", False


def _near_ties(
    name: str, here: dict[str, np.ndarray], there: dict[str, np.ndarray], close: float
) -> np.ndarray | None:
    """Where what orders an array is the same but for rounding, and nearly that of a place beside it."""
    query, _, what = name.rpartition(": ")
    by = {"neighbors": f"{query}: distances", "rows": f"{query}: distances"}.get(what)
    by = "label scores" if name == "label sets" else by
    if by is None or here[by].shape != there[by].shape:
        return None
    a, b = here[by].astype(np.float64), there[by].astype(np.float64)
    allowed = close * max(float(np.abs(b).max()), 1e-300)
    beside = np.full(b.shape, np.inf)
    gaps = np.abs(np.diff(b, axis=-1))
    beside[..., 1:] = gaps
    beside[..., :-1] = np.minimum(beside[..., :-1], gaps)
    return (np.abs(a - b) <= allowed) & (beside <= 2 * allowed)


def make_archive(folder: Path, survey: Path, data: Path) -> int:
    """Simulated tiles and real files, in one folder; how many of the latter there are."""
    shutil.copytree(survey, folder / "survey")
    real = [data / name for name in REAL if (data / name).is_file()]
    for file in real:
        place = folder / "real" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return len(real)


def show(case: str, row: dict[str, Any], *, quiet: bool) -> None:
    """One line."""
    if not quiet:
        said = "same     " if row["same"] else "DIFFERENT"
        print(f"{said}  {case}: {row['compared']} ({row['values']:,}): {row['difference']}", flush=True)


def files_of(folder: Path, exact: bool) -> dict[str, np.ndarray]:
    """What is in the files below a folder, by their names: hashes, or the pixels of FITS files."""
    from astropy.io import fits

    found = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        if exact or file.suffix != ".fits":
            found[file.name] = np.asarray(hashlib.sha256(file.read_bytes()).hexdigest())
        else:
            with fits.open(file) as hdulist:
                found[file.name] = next(hdu.data for hdu in hdulist if hdu.data is not None).copy()
    return found


def run(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Make all catalogs and compare them."""
    pair = checkouts_of(options)
    folders = {checkout.name: work / checkout.name for checkout in pair}
    stacks: list[dict[str, str]] = []
    for checkout in pair:
        folders[checkout.name].mkdir()
        stacks.append(json.loads(checkout.run(__file__, checkout.folder, "--stack", cwd=work)))
        checkout.run(__file__, checkout.folder, "--simulate", folders[checkout.name] / "survey", cwd=work)
    apart = sorted(name for name in stacks[0] if stacks[0][name] != stacks[1][name])
    close = CLOSE if apart else 0.0
    rows = []
    simulated = [files_of(folder / "survey", not apart) for folder in folders.values()]
    for row in compare(*simulated, close):
        rows.append({"case": "simulated"} | row)
        show("simulated", row, quiet=options.json)
    real = make_archive(work / "archive", folders["this"] / "survey" / "tiles", options.data)
    for case in options.cases:
        found = [answers_of(checkout, case, work, folders[checkout.name]) for checkout in pair]
        for row in compare(found[0], found[1], close):
            rows.append({"case": case} | row)
            show(case, row, quiet=options.json)
    return {
        "checkouts": {checkout.name: str(checkout.folder) for checkout in pair},
        "versions": dict(zip(folders, stacks, strict=True)),
        "differing versions": apart,
        "allowed, of the largest": close,
        "real files": real,
        "rows": rows,
        "same": all(row["same"] for row in rows),
    }


def answers_of(checkout: Checkout, case: str, work: Path, out: Path) -> dict[str, np.ndarray]:
    """What a checkout answers."""
    said = checkout.run(__file__, checkout.folder, "--answer", case, work / "archive", out, cwd=work)
    module = Path(said.splitlines()[-1])
    if not module.is_relative_to(checkout.folder):
        raise SystemExit(f"{checkout.name} ran {module}, not {checkout.folder}")
    with np.load(out / f"{case}.npz") as file:
        return {name: file[name] for name in file.files}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_peer_arguments(parser)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="all by default")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="real files")
    parser.add_argument("--work", type=Path, help="folder for archive and catalogs; kept")
    parser.add_argument("--json", action="store_true", help="print JSON in place of lines")
    parser.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--simulate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stack", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stack:
        stack()
    elif options.simulate:
        simulate(options.simulate)
    elif options.answer:
        answer(options.answer[0], Path(options.answer[1]), Path(options.answer[2]))
    else:
        with tempfile.TemporaryDirectory(prefix="elodin-compare-") as temporary:
            work = options.work or Path(temporary)
            work.mkdir(parents=True, exist_ok=True)
            result = run(options, work)
        if options.json:
            print(json.dumps(result, indent=1))
        else:
            versions = ", ".join(result["differing versions"]) or "none"
            count = sum(not row["same"] for row in result["rows"])
            print(f"versions that differ: {versions}; allowed: {result['allowed, of the largest']:g}")
            print(f"{len(result['rows'])} comparisons, {count} differ")
        if not result["same"]:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
