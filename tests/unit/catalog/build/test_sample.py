"""Cutouts of an archive before it is run: how many, of which images, and the same each time."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from elodin_spark.catalog.build import sample
from elodin_spark.catalog.build.sample import sample_cutouts
from elodin_spark.config.load import parse_settings
from elodin_spark.config.settings import Settings, SlidingWindow
from elodin_spark.images.listing import ImageFile, list_files


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[ImageFile]]:
    """Forty images of 4 windows, two of 225, and five without one."""
    folder = tmp_path_factory.mktemp("uneven")
    rng = np.random.default_rng(0)
    sides = {"small": (48, 40), "large": (256, 2), "tiny": (20, 5)}
    for name, (side, number) in sides.items():
        for i in range(number):
            picture = Image.fromarray(rng.integers(0, 255, (side, side), np.uint8))
            picture.save(folder / f"{name}-{i}.png")
    generator = {"kind": "sliding_window", "size": 32, "step": 16}
    settings = parse_settings({"images": {"paths": str(folder)}, "cutouts": {"generator": generator}})
    return settings, list_files([str(folder)])


def test_a_sample_of_images_of_unlike_size_is_filled_from_the_large_ones(uneven) -> None:
    settings, files = uneven
    found = sample_cutouts(settings, files, 300)
    assert len({cutout.cutout_id for cutout in found}) == 300
    counts = Counter(cutout.path.partition("-")[0] for cutout in found)
    assert counts["small"] == 40 * 4  # of each image alike, as far as it goes
    by_image = Counter(cutout.path for cutout in found if cutout.path.startswith("large"))
    assert set(by_image.values()) == {70}
    again = sample_cutouts(settings, files[::-1], 300)
    assert [cutout.cutout_id for cutout in again] == [cutout.cutout_id for cutout in found]
    assert len(sample_cutouts(settings, files, 2000)) == 40 * 4 + 2 * 225


def test_a_sample_of_named_images_or_windows_is_filled_alike(uneven) -> None:
    settings, files = uneven
    named = {"large-0.png", *(f"small-{i}.png" for i in range(30))}
    found = sample_cutouts(settings, files, 300, paths=named)
    assert len(found) == 300
    large = {cutout.cutout_id for cutout in found if cutout.path == "large-0.png"}
    few = {cutout.cutout_id for cutout in found if cutout.path != "large-0.png"}
    ids = large | set(sorted(few)[:20])
    assert {cutout.cutout_id for cutout in sample_cutouts(settings, files, 300, cutout_ids=ids)} == ids


def test_a_sample_passes_over_images_without_windows(uneven) -> None:
    settings, files = uneven
    tiny = [file for file in files if file.path.startswith("tiny")]
    small = [file for file in files if file.path.startswith("small")][:7]
    whole = {"cutouts": settings.cutouts.model_copy(update={"generator": SlidingWindow(size=48, step=48)})}
    assert len(sample_cutouts(settings.model_copy(update=whole), [*tiny, *small], 7)) == 7
    assert sample_cutouts(settings, tiny, 7) == []


def test_a_sample_goes_beyond_windows_that_are_taken_to_be_alike_where_they_do_not_suffice(
    uneven, monkeypatch
) -> None:
    settings, files = uneven
    monkeypatch.setattr(sample, "MOST_WINDOWS", 50)
    large = [file for file in files if file.path.startswith("large")]
    assert len(sample_cutouts(settings, large, 400)) == 400
    looked = {cutout.cutout_id for cutout in sample_cutouts(settings, large, 20)}
    assert len(looked) == 20


def test_equal_shares_sum_up_to_what_is_wanted() -> None:
    assert sample._share([4] * 40 + [225, 225, 0], 300) == 70
    assert sample._share([3, math.inf], 10) == 7
    assert sample._share([3, 4], 10) == 10  # all there are
    assert sample._share([], 10) == 10
