"""The page of the explorer in Chromium without a GPU: until it is painted, and until a lasso is IDs."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

import numpy as np

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage")
WAIT_MS = 300_000
MARGIN = 0.9  # of the map in its element

#: From the end of a gesture to the number of the selected; and to the map drawn with them.
LASSO = """async () => {
    const output = document.querySelector("section[aria-label=Selection] output");
    const map = document.querySelector(".ex-over");
    let started = 0;
    map.addEventListener("pointerup", () => (started = performance.now()), {capture: true, once: true});
    window.lassoed = new Promise((resolve) => {
        new MutationObserver((changes, observer) => {
            observer.disconnect();
            const counted = performance.now() - started;
            requestAnimationFrame(() => setTimeout(() => resolve(
                {counted, selected: Number(output.textContent.replace(/[^0-9]/g, "")) || 0}
            )));
        }).observe(output, {childList: true, characterData: true, subtree: true});
    });
}"""


def measure_page(
    address: str, points: dict[str, Any], selected: int, repeats: int = 5
) -> list[dict[str, Any]]:
    """Times of the page of a server, ms; none where there is no Chromium or playwright.

    Parameters
    ----------
    address : str
    points : dict
        The columns of ``/api/points``.
    selected : int
        About how many points a lasso encloses.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        return []
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    found: dict[str, list[float]] = {"page: first paint": [], "page: lasso to IDs": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        for _ in range(repeats):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(WAIT_MS)
            started = time.perf_counter()
            page.goto(address)
            page.wait_for_selector("#explorer[data-ready]")
            page.screenshot(clip={"x": 560, "y": 400, "width": 8, "height": 8})  # waits for the frame
            found["page: first paint"].append(1000 * (time.perf_counter() - started))
            page.wait_for_selector("#explorer[data-ready=all]")
            box = page.locator(".ex-over").bounding_box()
            assert box is not None
            scale = min(box["width"], box["height"]) / 2 * MARGIN
            middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            away = np.maximum(np.abs(points["x"]), np.abs(points["y"]))
            half = (
                float(np.partition(away, min(selected, away.size) - 1)[min(selected, away.size) - 1]) * scale
            )
            corners = [
                (middle[0] + dx * half, middle[1] + dy * half)
                for dx, dy in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            page.keyboard.press("l")
            page.evaluate(LASSO)
            page.mouse.move(*corners[0])
            page.mouse.down()
            for corner in [*corners[1:], corners[0]]:
                page.mouse.move(*corner, steps=10)
            page.mouse.up()
            lassoed = page.evaluate("() => window.lassoed")
            found["page: lasso to IDs"].append(lassoed["counted"])
            page.close()
        browser.close()
    notes = {"page: lasso to IDs": f"{lassoed['selected']:,} points"}
    rows = []
    for what, times in found.items():
        half_way, most = np.percentile(times, [50, 95])
        rows.append(
            {
                "what": what,
                "n": len(times),
                "p50": float(half_way),
                "p95": float(most),
                "CPU": "",
                "note": notes.get(what, "SwiftShader"),
            }
        )
    return rows
