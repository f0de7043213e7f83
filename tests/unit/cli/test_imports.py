"""What a command imports is what it needs: the rest costs seconds before anything is answered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from helpers.limits import HANG_S
from helpers.smallcatalog import tables, write_catalog

NETWORKS = ("tensorflow", "keras", "torch", "jax", "openvino", "nncf")
SCIENCE = (
    "astropy",
    "scipy",
    "sklearn",
    "skimage",
    "matplotlib",
    "cv2",
    "pandas",
    "numba",
    "umap",
    "openTSNE",
)
TABLES = ("pyarrow", "numpy")
SPARK = ("pyspark", "py4j")

RUN = """
import json, sys
from elodin_spark.cli.main import run_command
code = run_command(sys.argv[2:])
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([code, sorted(loaded & set(sys.argv[1].split(",")))]))
"""


def imported(*arguments: object, of: tuple[str, ...]) -> tuple[int, list[str]]:
    """Exit code of a command, and which of some packages it imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, ",".join(of), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    code, names = json.loads(done.stdout.splitlines()[-1])
    return code, names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog, an image, settings for it, and settings that are wrong."""
    place = tmp_path_factory.mktemp("imports")
    write_catalog(place / "catalog", tables(2, 3))
    fits.writeto(place / "a.fits", np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32))
    (place / "run.yaml").write_text(f"images: {{paths: {place}/a.fits}}\n")
    (place / "wrong.yaml").write_text("images: {paths: /a}\nseed: 1\nseed: 2\n")
    return place


@pytest.mark.parametrize(
    ("command", "code", "unneeded"),
    [
        ("--version", 0, NETWORKS + SCIENCE + SPARK + TABLES),
        ("run", 2, NETWORKS + SCIENCE + SPARK + TABLES),
        ("run {place}/wrong.yaml", 2, NETWORKS + SCIENCE + SPARK + TABLES),
        ("plan {place}/run.yaml --set cutouts.generator.stepp=1", 2, NETWORKS + SCIENCE + SPARK + TABLES),
        ("info {place}/catalog", 0, NETWORKS + SCIENCE + SPARK),
        # pyarrow takes pandas to make an array of NumPy of a column.
        (
            "neighbors {place}/catalog {id}",
            0,
            NETWORKS + SPARK + ("astropy", "scipy", "sklearn", "matplotlib"),
        ),
        ("plan {place}/run.yaml --headers-only", 0, NETWORKS),
        ("plot quality {place}/catalog -o {place}/quality.png", 0, NETWORKS + SPARK),
        ("export {place}/catalog --format tensorboard -o {place}/projector", 0, NETWORKS + SPARK),
    ],
)
def test_a_command_imports_no_more_than_it_needs(folder, command, code, unneeded):
    from elodin_spark import Catalog

    some = Catalog.open(folder / "catalog").cutout_ids()[0] if "{id}" in command else ""
    arguments = command.format(place=folder, id=some).split()
    assert imported(*arguments, of=unneeded) == (code, [])


def test_pyarrow_still_makes_data_frames_after_pandas_was_kept_from_it():
    code = (
        "import sys\nfrom elodin_spark.exits import without_pandas\nwithout_pandas()\n"
        "import pyarrow as pa\nassert 'pandas' not in sys.modules\n"
        "frame = pa.table({'a': [1, 2]}).to_pandas()\nimport pandas\n"
        "assert isinstance(frame, pandas.DataFrame) and pa.array(pandas.Series([1.0, None])).null_count == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANG_S)
