from __future__ import annotations

import io
import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from elodin_spark.display.groups import color_groups
from elodin_spark.display.map import choose_thumbnails, draw_map, map_figure
from elodin_spark.display.neighbors import Panel, grid_columns, neighbors_figure, sky_position, write_distance
from elodin_spark.display.sky import draw_all_sky, draw_sky, sky_figure
from elodin_spark.display.style import (
    OTHER,
    PALETTE,
    figure_bytes,
    printable,
    save_figure,
    shorten,
    text_width_in,
    wrap,
)
from elodin_spark.display.thumbnails import decode_thumbnail, square_thumbnail
from elodin_spark.display.view import View, project
from elodin_spark.errors import ConfigError, ImageError, InputError

FOOTER = "ResNet50, random weights (seed 0): not trained · recipe 1a2b3c4d"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ODD_NAMES = (
    "calexp-LSSTComCam-i-i_6718_9-tract5063-patch14-2024-11-14_with_a_very_long_name_indeed.fits.fz",
    "νεφέλωμα_é_$M_{31}$_星雲_Ω.fits",
    "_draft\t🔭\udcff.fits",
    "W" * 200,
)


def jpeg(color: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def empty_figure(side: float = 5.0) -> Figure:
    figure = Figure(figsize=(side, side), dpi=150)
    FigureCanvasAgg(figure)
    return figure


@pytest.fixture
def drawn_texts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure], list[tuple[str, Bbox]]]:
    """Render a figure for real and tell where each of its texts came to stand."""

    def render(figure: Figure) -> list[tuple[str, Bbox]]:
        seen: dict[int, Text] = {}
        draw = Text.draw

        def spy(self: Text, renderer: object, *args: object, **options: object) -> None:
            if self.get_visible() and self.get_text():
                seen[id(self)] = self
            draw(self, renderer, *args, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(Text, "draw", spy)
            figure.canvas.draw()
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        return [(text.get_text(), text.get_window_extent(renderer)) for text in seen.values()]

    return render


def overlap_px(one: Bbox, other: Bbox) -> float:
    """Smaller side of what two boxes share; 0 or less where they are apart."""
    return min(min(one.x1, other.x1) - max(one.x0, other.x0), min(one.y1, other.y1) - max(one.y0, other.y0))


def assert_readable(figure: Figure, texts: list[tuple[str, Bbox]]) -> None:
    page = figure.bbox
    for text, box in texts:
        assert box.x0 >= page.x0, f"{text!r} is clipped"
        assert box.x1 <= page.x1, f"{text!r} is clipped"
        assert box.y0 >= page.y0, f"{text!r} is clipped"
        assert box.y1 <= page.y1, f"{text!r} is clipped"
    for at, (text, box) in enumerate(texts):
        for other_text, other in texts[at + 1 :]:
            # A text's box reaches 1 px beyond its letters on each side.
            assert overlap_px(box, other) <= 2.0, f"{text!r} overlaps {other_text!r}"


# ---- text and files ----------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=120), st.floats(0.3, 3.0), st.sampled_from([7.0, 8.5]))
def test_a_shortened_text_fits_its_room_and_keeps_both_ends(text: str, room: float, size: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short = shorten(text, room, size)
        assert text_width_in(short, size) <= room
    whole = printable(text)
    if text_width_in(whole, size) <= room:
        assert short == whole
    else:
        head, _, tail = short.partition("…")
        assert whole.startswith(head)
        assert whole.endswith(tail)


def test_a_shortened_name_fills_its_room() -> None:
    name = ODD_NAMES[0]
    short = shorten(name, 1.8, 7.0)
    assert short.endswith(".fits.fz")
    assert short.startswith("calexp-LSST")
    assert text_width_in(short, 7.0) > 1.6


def test_wrapping_keeps_every_word_and_fits() -> None:
    text = "one two three four five six seven eight nine ten " * 3
    lines = wrap(text, 1.5, 8.5)
    assert " ".join(lines).split() == text.split()
    assert max(text_width_in(line, 8.5) for line in lines) <= 1.5
    assert len(lines) > 3
    assert wrap("", 1.5, 8.5) == []


def test_characters_without_a_letter_form_become_replacement_characters() -> None:
    assert printable("a\tb\n c") == "a b c"
    assert printable("Ω é M") == "Ω é M"
    assert printable("x\udcff\U0010ffff") == "x\ufffd\ufffd"


def test_the_most_frequent_groups_have_the_colours_and_the_rest_is_grey() -> None:
    names: list[str | None] = [name for number, name in enumerate("abcdefghij") for _ in range(20 - number)]
    groups = color_groups([*names, None], len(names) + 1)
    assert [name for name, _ in groups.legend] == [*"abcdefg", "3 more groups", "none"]
    assert [color for _, color in groups.legend] == [*PALETTE, OTHER, OTHER]
    assert groups.colors[0] == PALETTE[0]
    assert groups.colors[-2:] == (OTHER, OTHER)
    assert color_groups(["b", "a"], 2).colors == (PALETTE[1], PALETTE[0])
    assert color_groups(None, 2).legend == ()


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_figure_is_written_whole_and_the_same_each_time(tmp_path: Path, kind: str) -> None:
    def make() -> Figure:
        return sky_figure([10.0, 11.0], [1.0, 2.0], groups=["a", "b"], subtitle=FOOTER)

    path = save_figure(make(), tmp_path / "new" / "folder" / f"sky.{kind}")
    again = save_figure(make(), tmp_path / f"again.{kind.upper()}")
    assert path.read_bytes() == again.read_bytes()
    assert path.stat().st_size > 5000
    assert sorted(p.name for p in path.parent.iterdir()) == [f"sky.{kind}"]
    for word in (b"Date", b"matplotlib.org"):
        assert kind != "png" or word not in path.read_bytes()


def test_writing_again_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    path.write_bytes(b"old")
    save_figure(map_figure(np.empty((0, 2)), [], method="tsne"), path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["map.bmp", "map", "map.png.gz"])
def test_an_unknown_extension_is_an_error_that_names_the_known_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.pdf, \.svg"):
        save_figure(empty_figure(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="png, pdf, svg"):
        figure_bytes(empty_figure(), "gif")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match="cannot be written there"):
        save_figure(empty_figure(), tmp_path / "file" / "map.png")


def test_importing_the_room_loads_no_matplotlib() -> None:
    code = (
        "import sys, elodin_spark.display.map, elodin_spark.display.neighbors, elodin_spark.display.sky;"
        "sys.exit(any(name.split('.')[0] in ('matplotlib', 'PIL', 'astropy') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_whole_figures_need_no_pyplot() -> None:
    code = (
        "import sys\n"
        "from elodin_spark.display.map import map_figure\n"
        "from elodin_spark.display.style import figure_bytes\n"
        "figure_bytes(map_figure([[0, 0], [1, 1]], [None, None], method='umap'))\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- thumbnails --------------------------------------------------------------------------


def test_a_thumbnail_decodes_to_rgb_rows_from_the_top() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:10] = (250, 20, 20)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
    decoded = decode_thumbnail(buffer.getvalue())
    assert decoded.shape == (20, 30, 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - picture).max() < 40


def test_a_grey_thumbnail_has_three_equal_channels() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(buffer, "JPEG")
    decoded = decode_thumbnail(buffer.getvalue())
    assert decoded.shape == (8, 8, 3)
    assert (decoded[..., 0] == decoded[..., 2]).all()


@pytest.mark.parametrize("data", [b"", b"not a picture", jpeg(size=(64, 64))[:350]])
def test_bytes_that_are_no_picture_are_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode_thumbnail(data)


def test_an_oblong_thumbnail_keeps_its_shape_in_the_square() -> None:
    square = square_thumbnail(jpeg((255, 0, 0), size=(40, 10)), 80, background=(0, 0, 255))
    assert square.shape == (80, 80, 3)
    red = square[..., 0] > 128
    assert red[30:50].all()
    assert red.sum() == 80 * 20


# ---- map ---------------------------------------------------------------------------------


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
    labelled, _ = ndimage.label(np.asarray(images[0].get_array())[..., 3] > 0)
    return ndimage.find_objects(labelled)


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
    for place, color in zip(figure.axes[0].transData.transform(xy), colors, strict=True):
        shown = pixels[round(pixels.shape[0] - place[1]), round(place[0]), :3]
        assert np.abs(shown.astype(int) - color).max() < 12


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


def test_the_legend_of_the_map_says_the_groups_word_for_word(
    drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]],
) -> None:
    labels = ["_under", "$x^2$", *ODD_NAMES, None, "spiral", "elliptical", "irregular"]
    xy = np.random.default_rng(7).random((len(labels), 2))
    figure = map_figure(xy, [jpeg()] * len(labels), method="tsne", labels=labels, subtitle=FOOTER)
    texts = drawn_texts(figure)
    assert_readable(figure, texts)
    words = [text for text, _ in texts]
    assert "$x^2$" in words
    assert "_under" in words
    assert FOOTER in words


# ---- neighbors ---------------------------------------------------------------------------


def panel(number: int, odd: bool = False, **values: object) -> Panel:
    fields: dict[str, object] = {
        "cutout_id": 2**63 - 1 - number,
        "image": ODD_NAMES[number % len(ODD_NAMES)] if odd else f"image_{number}.fits",
        "x0": 30000 + number,
        "y0": 0,
        "x1": 30224 + number,
        "y1": 224,
        "ra": None if number % 3 == 0 else 10.0 * number % 360,
        "dec": -1.5 * number,
        "thumbnail": None if odd and number % 4 == 2 else jpeg((number * 5 % 256, 90, 120)),
        "labels": ("black-footed ferret, ferret, Mustela nigripes 0.08", "unit 7", "$y$", "fourth"),
    }
    return Panel(**{**fields, **values})  # type: ignore[arg-type]


def neighbor_panels(count: int, odd: bool = False) -> list[Panel]:
    return [panel(n, odd, rank=n, distance=1234.5 * n) for n in range(1, count + 1)]


@pytest.mark.parametrize(
    ("count", "odd"),
    [(0, True), (1, False), (1, True), (2, True), (3, True), (9, False), (9, True), (50, True)],
)
def test_nothing_is_clipped_or_overlapping_among_the_neighbors(
    drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]], count: int, odd: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = neighbors_figure(
            panel(0, odd), neighbor_panels(count, odd), metric="jaccard", subtitle=FOOTER * (5 if odd else 1)
        )
        texts = drawn_texts(figure)
    assert_readable(figure, texts)
    pictures = [ax.get_window_extent() for ax in figure.axes if ax.get_label() in ("query", "neighbor")]
    assert len(pictures) == count + 1
    for at, picture in enumerate(pictures):
        assert figure.bbox.x1 >= picture.x1
        assert figure.bbox.y0 <= picture.y0
        assert all(overlap_px(picture, other) <= 0 for other in pictures[at + 1 :])
        for text, box in texts:
            assert overlap_px(picture, box) <= 0 or text == "no picture kept"


def test_each_picture_says_what_it_is(drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]]) -> None:
    neighbor = panel(1, rank=1, distance=12.3412, ra=150.514167, dec=2.209444, labels=("a", "b", "c", "d"))
    texts = [
        text for text, _ in drawn_texts(neighbors_figure(panel(0), [neighbor], metric="l2", subtitle=FOOTER))
    ]
    for line in (
        "1 · L2 distance 12.34",
        "image_1.fits",
        "x 30001:30225, y 0:224 px",
        "10h02m03.4s +02°12′34″",
        "no sky position",
        "a",
        "c",
        f"ID {2**63 - 2}",
        "Query",
        FOOTER,
    ):
        assert line in texts
    assert "d" not in texts


def test_the_query_is_larger_and_framed_in_another_colour() -> None:
    figure = neighbors_figure(panel(0), neighbor_panels(9), metric="l2")
    query, *others = [ax for ax in figure.axes if ax.get_label() in ("query", "neighbor")]
    assert query.get_window_extent().width > 1.2 * others[0].get_window_extent().width
    frames = {ax.spines["left"].get_edgecolor() for ax in others}
    assert len(frames) == 1
    assert query.spines["left"].get_edgecolor() not in frames


def test_neighbors_read_row_by_row() -> None:
    figure = neighbors_figure(panel(0), neighbor_panels(9), metric="l2")
    boxes = [ax.get_window_extent() for ax in figure.axes if ax.get_label() == "neighbor"]
    order = sorted(range(9), key=lambda at: (-round(boxes[at].y1), boxes[at].x0))
    assert order == list(range(9))


@pytest.mark.parametrize("count", range(1, 51))
def test_the_grid_holds_all_neighbors_with_less_than_a_row_to_spare(count: int) -> None:
    columns = grid_columns(count)
    assert 1 <= columns <= count
    assert columns <= 12
    assert -(-count // columns) <= 6


def test_distances_name_their_metric() -> None:
    assert write_distance(12.3412, "l2") == "L2 distance 12.34"
    assert write_distance(0.0, "l2") == "L2 distance 0"
    assert write_distance(0.41176, "jaccard") == "Jaccard distance 0.412"


@settings(deadline=None, max_examples=200)
@given(st.floats(-400, 800), st.floats(-90, 90))
def test_a_written_position_reads_back_as_the_same_place(ra: float, dec: float) -> None:
    from astropy.coordinates import Angle

    text = sky_position(ra, dec)
    assert "60" not in (text[3:5], text[6:8], text[-6:-4], text[-3:-1])
    longitude, latitude = text.replace("−", "-").replace("′", "m").replace("″", "s").replace("°", "d").split()
    off = (Angle(longitude).deg - ra + 180) % 360 - 180
    assert abs(off) * 3600 <= 0.75 + 1e-6  # 0.05 s of time
    assert abs(Angle(latitude).deg - dec) * 3600 <= 0.5 + 1e-6
    assert 0 <= Angle(longitude).deg < 360


@pytest.mark.parametrize(("ra", "dec"), [(None, 1.0), (1.0, None), (math.nan, 1.0), (1.0, math.inf)])
def test_a_missing_position_is_said_to_be_missing(ra: float | None, dec: float | None) -> None:
    assert sky_position(ra, dec) == "no sky position"


def test_a_position_just_below_a_full_turn_rounds_to_zero() -> None:
    assert sky_position(359.99999, -0.00001) == "00h00m00.0s +00°00′00″"


# ---- sky ---------------------------------------------------------------------------------


def sky_case(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    around = rng.uniform(0, 360, 200)
    return {
        "one degree across RA 0": (359.6 + rng.random(200), -5 + rng.random(200)),
        "all sky": (around, np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))),
        "north pole": (around, 90 - np.abs(rng.normal(size=200))),
        "south pole": (around, -90 + np.abs(rng.normal(size=200))),
        "high and wide": (180 + 40 * rng.random(200), 55 + 15 * rng.random(200)),
        "two fields": (np.repeat([10.0, 200.0], 100) + rng.random(200) * 0.1, np.repeat([60.0, -20.0], 100)),
        "one place": (np.full(3, 150.1), np.full(3, 2.2)),
        "the pole itself": (np.zeros(1), np.full(1, 90.0)),
        "a strip round the equator": (around, rng.normal(size=200)),
    }[name]


SKY_CASES = (
    "one degree across RA 0",
    "all sky",
    "north pole",
    "south pole",
    "high and wide",
    "two fields",
    "one place",
    "the pole itself",
    "a strip round the equator",
)


@pytest.mark.parametrize("name", SKY_CASES)
def test_every_kind_of_survey_reads_well(
    drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]], name: str
) -> None:
    ra, dec = sky_case(name)
    groups = [ODD_NAMES[row % 4] if row % 5 else f"image_{row % 12}.fits" for row in range(len(ra))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = sky_figure(ra, dec, groups=groups, subtitle=FOOTER, highlight=[0])
        texts = drawn_texts(figure)
    assert_readable(figure, texts)
    ax = figure.axes[0]
    low, high = ax.get_xlim()
    assert low > high, "right ascension must grow to the left"
    assert sum(word.isascii() and word[0].isdigit() for word, _ in texts) >= 3, "too few ticks"
    offsets = np.asarray(ax.collections[0].get_offsets())
    assert len(offsets)
    assert ((offsets[:, 0] < low) & (offsets[:, 0] > high)).all(), "points lie outside the view"


@pytest.mark.parametrize("name", ["one degree across RA 0", "north pole", "south pole", "high and wide"])
def test_a_small_survey_is_shown_whole(name: str) -> None:
    ra, dec = sky_case(name)
    ax = draw_sky(empty_figure().add_subplot(), ra, dec)
    assert len(ax.collections[0].get_offsets()) == len(ra)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["one degree across RA 0", "north pole", "high and wide", "two fields"])
def test_the_close_view_has_equal_scales_on_the_sky(name: str) -> None:
    from astropy.coordinates import SkyCoord

    ra, dec = sky_case(name)
    figure = empty_figure()
    ax = draw_sky(figure.add_subplot(), ra, dec, highlight=[0])
    figure.canvas.draw()
    shown = np.asarray(ax.collections[0].get_offsets())
    pixels = ax.transData.transform(shown)
    centre = pixels.mean(axis=0)
    near = np.argsort(np.hypot(*(pixels - centre).T))[:8]
    # Which positions these are: the rows in view keep their order.
    rows = np.arange(len(ra)) if len(shown) == len(ra) else np.arange(len(shown))
    sky = SkyCoord(ra[rows], dec[rows], unit="deg")
    scales = [
        np.hypot(*(pixels[i] - pixels[j])) / sky[i].separation(sky[j]).deg
        for i in near
        for j in near
        if i < j
    ]
    assert max(scales) / min(scales) < 1.12


def test_right_ascension_ticks_pass_through_zero(
    drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]],
) -> None:
    figure = sky_figure([359.5, 0.5], [0.0, 0.2])
    boxes = dict(drawn_texts(figure))
    assert boxes["0.4"].x0 < boxes["359.6"].x0
    assert not any(text.startswith("36") for text in boxes)


@settings(deadline=None, max_examples=100)
@given(st.floats(0, 359.9), st.floats(-90, 90), st.floats(0, 359.9), st.floats(-90, 90))
def test_offsets_are_separation_along_the_position_angle(
    ra0: float, dec0: float, ra: float, dec: float
) -> None:
    from astropy.coordinates import SkyCoord

    centre, place = SkyCoord(ra0, dec0, unit="deg"), SkyCoord(ra, dec, unit="deg")
    separation = centre.separation(place).deg
    view = View(ra0, dec0, 1.0, True, np.arange(1))
    (x,), (y,) = project(view, np.array([ra]), np.array([dec]))
    assert math.hypot(x, y) == pytest.approx(separation, abs=1e-5)
    if 0.01 < separation < 179 and abs(dec0) < 89.99:
        angle = centre.position_angle(place).rad
        assert x == pytest.approx(separation * math.sin(angle), abs=1e-4)
        assert y == pytest.approx(separation * math.cos(angle), abs=1e-4)


def test_the_all_sky_map_grows_to_the_left() -> None:
    figure = empty_figure()
    ax = draw_all_sky(figure.add_subplot(projection="aitoff"), [0.0, 30.0, 330.0], [0.0, 0.0, 45.0])
    figure.canvas.draw()
    middle, east, west = ax.transData.transform(ax.collections[0].get_offsets())
    assert east[0] < middle[0] < west[0]
    assert west[1] > middle[1]
    with pytest.raises(InputError, match="aitoff"):
        draw_all_sky(empty_figure().add_subplot(), [0.0], [0.0])


def test_missing_positions_are_left_out_and_counted(
    drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]],
) -> None:
    figure = sky_figure([10.0, None, 11.0, math.nan, 12.0], [1.0, 2.0, None, 0.0, 2.0], subtitle=FOOTER)
    assert "3 without a sky position left out" in [text for text, _ in drawn_texts(figure)]
    assert len(figure.axes[0].collections[0].get_offsets()) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 7])
def test_without_any_position_the_figure_says_so(
    drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]], count: int
) -> None:
    figure = sky_figure([None] * count, [None] * count, subtitle=FOOTER, groups=["a"] * count)
    texts = drawn_texts(figure)
    assert_readable(figure, texts)
    assert any(text.startswith("No ") for text, _ in texts)
    ax = draw_sky(empty_figure().add_subplot(), [None] * count, [None] * count)
    assert ax.texts[0].get_text() == "no sky positions"


def test_the_close_view_of_separate_fields_goes_to_the_fullest() -> None:
    rng = np.random.default_rng(11)
    ra = np.concatenate([10 + rng.random(20), 200 + rng.random(30), 300 + rng.random(29)])
    ax = draw_sky(empty_figure().add_subplot(), ra, rng.random(79))
    assert 199 < np.mean(ax.get_xlim()) < 202
    assert len(ax.collections[0].get_offsets()) == 30  # type: ignore[arg-type]


def test_the_close_view_goes_to_what_is_highlighted() -> None:
    ra, dec = sky_case("two fields")
    ax = draw_sky(empty_figure().add_subplot(), ra, dec, highlight=[150, 160])
    assert 199 < np.mean(ax.get_xlim()) < 201
    assert len(ax.collections[1].get_offsets()) == 2  # type: ignore[arg-type]


def test_wrong_positions_are_errors() -> None:
    with pytest.raises(InputError, match="2 right ascensions for 1"):
        sky_figure([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="row 1 is not within -90 to 90"):
        sky_figure([1.0, 2.0], [1.0, 91.0])
    with pytest.raises(InputError, match="1 groups for 2"):
        sky_figure([1.0, 2.0], [1.0, 2.0], groups=["a"])
    with pytest.raises(InputError, match="highlighted row 2"):
        sky_figure([1.0, 2.0], [1.0, 2.0], highlight=[2])


# ---- all together ------------------------------------------------------------------------


def test_the_same_input_gives_the_same_picture() -> None:
    xy = np.random.default_rng(9).random((60, 2))
    pictures = [jpeg((n, 255 - n, 90)) if n % 3 else None for n in range(60)]
    labels = [f"group {n % 9}" for n in range(60)]
    ra, dec = sky_case("two fields")
    for make in (
        lambda: map_figure(xy, pictures, method="tsne", labels=labels, subtitle=FOOTER),
        lambda: neighbors_figure(panel(0), neighbor_panels(4), metric="l2", subtitle=FOOTER),
        lambda: sky_figure(ra, dec, groups=labels * 3 + labels[:20], subtitle=FOOTER),
    ):
        assert figure_bytes(make()) == figure_bytes(make())


@pytest.mark.skipif(not (DATA / "efigi").is_dir(), reason="needs the galaxy JPEGs of ../shared/data/efigi")
def test_real_galaxies_are_drawn(drawn_texts: Callable[[Figure], list[tuple[str, Bbox]]]) -> None:
    files = sorted((DATA / "efigi").glob("*.jpg"))[:300]
    thumbnails = [file.read_bytes() for file in files]
    xy = np.random.default_rng(10).normal(size=(len(files), 2))
    figure = map_figure(xy, thumbnails, method="umap", subtitle=FOOTER)
    assert_readable(figure, drawn_texts(figure))
    assert 50 < len(choose_thumbnails(xy, np.ones(len(files), bool), cells=25)) <= 300
    panels = [panel(n, image=files[n].name, thumbnail=thumbnails[n], rank=n) for n in range(10)]
    figure = neighbors_figure(panels[0], panels[1:], metric="l2", subtitle=FOOTER)
    assert_readable(figure, drawn_texts(figure))
    shown = next(ax for ax in figure.axes if ax.get_label() == "query").images[0].get_array()
    assert np.array_equal(np.asarray(shown), decode_thumbnail(thumbnails[0]))
