"""Labeled pictures: read when they are asked for, FITS as a run reads it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from elodin_spark.errors import InputError
from elodin_spark.learning.labeled import LabeledSet, PictureFiles, read_set


@pytest.fixture
def folder(tmp_path):
    """Two classes: a faint source in raw counts, as FITS, and a gray and a color picture."""
    rng = np.random.default_rng(0)
    for name in ("star", "other"):
        (tmp_path / name).mkdir()
    raw = rng.normal(1e-9, 1e-11, (60, 50)).astype(np.float32)
    raw[40:44, 10:14] += 1e-9
    fits.writeto(tmp_path / "star" / "a.fits", raw)
    Image.fromarray(np.full((8, 9), 7, np.uint8)).save(tmp_path / "other" / "gray.png")
    Image.fromarray(np.full((8, 9, 3), (1, 2, 3), np.uint8)).save(tmp_path / "other" / "color.png")
    return tmp_path


def test_raw_fits_is_stretched_and_shows_what_is_in_it(folder):
    found = read_set("mine", folder)
    assert found.labels == ["other", "other", "star"]
    picture = found.pictures[2]
    assert (picture.shape, picture.dtype) == ((60, 50, 3), np.uint8)
    assert picture.std() > 10
    assert picture[40:44, 10:14].min() > np.percentile(picture, 99)
    assert [each.shape for each in found.pictures[:2]] == [(8, 9, 3), (8, 9, 3)]
    assert found.pictures[0][0, 0].tolist() == [1, 2, 3]


def test_pictures_are_read_when_they_are_asked_for(folder):
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows(
            [("file", "label"), ("star/a.fits", "star"), ("gone.png", "other"), ("star/b.fits", "x")]
        )
    (folder / "star" / "b.fits").write_text("no FITS file")
    found = read_set("mine", folder / "list.csv")
    assert isinstance(found.pictures, PictureFiles)
    assert len(found.pictures) == 3
    assert found.pictures[0].shape == (60, 50, 3)
    with pytest.raises(InputError, match=r"gone\.png cannot be read as an image"):
        found.pictures[1]
    with pytest.raises(InputError, match=r"b\.fits: .*leave it out of the set"):
        found.pictures[2]


def test_some_of_a_set_are_the_same_by_one_seed(folder):
    found = read_set("mine", folder)
    some = found.some(2, seed=3)
    assert (len(some.pictures), len(some.labels)) == (2, 2)
    assert isinstance(some.pictures, PictureFiles)
    again = found.some(2, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(some.pictures, again.pictures, strict=True))
    assert found.some(3, seed=3) is found


def test_of_each_class_a_share_is_held_out_and_of_an_object_all() -> None:
    labels = [*"aaaaaaaaabbbcc"]
    pictures = [np.full((4, 4, 3), i, np.uint8) for i in range(14)]
    whole = LabeledSet("mine", pictures, labels, attributes=np.arange(14, dtype=np.float32)[:, None])
    learned, held = whole.split(1 / 3, seed=5)
    assert held.name == "mine-held"
    assert [held.labels.count(label) for label in "abc"] == [3, 1, 1]
    numbers = [[int(picture[0, 0, 0]) for picture in part.pictures] for part in (learned, held)]
    assert sorted(numbers[0] + numbers[1]) == list(range(14))
    for part, mine in zip((learned, held), numbers, strict=True):
        assert part.labels == [labels[i] for i in mine]
        assert part.attributes is not None
        assert part.attributes[:, 0].tolist() == mine
    assert [int(p[0, 0, 0]) for p in whole.split(1 / 3, seed=5)[1].pictures] == numbers[1]
    assert [int(p[0, 0, 0]) for p in whole.split(1 / 3, seed=6)[1].pictures] != numbers[1]

    objects = [f"o{i // 3}" for i in range(14)]
    learned, held = LabeledSet("mine", pictures, labels, objects).split(1 / 3, seed=0)
    assert held.objects
    assert not {*(learned.objects or [])} & {*held.objects}


def test_attributes_are_read_beside_the_labels(folder):
    table = folder / "known.csv"
    table.write_text(
        "file,stage,ring,ring_inf\nstar/a.fits,-3,-1,-1\nother/gray.png,-1,0.5,0\nother/color.png,,0,0\n"
    )
    found = read_set("mine", folder, table)
    # By the name of the folder and the file; of what may be below 0, -1 is a value.
    expected = [[np.nan, 0], [-1, 0.5], [-3, np.nan]]
    np.testing.assert_array_equal(found.attributes, np.array(expected, np.float32))
    table.write_text("file,ring\nstar/a.fits,1\n")
    with pytest.raises(InputError, match=r"no row of other/color\.png"):
        read_set("mine", folder, table)
    table.write_text("file,ring\nstar/a.fits,big\nother/gray.png,1\nother/color.png,1\n")
    with pytest.raises(InputError, match="holds what is no number"):
        read_set("mine", folder, table)
