"""Which cutouts a set holds, and how each becomes an image."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import smallcatalog
from helpers.learning import encoded, feed, numbers, picture, write_set
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from elodin_spark import Catalog, schema
from elodin_spark.cutouts.pixels import gray
from elodin_spark.errors import CatalogError, ImageError, InputError
from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.learning import decode
from elodin_spark.learning.cutoutset import CutoutSet
from elodin_spark.learning.decode import Decoder

GRADIENT = np.add.outer(np.arange(0, 120, 2), np.arange(0, 80)).astype(np.uint8)
COLOR = np.stack([GRADIENT, GRADIENT[::-1], GRADIENT // 2], axis=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [GRADIENT, COLOR], ids=["gray", "color"])
@pytest.mark.parametrize("side", [16, 64, 100])
def test_files_and_pixels_become_the_same_image(pixels, channels, side):
    decoder = Decoder(side, channels)
    shape = ",".join(map(str, pixels.shape))
    image = decoder(pixels.tobytes(), shape)
    assert image.shape == (side, side, channels)
    assert image.dtype == np.uint8
    assert np.abs(decoder(encoded(pixels), None).astype(int) - image).max() <= 1
    jpeg = decoder(encoded(pixels, "JPEG", quality=100, subsampling=0), None)
    assert np.abs(jpeg.astype(int) - image).max() <= 6
    wanted = gray(pixels) if channels == 1 else pixels
    expected = resize_window(wanted, side)
    if expected.ndim == 3 or channels == 1:
        assert np.array_equal(image, expected.reshape(image.shape))


def test_turned_palette_transparent_and_deep_pictures_are_read(monkeypatch):
    whole = Decoder(64, 3)
    tag = Image.Exif()
    tag[0x0112] = 3
    turned = encoded(COLOR, "PNG", exif=tag)
    assert np.array_equal(whole(turned, None), whole(encoded(COLOR[::-1, ::-1].copy()), None))
    assert whole(encoded(COLOR, "JPEG", exif=b"Exif\0\0damaged"), None).any()
    clear = np.dstack([COLOR, np.zeros_like(GRADIENT)])
    assert np.array_equal(whole(encoded(clear), None), whole(encoded(COLOR), None))
    deep = (GRADIENT.astype(np.uint16) * 257).astype(np.uint16)
    assert np.array_equal(whole(encoded(deep), None), whole(encoded(GRADIENT), None))
    monkeypatch.setattr(decode, "MAX_PIXELS", GRADIENT.size - 1)
    with pytest.raises(ImageError, match="has 80 x 60 px, more than 4799: cut it"):
        whole(encoded(GRADIENT), None)


@pytest.mark.parametrize(
    ("content", "shape", "kind"),
    [
        (None, None, "null"),
        (None, "", "null"),
        (b"", None, "unreadable"),
        (b"GIF89a", None, "unreadable"),
        (b"abcd", "", "bad_pixels"),
        (b"abcd", "2,3", "bad_pixels"),
        (b"abcd", "2,2,1", "bad_pixels"),
        (b"", "0,0", "bad_pixels"),
    ],
)
def test_what_is_no_image_says_so(content, shape, kind):
    with pytest.raises(ImageError) as caught:
        Decoder(8, 3)(content, shape)
    assert caught.value.kind == kind


@given(st.data())
def test_damaged_files_are_refused_or_read_never_anything_else(data):
    content = bytearray(encoded(COLOR, data.draw(st.sampled_from(["JPEG", "PNG"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    try:
        image = Decoder(8, 1)(bytes(content[:end]), None)
    except ImageError:
        return
    assert image.shape == (8, 8, 1)


def test_a_folder_is_read_at_any_depth_without_what_is_hidden(tmp_path):
    write_set(tmp_path / "a" / "b", 4)
    write_set(tmp_path / "c", 4)
    write_set(tmp_path / "_temporary", 4)
    write_set(tmp_path / "c" / ".hidden", 4)
    (tmp_path / "c" / "_SUCCESS").touch()
    cutouts = CutoutSet.read(tmp_path)
    assert len(cutouts.files) == 4
    assert cutouts.files == tuple(sorted(cutouts.files))
    assert CutoutSet.read([tmp_path / "c", *cutouts.files]).files == cutouts.files
    assert CutoutSet.read(cutouts.files[0]).files == cutouts.files[:1]


def test_the_column_of_the_images_is_found_or_named(tmp_path):
    folder = write_set(tmp_path, 4, jpeg=[b""] * 4, pixels=[b""] * 4, stamp=[b""] * 4)
    assert CutoutSet.read(folder).image == "jpeg"  # no pixel_shape
    assert CutoutSet.read(folder, "stamp").columns == ["stamp"]
    folder = write_set(tmp_path, 4, pixels=[b""] * 4, pixel_shape=[[1, 1]] * 4)
    assert CutoutSet.read(folder, label="label").columns == ["pixels", "pixel_shape", "label"]


def test_what_is_no_set_says_what_is_wrong_and_where(tmp_path):
    folder = write_set(tmp_path / "set", 4, name=[1.5] * 4)
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is not enough")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"png": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    for given_, options, said in [
        (empty, {}, "no Parquet file at .*empty"),
        (tmp_path / "missing", {}, "no Parquet file at .*missing"),
        ("s3://bucket/cutouts", {}, "every reader mounts"),
        (tmp_path / "bad.parquet", {}, "bad.parquet cannot be read as Parquet"),
        (
            tmp_path / "other.parquet",
            {},
            "has no column jpeg, png, thumbnail, nor pixels and pixel_shape; it has a",
        ),
        ([folder, tmp_path / "other.parquet"], {"image": "png"}, "other.parquet has no column png"),
        (tmp_path / "none.parquet", {}, "none.parquet: no rows"),
        (folder, {"label": "class"}, "has no column class"),
        (folder, {"label": "name"}, "column name of .* holds double; labels are integers or strings"),
        (folder, {"image": "label"}, "column label of .* holds int64; images are binary"),
        (folder, {"image": "pixels"}, "no column pixels, pixel_shape"),
    ]:
        with pytest.raises(InputError, match=said):
            CutoutSet.read(given_, **options)


def test_a_catalog_gives_what_is_neither_removed_nor_rejected(tmp_path):
    rows = smallcatalog.tables(images=3, across=3)
    for number, row in enumerate(rows["cutouts"]):
        row["thumbnail"] = encoded(picture(number))
    catalog = smallcatalog.write_catalog(tmp_path / "small", rows)
    gone = [row["cutout_id"] for row in rows["cutouts"][3:5]]
    catalog.remove(cutouts=gone)
    left = [
        i for i, row in enumerate(rows["cutouts"]) if row["rejected"] is None and row["cutout_id"] not in gone
    ]
    cutouts = catalog.cutout_set()
    assert cutouts.image == "thumbnail"
    assert len(left) == 22
    assert sorted(numbers(feed(cutouts, reader="auto", epochs=1))) == left
    with pytest.raises(InputError, match="no column pixels, pixel_shape"):
        catalog.cutout_set("pixels")
    assert set(cutouts.columns) <= set(schema.CUTOUTS.names)


def test_a_catalog_without_cutouts_says_so(tmp_path):
    catalog = smallcatalog.write_catalog(tmp_path / "small", smallcatalog.tables(images=1, across=2))
    for commit in (catalog.path / "commits").iterdir():
        commit.unlink()
    smallcatalog.change_json(catalog.path / "catalog.json", batches=0)
    with pytest.raises(CatalogError, match="has no cutouts yet"):
        Catalog.open(catalog.path).cutout_set()
