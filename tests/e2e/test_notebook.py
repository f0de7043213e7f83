"""The notebooks run from the first cell to the last, show pictures, and their answers hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from helpers.limits import HANG_S
from helpers.paths import DATA, ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.e2e, pytest.mark.spark]

#: Pictures that a notebook shows.
PICTURES = {"quickstart": 2, "hubble": 3, "sdss_color": 3, "filters_and_positions": 2, "cluster": 2}
#: What holds at its end, for any images; run as a last cell.
CHECKS = {
    "quickstart": "assert len(catalog.neighbors(query, k=5)) == 5",
    "hubble": """
import numpy as np
from sklearn.neighbors import NearestNeighbors

assert [len(found) for found in answers] == [10, 10, 10]
assert all(query not in {row["neighbor_id"] for row in found} for query, found in zip(queries, answers))
# Windows of one place lie together on the map: many of its neighbors share pixels, where few pairs do.
near = NearestNeighbors(n_neighbors=6).fit(places).kneighbors(places, return_distance=False)[:, 1:]
image, corners = np.array(image_of), cutouts[["x0", "y0"]].to_numpy()
alike = image[near] == image[:, None]
overlap = (alike & (abs(corners[near] - corners[:, None]).max(2) < size)).mean()
of_pairs = ((image[None] == image[:, None]) & (abs(corners[None] - corners[:, None]).max(2) < size)).mean()
assert overlap > 4 * of_pairs, (overlap, of_pairs)
""",
    "sdss_color": """
size_of = measured.set_index("cutout_id").half_light_px
assert [len(found) for found in (galaxies, stars, bright)] == [8, 8, 8]
# Galaxies are larger than what the star finds; stars are points, as it is.
assert size_of[[row["neighbor_id"] for row in galaxies]].median() > 1.4 * size_of[queries[1]]
assert size_of[[row["neighbor_id"] for row in stars]].median() < 1.2 * size_of[queries[1]]
magnitude_of = measured.set_index("cutout_id").mag
assert magnitude_of[[row["neighbor_id"] for row in bright]].between(16, 20).all()
assert catalog.images["bands"].to_pylist() == ["i,r,g"]
""",
    "filters_and_positions": """
rows = cutouts.set_index("cutout_id")
kept = rows.loc[[row["neighbor_id"] for row in clean]]
assert len(kept) == 5
assert (kept.type == "spiral").sum() >= 3  # among 17 of 115 windows
assert ((kept.masked_fraction == 0) & (kept.edge_px >= 16) & ~kept.shifted).all()
assert len(fainter) == 5
assert (rows.loc[[row["neighbor_id"] for row in fainter]].mag > 17.5).all()
assert all(SkyCoord(row["ra"], row["dec"], unit="deg").separation(position) <= 1 * u.arcmin for row in near)
assert 0 < len(near) < len(cutouts)
assert [row["neighbor_id"] for row in covered] == [row["neighbor_id"] for row in near]
assert rows.object_id[query] == spiral.object_id
assert rows.object_id[with_repeats[0]["neighbor_id"]] == rows.object_id[twice]
named = [rows.object_id[row["neighbor_id"]] for row in once]
assert len(named) == 5 == len(set(named)) and rows.object_id[twice] not in named
assert Table.read(WORK / "similar.vot")["neighbor_id"].tolist() == [row["neighbor_id"] for row in clean]
from astropy.io import fits
assert fits.getdata(WORK / "nearest.fits").shape == (48, 48)
""",
    "cluster": """
assert counted.windows.sum() == len(catalog.cutout_ids()) > 0
assert re.search("Asked to launch executor", (WORK / "Worker.log").read_text())
assert all(process.poll() is not None for process in started) and len(started) == 2
assert len(catalog.neighbors(middle, k=5)) == 5
""",
}
#: Those that take real images where these lie beside the checkout, with their folder there.
REAL = {"hubble": "hubble", "sdss_color": "sdss_field"}
#: And what holds of these.
REAL_CHECKS = {
    "hubble": """
assert len(ids) == 795
assert alike.mean() > 0.99, alike.mean()
# Each of the three stars finds the two others, or windows that hold them.
def holds(row, star):
    return row["image"] == star[0] and row["x0"] <= star[1] < row["x1"] and row["y0"] <= star[2] < row["y1"]

for number, found in enumerate(answers):
    others = [star for at, star in enumerate(stars) if at != number]
    assert all(any(holds(row, star) for row in found[:4]) for star in others), (number, found.text())
""",
    "sdss_color": """
assert catalog.images["width"].to_pylist() == [2048]
assert len(measured) > 200
""",
}


def run(notebook: nbformat.NotebookNode, folder: Path) -> tuple[list[str], str, str]:
    """Run all cells in a folder: kinds of what was shown, standard output and standard error."""
    # 'python3' is the kernel of the running environment.
    client = NotebookClient(
        notebook, timeout=HANG_S, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    printed = {
        name: "".join(output["text"] for output in outputs if output.get("name") == name)
        for name in ("stdout", "stderr")
    }
    return shown, printed["stdout"], printed["stderr"]


def check(path: Path, folder: Path, *, checks: str) -> str:
    """Run a notebook with what is to hold at its end, and return what it printed."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(new_code_cell(checks))
    shown, printed, errors = run(notebook, folder)
    assert shown.count("image/png") == PICTURES[path.stem]
    assert not re.search(r"warn|error|traceback|exception", errors, re.IGNORECASE), errors
    return printed


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where notebooks write; the folder that they run in is another."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    # The Python of a local session must be the kernel's own; no cluster but the notebook's.
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    monkeypatch.delenv("SPARK_MASTER", raising=False)
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(path: Path, scratch: Path, tmp_path: Path) -> None:
    # Real images where they are at hand and the notebook takes some: each runs once, to save minutes.
    real = path.stem in REAL and (DATA / REAL[path.stem]).is_dir()
    folder = tmp_path / "here" / "notebooks"
    folder.mkdir(parents=True)
    if real:
        (tmp_path / "shared").symlink_to(DATA.parent)
    printed = check(path, folder, checks=CHECKS[path.stem] + (REAL_CHECKS[path.stem] if real else ""))
    assert not list(folder.iterdir())
    assert ("simulated" in printed) == (path.stem != "quickstart" and not real)
    assert path.stem != "quickstart" or "nothing to do" in printed  # the second run of the catalog


def test_a_cell_that_fails_fails_the_run(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="seven"):
        run(new_notebook(cells=[new_code_cell("raise ValueError('seven')"), new_code_cell("1")]), tmp_path)
