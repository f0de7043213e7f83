"""Texts, files and thumbnails of figures."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.figures import FOOTER, ODD_NAMES, empty_figure, jpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from elodin_spark.display.groups import color_groups
from elodin_spark.display.map import map_figure
from elodin_spark.display.sky import sky_figure
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
from elodin_spark.errors import ConfigError, ImageError

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


def test_the_most_frequent_groups_have_the_colors_and_the_rest_is_gray() -> None:
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


def test_letters_stay_letters_in_pdf() -> None:
    from elodin_spark.display.style import figure_bytes, new_page

    written = figure_bytes(new_page(2.0, 1.0, title="A title").figure, "pdf")
    assert b"/Type3" not in written, "which journals refuse"
    assert b"/FontFile2" in written, "embedded"


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


def test_a_gray_thumbnail_has_three_equal_channels() -> None:
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
