"""The map of cutouts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.figures import FOOTER, ODD_NAMES, assert_readable, drawn_texts, empty_figure, jpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from elodin_spark.display.map import choose_thumbnails, draw_map, drawn_in, map_figure
from elodin_spark.display.style import figure_bytes
from elodin_spark.errors import ImageError, InputError


def slow_choice(xy: np.ndarray, available: np.ndarray, cells: int) -> list[int]:
    """All pairs, no hashing: the definition read aloud."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    half = (high - low).max() / 2 or 0.5
    unit = (xy - ((low + high) / 2 - half)) / (2 * half) * cells
    candidates = []
    for row in np.flatnonzero(available):
        cell = tuple(min(cells - 1, max(0, math.floor(value))) for value in unit[row])
        off = (unit[row][0] - cell[0] - 0.5) ** 2 + (unit[row][1] - cell[1] - 0.5) ** 2
        candidates.append((off, int(row), cell))
    tried: dict[tuple[int, ...], int] = {}
    taken: list[tuple[int, tuple[int, ...]]] = []
    for _, row, cell in sorted(candidates):
        tried[cell] = tried.get(cell, 0) + 1
        if tried[cell] > 32 or any(cell == other for _, other in taken):
            continue
        if all(np.abs(unit[row] - unit[other]).max() >= 0.85 for other, _ in taken):
            taken.append((row, cell))
    return sorted(row for row, _ in taken)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.integers(1, 12), st.integers(0, 2**31), st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_choice_of_pictures_agrees_with_trying_all_pairs(
    n: int, cells: int, seed: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    xy = np.round(rng.normal(size=(n, 2)), 2) * scale  # rounded: ties and equal points occur
    available = rng.random(n) < 0.8
    assert choose_thumbnails(xy, available, cells=cells).tolist() == slow_choice(xy, available, cells)


def test_pictures_spread_over_the_whole_map() -> None:
    xy = np.random.default_rng(1).random((5000, 2))
    chosen = xy[choose_thumbnails(xy, np.ones(5000, bool), cells=15)]
    counts, _, _ = np.histogram2d(*chosen.T, bins=3, range=[[0, 1], [0, 1]])
    assert counts.min() >= 0.5 * counts.max()
    assert len(chosen) > 0.6 * 15**2


def canvas_pictures(figure: Figure) -> list[tuple[slice, slice]]:
    """Boxes of the pictures pasted on the map."""
    from scipy import ndimage

    images = figure.axes[0].images
    if not images:
        return []
    labeled, _ = ndimage.label(np.asarray(images[0].get_array())[..., 3] > 0)
    return ndimage.find_objects(labeled)


@pytest.mark.parametrize(("n", "limit"), [(10, 300), (400, 50), (400, 7), (400, 1), (400, 0)])
def test_no_more_pictures_are_drawn_than_allowed(n: int, limit: int) -> None:
    xy = np.random.default_rng(2).random((n, 2))
    figure = map_figure(xy, [jpeg()] * n, method="tsne", max_thumbnails=limit)
    pictures = canvas_pictures(figure)
    assert len(pictures) <= limit
    assert len(pictures) >= min(n, limit) * 0.5
    sides = {edge.stop - edge.start for box in pictures for edge in box}
    assert len(sides) <= 1, "pictures cover one another or leave the map"


def test_a_picture_stands_on_its_point() -> None:
    rng = np.random.default_rng(3)
    xy = np.array([[0.0, 0.0], [10.0, 1.0], [4.0, 6.0], [9.0, 7.0]])
    colors = rng.integers(0, 255, (4, 3))
    figure = map_figure(xy, [jpeg(tuple(color)) for color in colors.tolist()], method="umap")
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    side = max(edge.stop - edge.start for edge in canvas_pictures(figure)[0])
    ax = figure.axes[0]
    side *= ax.get_window_extent().width / np.shape(ax.images[0].get_array())[1]
    for place, color in zip(ax.transData.transform(xy), colors, strict=True):
        row, column = round(pixels.shape[0] - place[1]), round(place[0])
        shown = pixels[round(row - side / 2), column, :3]
        assert np.abs(shown.astype(int) - color).max() < 12
        assert pixels[row, column, :3] == pytest.approx([0, 0x72, 0xB2], abs=12), "its point is hidden"


def blob(n: int, seed: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2))


@pytest.mark.parametrize("far", [[40.0, 0.5], [-1e6, -3e5], [0.0, 9.0]])
def test_a_point_far_from_all_others_does_not_empty_the_map(far: list[float]) -> None:
    xy = np.concatenate([blob(300), [far]])
    figure = map_figure(xy, [None] * 301, method="tsne")
    ax = figure.axes[0]
    inside = ax.transData.transform(xy[:300])
    box = ax.get_window_extent()
    spread = np.ptp(inside, axis=0) / [box.width, box.height]
    assert spread.min() > 0.75, "empty white"
    dots, marks = (np.asarray(found.get_offsets()) for found in ax.collections)
    assert len(dots) == 301
    assert len(marks) == 1
    (low, high), (left, right) = ax.get_ylim(), ax.get_xlim()
    assert left < marks[0, 0] < right
    assert low < marks[0, 1] < high
    assert any("1 that lies far from all others" in text for text, _ in drawn_texts(figure))


@pytest.mark.parametrize(
    "xy",
    [
        blob(300),
        blob(9) * [1, 0],
        np.concatenate([blob(200), blob(100) + 30]),
        np.zeros((40, 2)),
        blob(2000, 3),
    ],
    ids=["one blob", "a line of nine", "two blobs", "one place", "long tails"],
)
def test_all_points_are_shown_where_none_is_far_from_the_others(xy: np.ndarray) -> None:
    places, far = drawn_in(xy)
    assert not far.any()
    assert (places == xy).all()


@pytest.mark.parametrize("size_px", [20, 60, 200])
def test_pictures_have_the_size_asked_for(size_px: int) -> None:
    xy = np.random.default_rng(4).random((200, 2)) * [1.0, 0.6]
    figure = map_figure(xy, [jpeg()] * 200, method="tsne", size_px=size_px)
    box = canvas_pictures(figure)[0]
    figure.canvas.draw()
    scale = figure.axes[0].get_window_extent().width / figure.axes[0].images[0].get_array().shape[1]  # type: ignore[union-attr]
    assert (box[1].stop - box[1].start) * scale == pytest.approx(size_px, rel=0.08)


def test_cutouts_without_a_thumbnail_are_points_only() -> None:
    figure = map_figure(np.random.default_rng(5).random((30, 2)), [None] * 30, method="tsne")
    assert len(figure.axes[0].images) == 0
    assert len(figure.axes[0].collections[0].get_offsets()) == 30  # type: ignore[arg-type]
    figure = map_figure([[0, 0], [1, 1]], [None, jpeg()], method="tsne")
    assert len(canvas_pictures(figure)) == 1


def test_the_map_has_equal_scales_no_ticks_and_named_axes() -> None:
    ax = empty_figure().add_subplot()
    assert draw_map(ax, np.random.default_rng(6).random((9, 2)), [None] * 9, method="umap", title="T") is ax
    assert ax.get_aspect() == 1.0
    assert list(ax.get_xticks()) == []
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("UMAP 1", "UMAP 2")


@pytest.mark.parametrize("n", [0, 1, 2])
def test_maps_of_hardly_any_cutouts_are_drawn(n: int) -> None:
    figure = map_figure(np.zeros((n, 2)), [jpeg()] * n, method="tsne", subtitle=FOOTER)
    assert figure_bytes(figure).startswith(b"\x89PNG")
    assert len(canvas_pictures(figure)) == min(n, 1)


def test_doubtful_points_are_open_circles_without_pictures_and_are_counted() -> None:
    xy = blob(60)
    marks = np.arange(60) < 12
    figure = map_figure(
        xy, [jpeg()] * 60, method="tsne", doubtful=marks,
        quality={"trustworthiness": 0.9312, "neighbors_kept": 0.408},
    )  # fmt: skip
    dots, circles, pictured = figure.axes[0].collections
    assert np.asarray(dots.get_offsets()).tolist() == xy[~marks].tolist()
    assert np.asarray(circles.get_offsets()).tolist() == xy[marks].tolist()
    assert len(circles.get_facecolors()) == 0  # type: ignore[attr-defined]
    assert len(circles.get_edgecolors()) > 0  # type: ignore[attr-defined]
    offsets = np.asarray(pictured.get_offsets())
    assert len(offsets) > 5
    assert not (offsets[:, np.newaxis] == xy[marks]).all(axis=2).any()
    words = " ".join(text for text, _ in drawn_texts(figure))
    assert "12 whose neighbors on the map are not theirs: open circles." in words
    assert "Trustworthiness 0.931; 41% of the 10 nearest" in words
    with pytest.raises(InputError, match="59,"):
        map_figure(xy, [None] * 60, method="tsne", doubtful=marks[1:])


def test_a_map_of_some_of_many_cutouts_says_so() -> None:
    figure = map_figure(blob(30), [None] * 30, method="pca", total=1_000_000, note="More of it.")
    words = " ".join(text for text, _ in drawn_texts(figure))
    assert "PCA map of 1,000,000 cutouts" in words
    assert "30 of them are drawn." in words
    assert "Distances across the map mean little" not in words
    assert "More of it." in words


def test_wrong_places_or_lengths_are_errors() -> None:
    with pytest.raises(InputError, match=r"shape \(n, 2\)"):
        map_figure(np.zeros((4, 3)), [None] * 4, method="tsne")
    with pytest.raises(InputError, match="place 1"):
        map_figure([[0, 0], [math.nan, 1]], [None] * 2, method="tsne")
    with pytest.raises(InputError, match="1 thumbnails for 2 places"):
        map_figure([[0, 0], [1, 1]], [None], method="tsne")
    with pytest.raises(InputError, match="3 labels for 2 places"):
        map_figure([[0, 0], [1, 1]], [None] * 2, method="tsne", labels=["a"] * 3)
    with pytest.raises(InputError, match="max_thumbnails"):
        map_figure([[0, 0], [1, 1]], [None] * 2, method="tsne", max_thumbnails=-1)
    with pytest.raises(ImageError):
        map_figure([[0, 0], [1, 1]], [b"broken", None], method="tsne")


def test_the_legend_of_the_map_says_the_groups_word_for_word() -> None:
    labels = ["_under", "$x^2$", *ODD_NAMES, None, "spiral", "elliptical", "irregular"]
    xy = np.random.default_rng(7).random((len(labels), 2))
    figure = map_figure(xy, [jpeg()] * len(labels), method="tsne", labels=labels, subtitle=FOOTER)
    texts = drawn_texts(figure)
    assert_readable(figure, texts)
    words = [text for text, _ in texts]
    assert "$x^2$" in words
    assert "_under" in words
    assert FOOTER in words
