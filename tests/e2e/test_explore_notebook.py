"""The explorer in a cell of a notebook: its page in Chromium, its Python side in this process.

The messages that Jupyter would carry between the two are carried here by Playwright.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browser import Watched, chromium
from helpers.explorer import mapped_catalog

from elodin_spark import Catalog

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("anywidget", reason="the extra notebooks is not installed")

pytestmark = [pytest.mark.e2e, pytest.mark.spark]

WAIT_MS = 120_000
#: What a notebook's front end gives a widget: a model that sends and hears messages.
HOST = """
<!doctype html><title>cell</title><div id="cell"></div>
<script type="module">
  const listeners = new Set();
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const text = (view) => {
    let all = "";
    const part = new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);
    for (let i = 0; i < part.length; i += 8192) all += String.fromCharCode(...part.subarray(i, i + 8192));
    return btoa(all);
  };
  const model = {
    model_id: "cell",
    get: () => 640,
    on: (event, run) => listeners.add(run),
    off: (event, run) => listeners.delete(run),
    send: (content, callbacks, buffers = []) => window.toPython(content, buffers.map(text)),
  };
  window.fromPython = (content, buffers) => {
    const views = buffers.map((each) => new DataView(bytes(each).buffer));
    for (const run of listeners) run(content, views);
  };
  const { default: widget } = await import("/widget.js");
  window.close = await widget.render({ model, el: document.getElementById("cell") });
  document.title = "shown";
</script>
"""


@pytest.fixture(scope="module")
def catalog(spark, survey, small_settings, tmp_path_factory) -> Catalog:
    return mapped_catalog(tmp_path_factory.mktemp("explored") / "catalog", survey, small_settings)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Cell:
    """A cell that shows an explorer."""

    def __init__(self, browser: Browser, catalog: Catalog) -> None:
        self.explorer = catalog.explore(height=640)
        self.page: Page = browser.new_page(viewport={"width": 1000, "height": 760})
        self.page.set_default_timeout(WAIT_MS)
        self.watched = Watched(self.page)
        self._waiting: list[tuple[Any, list[str]]] = []
        # Sent from another thread: handed over by the one of Playwright, see `until`.
        self.explorer.send = self._send  # type: ignore[method-assign]
        self.page.expose_function("toPython", self._take)
        script = self.explorer._esm
        self.page.route("**/widget.js", lambda r: r.fulfill(body=str(script), content_type="text/javascript"))
        self.page.route("http://cell.test/", lambda r: r.fulfill(body=HOST, content_type="text/html"))
        self.page.goto("http://cell.test/")

    def _send(self, content: Any, buffers: Any = None) -> None:
        self._waiting.append((content, [base64.b64encode(each).decode() for each in buffers or ()]))

    def _take(self, content: Any, buffers: list[str]) -> None:
        self.explorer._handle_custom_msg(content, [memoryview(base64.b64decode(each)) for each in buffers])

    def until(self, met: Callable[[], bool]) -> None:
        """Carry messages until something holds."""
        for _ in range(WAIT_MS // 20):
            while self._waiting:
                self.page.evaluate(
                    "([content, buffers]) => window.fromPython(content, buffers)", list(self._waiting.pop(0))
                )
            if met():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("it did not come")

    def there(self, selector: str) -> Callable[[], bool]:
        return lambda: self.page.locator(selector).count() > 0


@pytest.fixture(scope="module")
def cell(browser, catalog) -> Iterator[Cell]:
    made = Cell(browser, catalog)
    made.until(made.there("#cell .ex[data-ready=all], #cell .ex-cell[data-ready=all]"))
    yield made
    assert made.watched.errors == []
    assert made.watched.hosts == {"http://cell.test"}
    made.page.close()
    made.explorer.close()


def shown(cell: Cell) -> tuple[int, list[int]]:
    """The query of the cell, and its neighbors."""
    asked = int(cell.page.locator("[data-query]").get_attribute("data-query"))
    titles = cell.page.locator(".ex-tile").evaluate_all("tiles => tiles.map(tile => tile.title)")
    return asked, [int(title.split()[1]) for title in titles]


def test_a_click_in_the_cell_shows_neighbors(cell, catalog) -> None:
    cell.page.get_by_role("button", name="Random").click()
    cell.until(lambda: cell.page.locator(".ex-tile").count() == 9)
    asked, found = shown(cell)
    assert found == catalog.neighbors(asked, k=9).to_arrow().column("neighbor_id").to_pylist()
    cell.page.locator(".ex-tile").first.click()
    cell.until(cell.there(f'[data-query="{found[0]}"]'))
    cell.until(lambda: cell.page.locator(".ex-tile").count() == 9)
    asked, found = shown(cell)
    assert found == catalog.neighbors(asked, k=9).to_arrow().column("neighbor_id").to_pylist()


def test_what_is_selected_comes_as_a_dataframe(cell, catalog) -> None:
    changes = []
    cell.explorer.observe(lambda change: changes.append(change.new), "selected_ids")
    box = cell.page.locator(".ex-over").bounding_box()
    cell.page.get_by_role("button", name="Lasso").click()
    left, top, right, bottom = (
        box["x"] + 2,
        box["y"] + 2,
        box["x"] + box["width"] - 2,
        box["y"] + box["height"] - 2,
    )
    cell.page.mouse.move(left, top)
    cell.page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        cell.page.mouse.move(x, y, steps=8)
    cell.page.mouse.up()
    cell.until(lambda: len(changes) > 0 and len(changes[-1]) > 0)
    selection = cell.explorer.selection
    assert set(selection["cutout_id"]) == set(catalog.cutout_ids().tolist())
    assert list(selection["cutout_id"]) == cell.explorer.selected_ids.tolist()
    assert {"image", "x0", "ra", "sky_sigma"} <= set(selection.columns)


def test_a_selection_of_nothing_is_an_empty_dataframe(catalog) -> None:
    explorer = catalog.explore()
    assert explorer.selection.empty
    assert "cutout_id" in explorer.selection
    explorer.close()
