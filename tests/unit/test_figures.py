"""The programs that draw the figures of the docs."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from elodin_spark.errors import InputError

DOCS = Path(__file__).resolve().parents[2] / "docs"
LARGEST_BYTES = 300_000


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(DOCS))
    yield
    for name in [name for name in sys.modules if name.startswith("draw_")]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def check(file: Path) -> None:
    """A picture with a white border, so nothing is clipped, and something within."""
    assert file.stat().st_size < LARGEST_BYTES
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert min(pixels[:8].min(), pixels[-8:].min(), pixels[:, :8].min(), pixels[:, -8:].min()) > 245
    assert pixels.std() > 20


def test_the_figure_of_quality_shows_every_outcome(tmp_path: Path) -> None:
    drawn = module("draw_quality")
    drawn.write_tile(tmp_path / "tile.fits", 384)
    page = drawn.draw(tmp_path / "tile.fits")
    (tile, *cutouts) = page.figure.axes
    assert len(cutouts) == 6
    edges = {patch.get_edgecolor()[:3] for patch in tile.patches}
    assert len(edges) == 3, "kept, filled and rejected"
    assert {text.get_text() for text in tile.texts} == {"TRAIL", "SAT"}
    assert all(not np.array_equal(*pair) for pair in _pairs(cutouts)), "what is filled differs"
    check(drawn.save_jpeg(page, tmp_path / "a.jpg", drawn.JPEG_QUALITY))


def _pairs(axes: list) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    images = [np.asarray(ax.images[0].get_array()) for ax in axes]
    return zip(images[::2], images[1::2], strict=True)


def test_the_figure_of_sources_labels_what_is_detected(tmp_path: Path) -> None:
    from elodin_spark.cutouts.layout import Layout

    drawn = module("draw_sources")
    rng = np.random.default_rng(2)
    corners = rng.integers((560, 580), (1060, 940), (20, 2))
    windows = np.concatenate([corners, corners + 30], axis=1).astype(np.int32)
    sources = [
        {"x": x + 15.0, "y": y + 15.0, "a": 4.0, "b": 2.0, "theta_deg": 20.0, "mag": 17 + 0.3 * i}
        for i, (x, y) in enumerate(corners.tolist())
    ]
    layout = Layout(windows, np.zeros(20, bool), sources=sources)
    page = drawn.draw(rng.integers(0, 99, (1100, 1200, 3), np.uint8), layout)
    field, *others = page.figure.axes
    assert len(others) == 5, "four cutouts and the histogram"
    bright = sum(source["mag"] < drawn.FAINTEST for source in sources)
    assert len(field.patches) == 2 * bright
    labels = [text.get_text() for text in field.texts]
    assert "17.0" in labels
    assert len(labels) <= drawn.LABELS
    check(module("draw_color").save_jpeg(page, tmp_path / "new" / "a.jpg", 40))


def test_the_figure_of_color_shows_every_window(tmp_path: Path) -> None:
    drawn = module("draw_color")
    page = drawn.draw(np.random.default_rng(1).integers(0, 60, (1000, 1900, 3), np.uint8))
    field, *cutouts = page.figure.axes
    assert len(field.patches) == 9 * 5 + len(drawn.SHOWN)
    assert [ax.images[0].get_array().shape for ax in cutouts] == [(224, 224, 3)] * 2
    check(drawn.save_jpeg(page, tmp_path / "a.jpg", 40))


def test_the_figure_of_neighbors_on_their_images(tmp_path: Path) -> None:
    from helpers.picturedcatalog import pictured_catalog

    catalog = pictured_catalog(tmp_path)
    query = f"{catalog.images.column('path')[0].as_py()}:40,40"
    file = module("draw_figures").draw_figures(catalog, tmp_path / "new", query)
    assert file.name == "on_image.png"
    check(file)


def test_a_folder_without_a_field_is_refused(tmp_path: Path, shared_data: Path) -> None:
    with pytest.raises(InputError):
        module("draw_color").color_field(tmp_path)
    name = "frame-r-003918-3-0213.fits.bz2"
    for copy in (name, name.replace("0213", "0214")):
        shutil.copy(shared_data / "sdss_field" / name, tmp_path / copy)
    with pytest.raises(InputError, match="holds 2 frames of band r"):
        module("draw_sources").find_sources(tmp_path)


def test_sources_of_the_real_field_lie_on_it(shared_data: Path) -> None:
    layout = module("draw_sources").find_sources(shared_data / "sdss_field")
    assert len(layout) > 300
    magnitudes = np.array([source["mag"] for source in layout.sources])
    assert 13 < np.nanmin(magnitudes) < np.nanmedian(magnitudes) < 22
