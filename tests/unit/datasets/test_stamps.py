"""Simulated objects with known shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.datasets.hubble import Galaxy
from elodin_spark.datasets.radio import radio_source
from elodin_spark.datasets.shapes import Grid
from elodin_spark.datasets.stamps import SHAPES, STAMP_KINDS, draw_stamps


@settings(max_examples=8, deadline=None)
@given(first=st.integers(0, 1000), count=st.integers(1, 6), seed=st.integers(0, 5))
def test_a_stamp_is_the_same_whatever_is_drawn_beside_it(first: int, count: int, seed: int) -> None:
    some = draw_stamps(first, count, 40, seed)
    last = draw_stamps(first + count - 1, 1, 40, seed)
    assert np.array_equal(some.windows[-1], last.windows[0])
    assert some.kinds[-1] == last.kinds[0]
    np.testing.assert_array_equal(some.shapes[-1], last.shapes[0])


def test_every_kind_is_drawn_and_has_the_shapes_that_it_should() -> None:
    stamps = draw_stamps(0, 300, 48, 1)
    assert set(stamps.kinds) == set(range(len(STAMP_KINDS)))
    assert stamps.windows.shape == (300, 48, 48, 3)
    known = np.isfinite(stamps.shapes)
    by_kind = {kind: known[stamps.kinds == number] for number, kind in enumerate(STAMP_KINDS)}
    for kind in ("elliptical", "lenticular", "spiral"):
        assert by_kind[kind][:, SHAPES.index("bulge")].all()
    assert by_kind["spiral"][:, SHAPES.index("pitch")].all()
    assert not by_kind["star_field"][:, : SHAPES.index("signal")].any()
    for kind in ("radio_edge_darkened", "radio_edge_brightened"):
        assert by_kind[kind][:, SHAPES.index("edge")].all()
    # Something is to be seen in almost all of them.
    assert (stamps.windows.reshape(300, -1).std(axis=1) > 2).mean() > 0.97


def test_the_edge_of_a_radio_source_tells_its_class() -> None:
    for kind, low, high in (("edge_darkened", 0.0, 0.5), ("edge_brightened", 0.5, 1.2)):
        drawn = [radio_source(Grid.cutout(64), np.random.default_rng(i), kind) for i in range(40)]
        assert all(low < source.edge < high for source in drawn)
        assert all(source.light.max() > 0 and np.isfinite(source.light).all() for source in drawn)


def test_late_galaxies_are_bluer_and_have_smaller_bulges() -> None:
    def mean(stage: float) -> tuple[float, float]:
        drawn = [Galaxy.draw(np.random.default_rng([7, i]), stage, 0.3) for i in range(60)]
        return float(np.mean([g.disk_g_r for g in drawn])), float(np.mean([g.bulge for g in drawn]))

    early, late = mean(-1.0), mean(7.0)
    assert early[0] > late[0] + 0.2
    assert early[1] > late[1] + 0.3
