"""Failures by kind and quality by image; timings by stage."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.figures import FOOTER, ODD_NAMES, assert_readable, drawn_texts, empty_figure

from elodin_spark.display import (
    ImageQuality,
    draw_failures,
    draw_quality,
    draw_rates,
    draw_timings,
    quality_figure,
    style,
    timings_figure,
)
from elodin_spark.display.quality import worst_images
from elodin_spark.display.timings import duration_text
from elodin_spark.errors import InputError


def images(count: int, seed: int = 0) -> list[ImageQuality]:
    rng = np.random.default_rng(seed)
    return [
        ImageQuality(
            ODD_NAMES[at % 4] if at % 5 == 0 else f"tile_{at:03d}.fits",
            100,
            int(rng.integers(0, 30)),
            {"sky_sigma": tuple(sorted(rng.random(3).tolist())), "nodata_fraction": (0.0, 0.0, 0.01 * at)},
        )
        for at in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 12, 60])
@pytest.mark.parametrize("kinds", [0, 1, 20])
def test_nothing_is_clipped_or_overlapping_on_a_page_of_quality(count: int, kinds: int) -> None:
    refused = {f"{'a_long_kind_of_failure' * (1 + at % 3)}_{at}": at + 1 for at in range(kinds)}
    figure = quality_figure(images(count), failures=refused, rejected=refused, subtitle=FOOTER)
    assert_readable(figure, drawn_texts(figure))


def test_failures_are_counted_the_most_frequent_first_and_the_rarest_together() -> None:
    kinds = {f"kind {at:02d}": at + 1 for at in range(20)}
    ax = draw_failures(empty_figure().add_axes((0.4, 0.1, 0.5, 0.8)), kinds)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names[:2] == ["kind 19", "kind 18"]
    assert names[-1] == "9 more kinds"
    widths = [patch.get_width() for patch in ax.patches]
    assert widths[:2] == [20, 19]
    assert widths[-1] == sum(range(1, 10))
    assert sum(widths) == sum(kinds.values())
    assert [text.get_text() for text in ax.texts][-1] == "45"


def test_rejected_cutouts_are_set_on_those_that_were_kept() -> None:
    from matplotlib.colors import to_rgba

    ax = draw_quality(empty_figure().add_subplot(), [ImageQuality("a", 100, 30), ImageQuality("b", 50)])
    kept, out = ax.patches[:2], ax.patches[2:]
    assert [(patch.get_x(), patch.get_width()) for patch in kept] == [(0, 70), (0, 50)]
    assert [(patch.get_x(), patch.get_width()) for patch in out] == [(70, 30), (50, 0)]
    assert [text.get_text() for text in ax.texts] == ["100, 30 rejected", "50"]
    assert out[0].get_facecolor() == to_rgba(style.ACCENT)


def test_a_measure_is_its_median_and_its_spread_and_what_is_not_known_says_so() -> None:
    shown = [ImageQuality("a", 9, 0, {"sky_sigma": (1.0, 2.0, 4.0)}), ImageQuality("b", 9)]
    ax = draw_quality(empty_figure().add_subplot(), shown, "sky_sigma")
    assert ax.get_lines()[0].get_xdata()[0] == 2.0
    (segment, *_) = ax.collections[0].get_segments()
    assert segment[:, 0].tolist() == [1.0, 4.0]
    assert [text.get_text() for text in ax.texts] == ["not known"]
    assert ax.get_xscale() == "linear"


def test_a_measure_over_decades_has_a_scale_of_decades() -> None:
    shown = [ImageQuality(str(at), 9, 0, {"sky_sigma": (10.0**at,) * 3}) for at in range(4)]
    assert draw_quality(empty_figure().add_subplot(), shown, "sky_sigma").get_xscale() == "log"
    shown.append(ImageQuality("blank", 9, 0, {"sky_sigma": (0.0, 0.0, 0.0)}))
    ax = draw_quality(empty_figure().add_subplot(), shown, "sky_sigma")
    assert ax.get_xscale() == "symlog"
    assert ax.get_xlim()[0] == 0.0


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(InputError, match="no measure 'seeing'"):
        draw_quality(empty_figure().add_subplot(), [], "seeing")  # type: ignore[arg-type]


def test_of_many_images_the_worst_are_shown_in_their_order() -> None:
    many = [ImageQuality(str(at), 10, at % 7, {"nodata_fraction": (0, at / 100, 1)}) for at in range(50)]
    shown = worst_images(many, 8)
    assert [image.name for image in shown] == ["6", "13", "20", "27", "34", "41", "47", "48"]
    assert worst_images(many[:8], 8) == many[:8]
    texts = [
        text
        for text, _ in drawn_texts(quality_figure(many, failures={}, rejected={"edge": 9}, subtitle=FOOTER))
    ]
    assert any(text.startswith("The 40 images of which most is rejected") for text in texts)
    assert "none" in texts


def test_stages_are_drawn_in_the_order_given_with_their_shares() -> None:
    ax = draw_timings(
        empty_figure().add_axes((0.4, 0.1, 0.5, 0.8)), {"cutting": 90.0, "index": 10.0}, title="Run"
    )
    assert [text.get_text() for text in ax.get_yticklabels()] == ["cutting", "index"]
    assert [text.get_text() for text in ax.texts] == ["1 min 30 s · 90 %", "10.0 s · 10 %"]
    assert [patch.get_width() for patch in ax.patches] == [90.0, 10.0]
    low, high = ax.get_ylim()
    assert low > high, "the first on top"


def test_nothing_is_clipped_or_overlapping_on_a_page_of_timings() -> None:
    for seconds, rates in (({}, []), ({"a": 0.0}, [1.0]), ({"stage " * 20: 4e5, "b": 1e-3}, [5.0, 7.0] * 90)):
        figure = timings_figure(seconds, rates, note="A note.", subtitle=FOOTER)
        assert_readable(figure, drawn_texts(figure))
        assert len(figure.axes) == (2 if len(rates) > 1 else 1)


def test_rates_are_drawn_from_zero_a_point_a_batch() -> None:
    ax = draw_rates(empty_figure().add_subplot(), [610.0, float("nan"), 605.0])
    assert ax.get_lines()[0].get_xdata().tolist() == [1, 2, 3]
    assert ax.get_ylim()[0] == 0.0
    assert [text.get_text() for text in draw_rates(empty_figure().add_subplot(), []).texts] == ["no batches"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (9.99, "9.99 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
