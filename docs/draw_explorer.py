"""Make the picture of the explorer: a query, its neighbors, and where they lie on the map.

    python docs/draw_explorer.py demo/catalog docs/images demo/survey/truth.csv

The page is opened in Chromium, without a screen. The query is a spiral of the table of the survey's truth
that stands alone in its cutout; without that table, the cutout whose picture holds most.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from elodin_spark import Catalog
from elodin_spark.datasets.truth import Truth
from elodin_spark.errors import InputError, import_extra

WIDTH, HEIGHT = 1400, 860  # px
WAIT_MS = 300_000
KIND = "spiral"
COLORS = 256
#: Of the page, beside the query.
STATE = "color=sky_sigma&scale=percentile"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def draw_explorer(catalog: Path, out: Path, truth: Path | None = None) -> Path:
    """Write ``explorer.png`` to `out`; returns the file.

    Raises
    ------
    InputError
        There is no Chromium.
    MissingDependencyError
        The extra ``browser`` or ``explore`` is not installed.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise InputError("there is no Chromium on PATH: install it, see conf/check-browser.sh")
    api = import_extra("playwright.sync_api", "the picture of the explorer")
    query = choose_query(Catalog.open(catalog), truth)
    arguments = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with served(catalog) as address, api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{address}#query=id:{query}&{STATE}")
        page.wait_for_selector(f'#explorer[data-ready=all][data-query="{query}"]')
        page.wait_for_function("[...document.images].every(i => !i.src || i.naturalWidth)")
        page.wait_for_load_state("networkidle")
        out.mkdir(parents=True, exist_ok=True)
        file = out / "explorer.png"
        page.screenshot(path=file)
        browser.close()
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(
            COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
    few.save(file, optimize=True)
    return file


def choose_query(catalog: Catalog, truth: Path | None) -> int:
    """A cutout that has something to show."""
    ids = catalog.cutout_ids().tolist()
    if truth is not None:
        known = Truth.read(truth)
        found = [
            (alone[1], row["cutout_id"])
            for row in catalog.describe_cutouts(ids)
            if (alone := known.stands_alone(row)) is not None and alone[0] == KIND
        ]
        if found:
            return int(min(found)[1])
    rows = catalog.table("cutouts").select(["cutout_id", "thumbnail"]).to_pylist()
    return int(max(rows, key=lambda row: (len(row["thumbnail"] or b""), row["cutout_id"]))["cutout_id"])


@contextmanager
def served(catalog: Path) -> Iterator[str]:
    """The address of the explorer of a catalog, in a process of its own."""
    command = [sys.executable, "-m", "elodin_spark", "explore", str(catalog), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+/", server.stdout.readline())
        if found is None:
            raise InputError(f"the explorer of {catalog} did not start")
        yield found[0]
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    file = draw_explorer(Path(sys.argv[1]), Path(sys.argv[2]), *map(Path, sys.argv[3:4]))
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
