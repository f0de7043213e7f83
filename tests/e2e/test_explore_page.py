"""The page of the explorer, as people use it, in Chromium; nothing it asks leaves this machine."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from helpers.browser import Watched, chromium
from helpers.explorer import explored, mapped_catalog
from helpers.limits import HANG_S
from helpers.paths import ROOT
from PIL import Image

from elodin_spark import Catalog

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.e2e, pytest.mark.spark]

WAIT_MS = 120_000  # no test fails for a clock
MARGIN = 0.9  # of the map in its element


@pytest.fixture(scope="module")
def catalog(spark, survey, small_settings, tmp_path_factory) -> Catalog:
    return mapped_catalog(tmp_path_factory.mktemp("explored") / "catalog", survey, small_settings)


@pytest.fixture(scope="module")
def address(catalog) -> Iterator[str]:
    with explored(catalog.path) as server:
        yield server.address.rstrip("/")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def open_page(browser, address) -> Iterator[Callable[..., Page]]:
    """Opens a page at a state, and sees at the end that all went well."""
    opened = []

    def open_at(state: str = "", *, width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        opened.append((context, Watched(page)))
        page.goto(f"{address}/#{state}")
        page.wait_for_selector("#explorer[data-ready=all]")
        return page

    yield open_at
    for context, watched in opened:
        context.close()
        assert watched.errors == []
        assert watched.hosts == {address}


class Points:
    """The points of a map, and where they are on the page."""

    def __init__(self, address: str, name: str = "tsne") -> None:
        with urllib.request.urlopen(f"{address}/api/points?map={name}") as answer:
            packed = answer.read()
        (length,) = struct.unpack_from("<I", packed)
        columns = json.loads(packed[4 : 4 + length])["columns"]
        kinds = {"int64": "<i8", "float32": "<f4", "uint8": "u1"}
        found = {
            each["name"]: np.frombuffer(
                packed, kinds[each["dtype"]], each["length"], 4 + length + each["offset"]
            )
            for each in columns
        }
        self.ids, self.x, self.y = found["id"], found["x"].astype(float), found["y"].astype(float)

    def places(self, page: Page) -> tuple[np.ndarray, np.ndarray]:
        """Of all points, px, while the map is as it was opened."""
        box = page.locator(".ex-over").bounding_box()
        scale = min(box["width"], box["height"]) / 2 * MARGIN
        return box["x"] + box["width"] / 2 + self.x * scale, box["y"] + box["height"] / 2 - self.y * scale

    def lone(self, page: Page) -> int:
        """A point that no other is near to."""
        x, y = self.places(page)
        apart = np.hypot(x[:, None] - x, y[:, None] - y)
        np.fill_diagonal(apart, np.inf)
        return int(apart.min(axis=1).argmax())


@pytest.fixture(scope="module")
def points(address) -> Points:
    return Points(address)


def neighbor_ids(page: Page) -> list[int]:
    """Of the pictures that are shown."""
    titles = page.locator(".ex-tile").evaluate_all("tiles => tiles.map(tile => tile.title)")
    return [int(re.match(r"cutout (\d+)", title)[1]) for title in titles]


def wait_for_query(page: Page, cutout_id: int | str) -> None:
    page.wait_for_selector(f'#explorer[data-query="{cutout_id}"]')


def pictures_are_drawn(page: Page, selector: str) -> None:
    """Wait until all pictures of a selector show pixels."""
    page.wait_for_function(
        "s => [...document.querySelectorAll(s)].every(i => i.complete && i.naturalWidth > 8)", arg=selector
    )


def kept(address: str, name: str) -> set[int]:
    with urllib.request.urlopen(f"{address}/api/selections/{name}") as answer:
        packed = answer.read()
    (length,) = struct.unpack_from("<I", packed)
    (column,) = json.loads(packed[4 : 4 + length])["columns"]
    return set(np.frombuffer(packed, "<i8", column["length"], 4 + length + column["offset"]).tolist())


def drag(page: Page, corners: list[tuple[float, float]]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()


def test_a_card_beside_the_pointer_says_what_a_point_is(open_page, points, catalog) -> None:
    page = open_page("pictures=0")
    at = points.lone(page)
    x, y = points.places(page)
    page.mouse.move(x[at] + 3, y[at])
    card = page.locator(".ex-card")
    card.wait_for(state="visible")
    (about,) = catalog.describe_cutouts([int(points.ids[at])])
    text = card.inner_text()
    assert str(points.ids[at]) in text
    assert about["image"] in text
    assert f"{about['ra']:.5f}" in text
    assert about["labels"][0] in text
    pictures_are_drawn(page, ".ex-card img")
    page.mouse.move(5, 5)
    card.wait_for(state="hidden")


def test_a_click_shows_nine_neighbors_and_a_click_on_one_goes_on_from_it(open_page, points, catalog) -> None:
    page = open_page("pictures=0")
    at = points.lone(page)
    x, y = points.places(page)
    page.mouse.click(x[at], y[at])
    first = int(points.ids[at])
    wait_for_query(page, first)
    expected = [row["neighbor_id"] for row in catalog.neighbors(first, k=9)]
    assert neighbor_ids(page) == expected
    assert len(expected) == 9
    pictures_are_drawn(page, ".ex-tile img, .ex-query img")

    page.locator(".ex-tile").nth(2).click()
    wait_for_query(page, expected[2])
    assert neighbor_ids(page) == [row["neighbor_id"] for row in catalog.neighbors(expected[2], k=9)]
    page.get_by_role("button", name="Back").click()
    wait_for_query(page, first)
    page.get_by_role("button", name="Forward").click()
    wait_for_query(page, expected[2])


def test_options_change_what_is_near(open_page, points, catalog) -> None:
    first = int(points.ids[0])
    page = open_page(f"query=id:{first}&k=4")
    wait_for_query(page, first)
    page.get_by_label("Metric").select_option("jaccard")
    page.wait_for_function("() => document.querySelectorAll('.ex-tile').length === 4")
    page.get_by_text("Options and pictures").click()
    page.get_by_label("overlaps").check()
    expected = [
        row["neighbor_id"] for row in catalog.neighbors(first, k=4, metric="jaccard", allow_overlap=True)
    ]
    page.wait_for_function(
        "ids => [...document.querySelectorAll('.ex-tile')].map(t => /\\d+/.exec(t.title)[0]).join() === ids",
        arg=",".join(map(str, expected)),
    )


def test_pictures_are_read_again_with_another_stretch(open_page, points) -> None:
    page = open_page(f"query=id:{points.ids[0]}&k=3")
    wait_for_query(page, points.ids[0])
    pictures_are_drawn(page, ".ex-tile img")
    size = "() => document.querySelector('.ex-tile img').naturalWidth"
    before = page.evaluate(size)
    page.get_by_text("Options and pictures").click()
    with page.expect_response(lambda answer: "picture.png" in answer.url and "stretch=asinh" in answer.url):
        page.get_by_label("Stretch of the pictures").select_option("asinh")
    page.wait_for_function(f"before => ({size})() > before", arg=before)


def test_a_lasso_selects_what_it_encloses_and_zoom_and_filter_leave_it(
    open_page, points, address, catalog
) -> None:
    page = open_page("pictures=0")
    x, y = points.places(page)
    left, right = np.percentile(x, 15) + 0.31, np.percentile(x, 70) + 0.31
    top, bottom = np.percentile(y, 20) + 0.31, np.percentile(y, 80) + 0.31
    page.get_by_role("button", name="Lasso").click()
    drag(page, [(left, top), (right, top), (right, bottom), (left, bottom)])
    within = (x > left) & (x < right) & (y > top) & (y < bottom)
    near_edge = np.minimum.reduce([np.abs(x - left), np.abs(x - right), np.abs(y - top), np.abs(y - bottom)])
    page.locator(".ex-strip button").first.wait_for()
    page.get_by_label("Name of the selection").fill("enclosed")
    page.get_by_role("button", name="Keep").click()
    page.get_by_title("Take the selection enclosed").wait_for()
    first = kept(address, "enclosed")
    # The outline bends by up to a pixel or two where the pointer was sampled.
    assert set(points.ids[within & (near_edge > 3)].tolist()) <= first
    assert first <= set(points.ids[within | (near_edge < 3)].tolist())
    assert len(first) > 10

    page.keyboard.press("Escape")
    page.mouse.move((left + right) / 2, (top + bottom) / 2)
    for _ in range(4):
        page.mouse.wheel(0, -400)
    page.get_by_label("Filter: a condition").fill("x0 > 0")
    page.keyboard.press("Enter")
    page.get_by_text(re.compile(r"of \d+ shown")).wait_for()
    assert page.get_by_text(f"{len(first)} selected").is_visible()
    page.get_by_label("Name of the selection").fill("later")
    page.get_by_role("button", name="Keep").click()
    page.get_by_title("Take the selection later").wait_for()
    assert kept(address, "later") == first

    # What the filter hides is not enclosed.
    page.get_by_role("button", name="Fit", exact=True).click()
    page.get_by_role("button", name="Select view").click()
    page.get_by_text(f"{len(catalog.ids_where('x0 > 0'))} selected").wait_for()


def test_a_filter_counts_and_its_mistakes_are_shown_under_it(open_page, catalog) -> None:
    page = open_page()
    box = page.get_by_label("Filter: a condition")
    box.fill("x0 >= 64 and y0 < 100")
    box.press("Enter")
    shown = len(catalog.ids_where("x0 >= 64 and y0 < 100"))
    page.get_by_text(f"{shown} of 100 shown").wait_for()

    box.fill("x00 > 1")
    box.press("Enter")
    error = page.locator(".ex-error[role=alert]:visible")
    error.wait_for()
    assert "no column 'x00'" in error.inner_text()
    place, below = box.bounding_box(), error.bounding_box()
    assert 0 <= below["y"] - (place["y"] + place["height"]) < 20
    assert page.get_by_text(f"{shown} of 100 shown").is_visible()  # what was, stays

    box.fill("")
    box.press_sequentially("sky_si")
    page.locator(".ex-completions li").first.wait_for()
    box.press("Tab")
    assert box.input_value() == "sky_sigma "


def test_an_image_is_asked_with_and_a_bad_one_is_refused_in_words(open_page, survey, tmp_path) -> None:
    page = open_page()
    pixels = fits.getdata(survey.tiles[0], "IMAGE")[:64, :64].astype(np.float32)
    fits.writeto(tmp_path / "piece.fits", pixels)
    page.locator("input[type=file]").set_input_files(tmp_path / "piece.fits")
    wait_for_query(page, "upload")
    assert len(neighbor_ids(page)) == 9
    pictures_are_drawn(page, ".ex-tile img")

    gray = np.clip(pixels - pixels.min(), 0, 255).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "piece.png")
    with page.expect_response(lambda answer: "/api/upload" in answer.url):
        page.evaluate(
            """bytes => {
                const carried = new DataTransfer();
                carried.items.add(new File([new Uint8Array(bytes)], "piece.png"));
                const about = {dataTransfer: carried, bubbles: true, cancelable: true};
                const made = (name) => new DragEvent(name, about);
                const map = document.querySelector(".ex-over");
                map.dispatchEvent(made("dragenter"));
                map.dispatchEvent(made("drop"));
            }""",
            list((tmp_path / "piece.png").read_bytes()),
        )
    page.wait_for_function(
        "() => document.querySelector('.ex-what').innerText.includes('not in the catalog')"
    )
    assert page.locator(".ex-veil").is_hidden()

    (tmp_path / "text.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "text.png")
    alert = page.locator(".ex-alert")
    alert.wait_for()
    assert len(alert.inner_text()) > 20
    assert len(neighbor_ids(page)) == 9  # what was, stays


def test_a_position_is_asked_with_in_both_notations(open_page, catalog, points) -> None:
    (about,) = catalog.describe_cutouts([int(points.ids[7])])
    page = open_page()
    field = page.get_by_label("Position to ask at")
    field.fill(f"{about['ra']:.7f} {about['dec']:.7f}")
    field.press("Enter")
    page.wait_for_selector("#explorer:not([data-query=''])[data-query]")
    assert about["image"] in page.locator(".ex-what").inner_text()
    field.fill("10:00 nonsense")
    field.press("Enter")
    page.get_by_text("No position: type RA and Dec").wait_for()
    parsed = page.evaluate(
        """async () => {
            const {parsePosition} = await import("/static/drop.js");
            const texts = ["10:00:24 +02:12:00", "10h00m24s -0d30m00s", "150.1, 2.2", "150.1", "400 2"];
            return texts.map(parsePosition);
        }"""
    )
    assert parsed[0]["ra"] == pytest.approx(150.1)
    assert parsed[0]["dec"] == pytest.approx(2.2)
    assert parsed[1]["dec"] == pytest.approx(-0.5)
    assert parsed[2] == {"ra": 150.1, "dec": 2.2}
    assert parsed[3:] == [None, None]


def test_a_cutout_and_lists_are_downloaded(open_page, points, catalog, survey, tmp_path) -> None:
    cutout = int(points.ids[3])
    page = open_page(f"query=id:{cutout}")
    wait_for_query(page, cutout)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="FITS", exact=True).click()
    waiting.value.save_as(tmp_path / "cutout.fits")
    (about,) = catalog.describe_cutouts([cutout])
    (tile,) = [tile for tile in survey.tiles if about["image"].startswith(tile.name)]
    expected = fits.getdata(tile, "IMAGE")[about["y0"] : about["y1"], about["x0"] : about["x1"]]
    with fits.open(tmp_path / "cutout.fits") as file:
        found = next(hdu for hdu in file if hdu.data is not None)
        np.testing.assert_array_equal(found.data, expected)
        assert found.header["CTYPE1"].startswith("RA---")

    with page.expect_download() as waiting:
        page.get_by_label("Download the neighbors").select_option("votable")
    waiting.value.save_as(tmp_path / "near.vot")
    listed = Table.read(tmp_path / "near.vot", format="votable")
    assert listed["neighbor_id"].tolist() == neighbor_ids(page)

    page.keyboard.press("v")
    with page.expect_download() as waiting:
        page.get_by_label("Download the selection").select_option("csv")
    waiting.value.save_as(tmp_path / "selected.csv")
    assert set(Table.read(tmp_path / "selected.csv")["cutout_id"].tolist()) == set(points.ids.tolist())


def test_the_address_opened_again_shows_the_same(open_page, points) -> None:
    page = open_page(f"query=id:{points.ids[5]}&pictures=0")
    wait_for_query(page, points.ids[5])
    x, y = points.places(page)
    page.get_by_role("button", name="Lasso").click()
    middle = float(np.median(x)), float(np.median(y))
    drag(
        page,
        [(middle[0] + dx, middle[1] + dy) for dx, dy in ((-150, -90), (160, -120), (130, 170), (-90, 110))],
    )
    page.keyboard.press("Escape")
    page.get_by_label("Color by").select_option("sky_sigma")
    page.get_by_label("Scale of the colors").select_option("percentile")
    page.get_by_label("Filter: a condition").fill("y0 < 120")
    page.keyboard.press("Enter")
    page.get_by_text(re.compile(r"of \d+ shown")).wait_for()
    page.mouse.move(*middle)
    page.mouse.wheel(0, -500)
    page.wait_for_function("() => location.hash.includes('camera=')")
    page.get_by_role("tab", name="Image").click()
    told = """() => [location.hash, ...["output", ".ex-what", ".ex-ticks", "[aria-selected=true]"].map(
        (selector) => [...document.querySelectorAll(selector)].map((node) => node.innerText))]"""
    page.wait_for_function("() => document.querySelector('.ex-pane-image .ex-note').innerText.includes('px')")
    before = page.evaluate(told)
    assert int(before[1][1].split()[0]) > 3
    again = open_page(before[0][1:])
    wait_for_query(again, points.ids[5])
    again.wait_for_function(
        "() => document.querySelector('.ex-pane-image .ex-note').innerText.includes('px')"
    )
    assert again.evaluate(told) == before
    # And drawn the same, to the pixel.
    for each in (page, again):
        each.mouse.move(640, 5)
        each.wait_for_timeout(400)
    pictures = [each.locator(".ex-map").screenshot() for each in (page, again)]
    one, two = (np.asarray(Image.open(io.BytesIO(each)).convert("L"), int) for each in pictures)
    assert (np.abs(one - two) > 8).mean() < 1e-3


def test_all_of_it_by_keyboard_alone(open_page, points, catalog) -> None:
    page = open_page()
    press = page.keyboard.press
    press("m")
    page.locator(".ex-card").wait_for(state="visible")
    press("ArrowRight")
    press("Enter")
    page.wait_for_selector("#explorer:not([data-query=''])[data-query]")
    first = page.locator("#explorer").get_attribute("data-query")
    page.locator(".ex-tile").first.wait_for()
    press("Escape")
    page.locator(".ex-over").evaluate("node => node.blur()")
    near = neighbor_ids(page)
    press("ArrowRight")
    press("ArrowRight")
    press("ArrowDown")
    assert page.evaluate("() => document.activeElement.title").startswith(f"cutout {near[4]}")
    assert page.locator(".ex-tile:focus").evaluate("node => getComputedStyle(node).outlineWidth") == "2px"
    press("Enter")
    wait_for_query(page, near[4])
    press("[")
    wait_for_query(page, first)
    press("]")
    wait_for_query(page, near[4])

    press("s")
    page.get_by_text("1 selected").wait_for()
    press("f")
    press("v")
    page.get_by_text("100 selected").wait_for()
    press("c")
    page.get_by_text("none selected").wait_for()
    press("/")
    page.keyboard.type("x0 > 0")
    press("Enter")
    page.get_by_text(f"{len(catalog.ids_where('x0 > 0'))} of 100 shown").wait_for()
    press("Escape")
    for key, name in (("i", "Image"), ("y", "Sky"), ("n", "Neighbors")):
        press(key)
        assert page.get_by_role("tab", name=name).get_attribute("aria-selected") == "true"
    press("?")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    press("Escape")
    assert dialog.is_hidden()
    press("t")
    assert page.locator("#explorer").get_attribute("data-theme") == "dark"
    press("l")
    assert page.get_by_role("button", name="Lasso").get_attribute("aria-pressed") == "true"
    press("Escape")
    assert page.get_by_role("button", name="Lasso").get_attribute("aria-pressed") == "false"
    with page.expect_download():
        press("d")
    # Nothing that can be used is without a name.
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, textarea, [tabindex]")]
            .filter((node) => node.checkVisibility())
            .filter((node) => !(node.ariaLabel || node.innerText || node.labels?.length))
            .map((node) => node.outerHTML)"""
    )
    assert nameless == []


def test_number_keys_label_and_the_labels_last(open_page, points, address, tmp_path) -> None:
    page = open_page(f"query=id:{points.ids[9]}")
    wait_for_query(page, points.ids[9])
    near = neighbor_ids(page)
    page.get_by_label("Name of label 2").fill("barred spiral, ringed")
    page.get_by_label("Name of label 2").press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("2")
    page.keyboard.press("0")
    assert page.locator(".ex-neighbors .ex-badge").all_inner_texts() == ["2", "2"]
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Labels CSV").click()
    waiting.value.save_as(tmp_path / "labels.csv")
    rows = list(csv.DictReader((tmp_path / "labels.csv").open(encoding="utf-8", newline="")))
    assert {(int(row["cutout_id"]), row["label"]) for row in rows} == {
        (int(points.ids[9]), "class 1"),
        (near[0], "barred spiral_ ringed"),
        (near[1], "barred spiral_ ringed"),
    }
    page.wait_for_function(
        """async () => {
            const {selections} = await (await fetch("/api/selections")).json();
            return selections.filter(({name}) => name.startsWith("label-")).length === 2;
        }"""
    )
    again = open_page(f"query=id:{points.ids[9]}")
    wait_for_query(again, points.ids[9])
    again.locator(".ex-neighbors .ex-badge").nth(1).wait_for()
    assert again.locator(".ex-neighbors .ex-badge").count() == 2


def test_a_click_in_the_image_asks_from_the_nearest_window(open_page, points, catalog) -> None:
    page = open_page(f"query=id:{points.ids[11]}&tab=image")
    wait_for_query(page, points.ids[11])
    page.wait_for_function("() => document.querySelector('.ex-pane-image .ex-note').innerText.includes('px')")
    (about,) = catalog.describe_cutouts([int(points.ids[11])])
    canvas = page.locator(".ex-image")
    box = canvas.bounding_box()
    # The query has a red frame, where FITS has its row 0 at the bottom.
    left, right, top, bottom = canvas.evaluate(
        """node => {
            const {width, height} = node;
            const {data} = node.getContext("2d").getImageData(0, 0, width, height);
            const [xs, ys] = [[], []];
            for (let at = 0; at < data.length; at += 4)
                if (data[at] > 200 && data[at + 1] < 100) {
                    xs.push((at / 4) % width / width);
                    ys.push(Math.floor(at / 4 / width) / height);
                }
            return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
        }"""
    )
    drawn = [192 * left, 192 * right, 192 * (1 - bottom), 192 * (1 - top)]
    assert drawn == pytest.approx([about[side] for side in ("x0", "x1", "y0", "y1")], abs=3)
    x, y = (160, 32) if about["x0"] < 64 else (32, 160)
    # FITS: row 0 is at the bottom.
    canvas.click(position={"x": x / 192 * box["width"], "y": (1 - y / 192) * box["height"]})
    expected = [
        row
        for row in catalog.describe_cutouts(catalog.cutout_ids().tolist())
        if row["image"] == about["image"] and (row["x0"] + row["x1"], row["y0"] + row["y1"]) == (2 * x, 2 * y)
    ]
    wait_for_query(page, expected[0]["cutout_id"])


def test_the_sky_shows_all_cutouts_and_links_to_archives(open_page, points) -> None:
    page = open_page(f"query=id:{points.ids[2]}&tab=sky")
    wait_for_query(page, points.ids[2])
    page.get_by_text("Around").wait_for()
    assert page.locator(".ex-pane-sky .ex-links a").count() >= 2
    inked = "node => new Set(node.getContext('2d').getImageData(0, 0, node.width, node.height).data).size"
    for selector in (".ex-mollweide", ".ex-local"):
        assert page.locator(selector).evaluate(inked) > 20
    page.locator(".ex-local").click()  # its middle is the query
    back_and_forth = page.evaluate(
        """async () => {
            const sky = await import("/static/sky.js");
            const [x, y] = sky.mollweide(150.1, -32.2);
            const center = {ra: 10, dec: 80};
            const [u, v] = sky.tangent(30, 82, center);
            return [sky.fromMollweide(x, y), sky.fromTangent(u, v, center)];
        }"""
    )
    assert back_and_forth[0]["ra"] == pytest.approx(150.1, abs=1e-6)
    assert back_and_forth[0]["dec"] == pytest.approx(-32.2, abs=1e-6)
    assert back_and_forth[1]["ra"] == pytest.approx(30)
    assert back_and_forth[1]["dec"] == pytest.approx(82)


def test_points_are_found_in_polygons_as_one_by_one(open_page) -> None:
    page = open_page()
    wrong = page.evaluate(
        """async () => {
            const {PointSet, inside} = await import("/static/pointset.js");
            let seed = 7;
            const random = () => (seed = (Math.imul(seed, 48271) >>> 0) % 2147483647) / 2147483647;
            const n = 20000;
            const id = BigInt64Array.from({length: n}, (_, i) => BigInt(i) * 922337203685477n + 5n);
            const x = Float32Array.from({length: n}, () => random() * 2 - 1);
            const y = Float32Array.from({length: n}, () => random() * 1.2 - 0.6);
            const points = new PointSet({n, id, x, y, doubtful: new Uint8Array(n)});
            let wrong = 0;
            for (let round = 0; round < 20; round++) {
                const polygon = Float64Array.from({length: 2 * (3 + round)}, () => random() * 2.4 - 1.2);
                const found = new Set(points.inPolygon(polygon));
                for (let i = 0; i < n; i++) wrong += inside(polygon, x[i], y[i]) !== found.has(i);
            }
            for (let i = 0; i < n; i++) wrong += points.indexOf(String(id[i])) !== i;
            wrong += points.indexOf("12345") !== -1;
            for (let round = 0; round < 100; round++) {
                const [px, py] = [random() * 2 - 1, random() - 0.5];
                let best = -1;
                let least = 0.05 ** 2;
                for (let i = 0; i < n; i++) {
                    const away = (x[i] - px) ** 2 + (y[i] - py) ** 2;
                    if (away < least) [best, least] = [i, away];
                }
                wrong += points.nearest(px, py, 0.05) !== best;
            }
            return wrong;
        }"""
    )
    assert wrong == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080)])
def test_nothing_overlaps_or_is_cut_off(open_page, points, width, height, dark) -> None:
    page = open_page(
        f"query=id:{points.ids[1]}&color=image&where={urllib.parse.quote('x0 >= 0')}",
        width=width, height=height, dark=dark,
    )  # fmt: skip
    wait_for_query(page, points.ids[1])
    pictures_are_drawn(page, ".ex-tile img")
    assert page.locator("#explorer").get_attribute("data-theme") == ("dark" if dark else "light")
    cut = page.evaluate(
        """() => {
            const found = [];
            const all = (selector) => [...document.querySelectorAll(selector)];
            const shown = (selector) => all(selector).filter((node) => node.checkVisibility());
            for (const node of shown(".ex button, .ex label, .ex h1, .ex h2, .ex .ex-row")) {
                const small = node.closest(".ex-tile, .ex-mini, .ex-legend-list");
                if (!small && node.scrollWidth > node.clientWidth + 1) found.push(["cut", node.outerHTML]);
                const {left, right} = node.getBoundingClientRect();
                if (left < 0 || right > innerWidth) found.push(["outside", node.outerHTML]);
            }
            const apart = (a, b) => a.left >= b.right - 1 || a.top >= b.bottom - 1;
            for (const row of shown(".ex-row, .ex-header, .ex-tools, .ex-tabs")) {
                const boxes = [...row.children].map((node) => node.getBoundingClientRect());
                const some = boxes.filter((box) => box.width);
                for (const a of some)
                    for (const b of some)
                        if (a !== b && !apart(a, b) && !apart(b, a)) found.push(["overlap", row.outerHTML]);
            }
            const {bottom} = shown(".ex-tile").at(8).getBoundingClientRect();
            if (bottom > innerHeight) found.push(["below", String(bottom)]);
            if (document.documentElement.scrollWidth > innerWidth) found.push(["wide", ""]);
            return found;
        }"""
    )
    assert cut == []


def test_the_picture_of_the_docs_is_drawn(browser, catalog, survey, tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    drawn = importlib.import_module("draw_explorer")
    # In a process of its own, as one playwright is at work in this one.
    command = [sys.executable, drawn.__file__, str(catalog.path), str(tmp_path), str(survey.truth)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=HANG_S)
    with Image.open(tmp_path / "explorer.png") as picture:
        assert picture.size == (drawn.WIDTH, drawn.HEIGHT)
        assert np.asarray(picture.convert("L")).std() > 20
    assert (tmp_path / "explorer.png").stat().st_size < 400_000
