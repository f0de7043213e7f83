"""The notebook runs from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from helpers.limits import HANG_S
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))

pytestmark = [pytest.mark.e2e, pytest.mark.spark]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where the notebook writes
    # The Python of a local session must be the kernel's own.
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    notebook = nbformat.read(path, as_version=4)
    # 'python3' is the kernel of the running environment.
    client = NotebookClient(
        notebook, timeout=HANG_S, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(output.get("text", "") for output in outputs)
    assert len(pictures) == 2
    assert "nothing to do" in text  # the second run of the catalog
