"""What is done in each Python worker, and what of PySpark is kept from the terminal."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
import zipimport
from pathlib import Path

import pytest
from helpers.limits import HANG_S

from elodin_spark.spark.workers import forget_zip_finders


def test_archives_are_imported_from_after_their_finders_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "shipped.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("first", "second"):
            file.writestr(f"zipped_package/{name}.py", f"name = {name!r}")
        file.writestr("zipped_package/__init__.py", "")
    monkeypatch.syspath_prepend(str(archive))
    assert importlib.import_module("zipped_package.first").name == "first"
    kinds = {type(finder) for finder in sys.path_importer_cache.values()}
    assert zipimport.zipimporter in kinds
    forget_zip_finders()
    assert not any(isinstance(f, zipimport.zipimporter) for f in sys.path_importer_cache.values())
    importlib.invalidate_caches()
    assert importlib.import_module("zipped_package.second").name == "second"
    for name in ("zipped_package", "zipped_package.first", "zipped_package.second"):
        sys.modules.pop(name)


def test_what_pyspark_says_of_pandas_is_not_shown() -> None:
    code = (
        "import elodin_spark.spark\n"
        "from pyspark.sql.pandas.utils import require_minimum_pandas_version\n"
        "require_minimum_pandas_version()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S)
    assert (done.returncode, done.stderr) == (0, "")
