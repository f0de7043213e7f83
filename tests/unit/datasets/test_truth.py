"""What a window of the simulated survey holds, by a truth table written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elodin_spark.cli.demo import choose_queries
from elodin_spark.datasets import ARTIFACT_TYPES, FAINT_TYPES, SKY_TYPES
from elodin_spark.datasets.truth import NAMES, SKY, Truth, write_share

HEAD = "object_id,type,tile,x,y,ra,dec,radius_px,mag,ellipticity,position_angle_deg"

Of = Callable[..., Truth]


@pytest.fixture(scope="module")
def truth_of(tmp_path_factory: pytest.TempPathFactory) -> Of:
    """A truth table of (type, x, y, radius, position angle), all of one tile."""
    file = tmp_path_factory.mktemp("truth") / "truth.csv"

    def read(*objects: tuple[Any, ...], tile: str = "a.fits") -> Truth:
        lines = [
            f"{i},{kind},{tile},{x},{y},150,2,{radius},,,{angle[0] if angle else ''}"
            for i, (kind, x, y, radius, *angle) in enumerate(objects)
        ]
        file.write_text("\n".join([HEAD, *lines]), encoding="utf-8")
        return Truth.read(file)

    return read


def window(x0: int, y0: int, side: int = 96, tile: str = "a.fits", cutout_id: int = 0) -> dict[str, Any]:
    return {
        "cutout_id": cutout_id,
        "image": f"file:/survey/{tile}",
        "x0": x0,
        "y0": y0,
        "x1": x0 + side,
        "y1": y0 + side,
    }


SPIRAL, STAR = ("spiral", 150.0, 150.0, 30.0), ("star", 150.0, 150.0, 9.0)


@pytest.mark.parametrize(
    ("x0", "y0", "holds"),
    [
        (102, 102, "spiral"),  # in the middle
        (60, 140, "spiral"),  # near a corner
        (150, 150, "spiral"),  # the center is the corner pixel
        (55, 102, "spiral"),  # the center just inside of an edge
        (54, 102, "spiral"),  # and just outside of it
        (38, 102, SKY),  # the outskirts alone
        (200, 102, SKY),
    ],
)
def test_an_object_off_center_still_gives_the_type(truth_of: Of, x0: int, y0: int, holds: str) -> None:
    assert truth_of(SPIRAL).type_in(window(x0, y0)) == holds


def test_objects_of_another_tile_are_not_in_the_window(truth_of: Of) -> None:
    assert truth_of(SPIRAL).type_in(window(102, 102, tile="b.fits")) == SKY
    assert truth_of(SPIRAL, tile="aa.fits").type_in(window(102, 102)) == SKY


@pytest.mark.parametrize(("angle", "right", "up"), [(0, 0, 1), (45, -1, 1), (90, -1, 0), (135, 1, 1)])
def test_a_trail_lies_along_its_position_angle(truth_of: Of, angle: float, right: int, up: int) -> None:
    trail = truth_of(("satellite_trail", 300.0, 300.0, 280.0, angle))
    for times in (-140, 140):  # far from the center, on both sides
        middle_x, middle_y = 300 + times * right, 300 + times * up
        assert trail.type_in(window(middle_x - 48, middle_y - 48)) == "satellite_trail"
    # The same distance off, across the line.
    assert trail.type_in(window(300 - 140 * up - 48, 300 + 140 * right - 48)) == SKY


def test_a_trail_ends_where_its_length_does_and_a_corner_is_not_deep(truth_of: Of) -> None:
    column = truth_of(("bad_column", 150.0, 200.0, 200.0, 0.0))
    assert column.type_in(window(102, 300)) == "bad_column"
    assert column.type_in(window(102, 380)) == SKY  # 20 px of it are inside
    trail = truth_of(("satellite_trail", 300.0, 300.0, 280.0, 45.0))
    # From upper left to lower right: y = 600 - x. The window's own corner lies 10 px beyond it.
    assert trail.type_in(window(300, 290)) == SKY
    assert trail.type_in(window(300, 270)) == "satellite_trail"


def test_the_thing_with_the_greater_part_in_the_window_wins(truth_of: Of) -> None:
    column = ("bad_column", 110.0, 200.0, 200.0, 0.0)
    # Both whole: the artifact is the brighter one.
    assert truth_of(SPIRAL, column).type_in(window(102, 102)) == "bad_column"
    short = ("bad_column", 110.0, 50.0, 80.0, 0.0)  # 28 px of it inside
    assert truth_of(SPIRAL, short).type_in(window(102, 102)) == "spiral"
    assert truth_of(SPIRAL, ("merger", 199.0, 150.0, 40.0)).type_in(window(102, 102)) == "spiral"
    assert truth_of(STAR, ("elliptical", 150.0, 199.0, 24.0)).type_in(window(102, 102)) == "star"
    # The larger of two that are whole.
    assert truth_of(STAR, ("lens", 130.0, 130.0, 20.0)).type_in(window(102, 102)) == "lens"


def test_the_disk_of_a_saturated_star_reaches_into_the_window(truth_of: Of) -> None:
    saturated = ("saturated_star", 150.0, 150.0, 39.0)
    truth = truth_of(saturated)
    assert truth.type_in(window(54, 102)) == "saturated_star"  # its center a pixel outside
    assert truth.type_in(window(20, 102)) == SKY
    assert truth_of(saturated, ("star", 60.0, 150.0, 9.0)).type_in(window(54, 102)) == "star"


def test_faint_objects_come_after_all_others_and_before_sky(truth_of: Of) -> None:
    faint = (("faint_star", 120.0, 120.0, 3.0), ("faint_galaxy", 180.0, 180.0, 5.0))
    assert truth_of(*faint).type_in(window(102, 102)) == "faint_galaxy"
    assert truth_of(*faint, ("star", 196.0, 196.0, 9.0)).type_in(window(102, 102)) == "star"
    assert truth_of(faint[0]).type_in(window(121, 102)) == SKY  # its center is outside
    assert truth_of().type_in(window(102, 102)) == SKY


@given(
    st.sampled_from([*SKY_TYPES, *ARTIFACT_TYPES, *FAINT_TYPES]),
    st.floats(0, 500), st.floats(0, 500), st.floats(2, 280), st.floats(0, 179.9),
    st.integers(0, 400), st.integers(0, 400), st.integers(-300, 300), st.integers(-300, 300),
)  # fmt: skip
def test_a_shift_of_both_changes_nothing(
    truth_of: Of,
    kind: str,
    x: float,
    y: float,
    radius: float,
    angle: float,
    x0: int,
    y0: int,
    dx: int,
    dy: int,
) -> None:
    x, y = round(x * 4) / 4 + 0.125, round(y * 4) / 4 + 0.125  # exact sums
    here = truth_of((kind, x, y, radius, angle)).parts(window(x0, y0))
    there = truth_of((kind, x + dx, y + dy, radius, angle)).parts(window(x0 + dx, y0 + dy))
    assert here.keys() == there.keys()
    assert list(here.values()) == pytest.approx(list(there.values()), abs=0.02)
    assert all(0 < part <= 1 for part in here.values())


def test_what_stands_alone_is_found_with_its_distance(truth_of: Of) -> None:
    assert truth_of(SPIRAL).stands_alone(window(102, 102)) == ("spiral", pytest.approx(0.5 * 2**0.5))
    assert truth_of(SPIRAL).stands_alone(window(70, 102)) is None  # 32 px off
    assert truth_of(SPIRAL, ("faint_star", 120.0, 120.0, 3.0)).stands_alone(window(102, 102)) is not None
    assert truth_of(SPIRAL, ("lens", 199.0, 150.0, 20.0)).stands_alone(window(102, 102)) is None
    assert truth_of().stands_alone(window(102, 102)) is None
    # A trail is where it crosses, however far its own center is.
    trail = ("satellite_trail", 150.0, 300.0, 250.0, 0.0)
    assert truth_of(trail).stands_alone(window(100, 100)) == ("satellite_trail", pytest.approx(2.5, abs=0.3))
    assert truth_of(trail, STAR).stands_alone(window(100, 100)) is None


def test_queries_are_the_best_centerd_of_three_types_and_an_artifact(truth_of: Of) -> None:
    truth = truth_of(
        SPIRAL, ("star", 350.0, 150.0, 9.0), ("merger", 350.0, 350.0, 38.0), ("lens", 550.0, 150.0, 20.0),
        ("saturated_star", 550.0, 350.0, 38.0), ("satellite_trail", 800.0, 300.0, 290.0, 0.0),
    )  # fmt: skip
    rows = [window(x, y, cutout_id=1000 * x + y) for x in range(4, 860, 24) for y in range(4, 400, 24)]
    chosen = choose_queries(rows, truth)
    assert [kind for _, kind in chosen] == ["spiral", "lens", "merger", "satellite_trail"]
    for row, kind in chosen:
        assert truth.type_in(row) == kind
    assert (chosen[0][0]["x0"], chosen[0][0]["y0"]) == (100, 100)  # its middle is 147.5
    assert choose_queries(rows[::-1], truth) == chosen
    without = truth_of(("star", 350.0, 150.0, 9.0), ("saturated_star", 550.0, 350.0, 38.0))
    assert [kind for _, kind in choose_queries(rows, without)] == ["star", "saturated_star"]
    assert choose_queries(rows, truth_of()) == []


def test_shares_are_said_in_words() -> None:
    assert write_share("spiral", ["spiral"] * 8 + ["sky", "star"]) == "8 of 10 are spirals"
    assert write_share("edge_on", ["edge_on", "sky"]) == "1 of 2 is an edge-on disk"
    assert write_share("lens", ["lens", "sky"]) == "1 of 2 is a lens"
    assert write_share("lens", []) == "0 of 0 are lenses"


def test_every_type_of_the_survey_has_a_name() -> None:
    assert set(NAMES) == {*SKY_TYPES, *ARTIFACT_TYPES, *FAINT_TYPES, SKY}


def test_the_truth_of_a_real_survey_names_every_window(survey: Any) -> None:
    truth = Truth.read(Path(survey.truth))
    rows = [
        window(x, y, side=64, tile=tile.name)
        for tile in survey.tiles
        for x in range(0, 129, 32)
        for y in range(0, 129, 32)
    ]
    types = {truth.type_in(row) for row in rows}
    assert types <= set(NAMES)
    assert types & set(SKY_TYPES)
