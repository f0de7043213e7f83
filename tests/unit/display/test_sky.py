"""Positions on the sky."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from helpers.figures import FOOTER, ODD_NAMES, assert_readable, drawn_texts, empty_figure, sky_case
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.display.sky import draw_all_sky, draw_sky, sky_figure
from elodin_spark.display.view import View, project
from elodin_spark.errors import InputError

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
def test_every_kind_of_survey_reads_well(name: str) -> None:
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
    center = pixels.mean(axis=0)
    near = np.argsort(np.hypot(*(pixels - center).T))[:8]
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


def test_right_ascension_ticks_pass_through_zero() -> None:
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

    center, place = SkyCoord(ra0, dec0, unit="deg"), SkyCoord(ra, dec, unit="deg")
    separation = center.separation(place).deg
    view = View(ra0, dec0, 1.0, True, np.arange(1))
    (x,), (y,) = project(view, np.array([ra]), np.array([dec]))
    assert math.hypot(x, y) == pytest.approx(separation, abs=1e-5)
    if 0.01 < separation < 179 and abs(dec0) < 89.99:
        angle = center.position_angle(place).rad
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


def test_missing_positions_are_left_out_and_counted() -> None:
    figure = sky_figure([10.0, None, 11.0, math.nan, 12.0], [1.0, 2.0, None, 0.0, 2.0], subtitle=FOOTER)
    assert "3 without a sky position left out" in [text for text, _ in drawn_texts(figure)]
    assert len(figure.axes[0].collections[0].get_offsets()) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 7])
def test_without_any_position_the_figure_says_so(count: int) -> None:
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


def test_the_legend_names_the_colors_that_are_drawn_where_positions_are_missing() -> None:
    from matplotlib.colors import to_hex

    # The most frequent group has no position: its color is not taken.
    ra = [None] * 9 + [10.0, 10.1, 10.2, 11.0]
    groups = ["lost"] * 9 + ["a", "a", "a", "b"]
    figure = sky_figure(ra, [0.0] * 13, groups=groups)
    legend = figure.axes[1].get_legend()
    named = {
        text.get_text(): to_hex(handle.get_color())
        for text, handle in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    for ax in figure.axes:
        colors = [to_hex(color[:3]) for color in ax.collections[0].get_facecolors()]
        assert colors == [named["a"]] * 3 + [named["b"]]
