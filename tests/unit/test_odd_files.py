"""Small files as real archives write them, each odd in its own way: what is read is what was meant.

The right values are those of ``shared/data/odd_files/README.md``. One table for each thing that is
looked at: add a row for a file, or a table with its test for something new.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elodin_spark.cutouts.skycatalog import read_positions


@pytest.fixture(scope="module")
def odd(shared_data: Path) -> Path:
    folder = shared_data / "odd_files"
    if not folder.is_dir():
        pytest.skip(f"no odd files at {folder}")
    return folder


#: Catalog of positions to right ascension and declination of its rows, ICRS, deg.
CATALOGS = {
    "sc.ecsv": ([150.0123, 359.9999, 0.0001], [2.2, -0.5, 89.9]),
    "irsa.tbl": ([150.0123, 359.9999], [2.2, -0.5]),
}


@pytest.mark.parametrize("name", CATALOGS)
def test_catalogs_of_positions(odd: Path, name: str) -> None:
    found = read_positions(str(odd / name))
    ra, dec = CATALOGS[name]
    np.testing.assert_allclose(found.positions["ra"], ra, atol=1e-9)
    np.testing.assert_allclose(found.positions["dec"], dec, atol=1e-9)
    assert found.refused.num_rows == 0
