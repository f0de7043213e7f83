"""Views of cutouts, and the batches made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.learning import feed, write_set

from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.datasets.stamps import draw_stamps
from elodin_spark.learning.batches import ViewBatch, view_batches
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.taught import Taught
from elodin_spark.learning.views import Place, choose_place, view, whole

STAMPS = draw_stamps(0, 12, 40, 0)


def galaxy(side: int = 120, x: float = 80, y: float = 40) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    light = 200 * np.exp(-np.hypot((columns - x) / 9, (rows - y) / 6))
    noise = np.random.default_rng(0).normal(10, 2, (side, side))
    return np.clip(light + noise, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def test_a_source_is_looked_at_more_often_than_the_rest() -> None:
    found = [choose_place(galaxy(), np.random.default_rng(i)) for i in range(100)]
    on_source = [place for place in found if np.hypot(place.x - 80, place.y - 40) < 3]
    assert 50 < len(on_source) < 90
    assert all(28 <= place.side <= 120 for place in found)


@pytest.mark.parametrize("window", [np.zeros((60, 60, 3), np.uint8), np.full((60, 60, 3), 255, np.uint8)])
def test_a_flat_cutout_has_places_and_views(window: np.ndarray) -> None:
    for i in range(20):
        rng = np.random.default_rng(i)
        seen = view(window, choose_place(window, rng), 32, rng)
        assert seen.shape == (32, 32, 3)
        assert seen.dtype == np.uint8


def test_views_differ_and_show_the_same_place() -> None:
    place = Place(80, 40, 60)
    views = [view(galaxy(), place, 32, np.random.default_rng(i)).astype(float) for i in range(30)]
    assert len({seen.tobytes() for seen in views}) == 30
    rows, columns = np.mgrid[:32, :32]
    off = []
    for seen in views:
        light = np.maximum(seen.mean(axis=2) - np.quantile(seen.mean(axis=2), 0.9), 0)
        if light.sum():
            x, y = (columns * light).sum() / light.sum(), (rows * light).sum() / light.sum()
            off.append(np.hypot(x - 15.5, y - 15.5))
    # At most 0.22 of the side along each axis, and half of them 0.06.
    assert max(off) < 13
    assert np.median(off) < 6
    again = view(galaxy(), place, 32, np.random.default_rng(3))
    assert np.array_equal(again, views[3].astype(np.uint8))


def test_half_of_the_views_show_a_cutout_that_was_turned_after_it_was_cut() -> None:
    # Red outside of the place: a view that was cut before it was turned has none of it.
    window = np.zeros((120, 120, 3), np.uint8)
    window[..., 0] = 200
    window[30:91, 30:91] = (0, 0, 200)
    red = [
        view(window, Place(60, 60, 60), 32, np.random.default_rng(i))[..., 0].max() > 120 for i in range(60)
    ]
    assert 15 < sum(red) < 45


def test_the_place_of_a_whole_cutout_is_its_middle() -> None:
    assert whole(np.zeros((48, 48, 3), np.uint8)) == Place(23.5, 23.5, 48.0)


def batches(
    folder: Path, values: PretrainSettings, taught: Taught | None = None, **place: int
) -> list[ViewBatch]:
    source = feed(
        CutoutSet.read(folder),
        side_px=values.source_px,
        batch_size=values.cutouts,
        epochs=None,
        drop_last=True,
    )
    return list(view_batches(source, STAMPS, values, taught, **place))


def test_batches_go_on_as_if_nothing_had_stopped(tmp_path: Path) -> None:
    values = PretrainSettings(
        stretches=({"px": 32, "steps": 7}, {"px": 40, "steps": 4}), cutouts=5, stamps=3, source_px=32
    )
    folder = write_set(tmp_path / "set", rows=23, files=1)
    straight = batches(folder, values)
    assert [batch.views.shape for batch in straight] == [(16, 32, 32, 3)] * 7 + [(16, 40, 40, 3)] * 4
    assert {(batch.epoch, batch.taken) for batch in straight} >= {(0, 4), (1, 1), (2, 3)}
    for stopped in (1, 4, 8):
        before = straight[stopped - 1]
        rest = batches(folder, values, step=stopped, epoch=before.epoch, taken=before.taken)
        assert len(rest) == 11 - stopped
        for one, other in zip(straight[stopped:], rest, strict=True):
            assert one.step == other.step
            assert np.array_equal(one.views, other.views)
            np.testing.assert_array_equal(one.shapes, other.shapes)


def test_known_shapes_stand_beside_both_views_of_simulated_objects_alone(tmp_path: Path) -> None:
    values = PretrainSettings(stretches=({"px": 32, "steps": 1},), cutouts=5, stamps=3, source_px=32)
    (batch,) = batches(write_set(tmp_path / "set", rows=9, files=1), values)
    assert (batch.kinds[:5] == -1).all()
    assert (batch.kinds[5:8] >= 0).all()
    assert np.array_equal(batch.kinds[:8], batch.kinds[8:])
    assert np.isnan(batch.shapes[:5]).all()
    np.testing.assert_array_equal(batch.shapes[:8], batch.shapes[8:])


def test_labeled_ones_stand_between_real_and_simulated_ones_with_what_is_told_of_them(tmp_path: Path) -> None:
    values = PretrainSettings(
        stretches=({"px": 32, "steps": 3},), cutouts=5, stamps=3, labeled=4, source_px=32
    )
    windows = [np.full((40, 40, 3), level, np.uint8) for level in (30, 200)]
    taught = Taught(windows, np.array([0, 1]), np.array([[-1.0], [np.nan]], np.float32), ("dark", "bright"))
    for batch in batches(write_set(tmp_path / "set", rows=9, files=1), values, taught):
        assert batch.views.shape == (24, 32, 32, 3)
        assert np.array_equal(batch.classes[:12], batch.classes[12:])
        assert (np.delete(batch.classes[:12], np.s_[5:9]) == -1).all()
        assert (batch.kinds[5:9] == -1).all()
        told = batch.classes[5:9]
        levels = batch.views[5:9].mean(axis=(1, 2, 3))
        assert (told >= 0).all()
        assert ((levels > 115) == told.astype(bool)).all()
        np.testing.assert_array_equal(batch.attributes[5:9, 0], np.where(told == 0, -1, np.nan))
        assert np.isnan(np.delete(batch.attributes[:12, 0], np.s_[5:9])).all()
