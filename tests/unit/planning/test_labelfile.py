"""Classes that a user lists."""

from __future__ import annotations

import pytest

from elodin_spark.errors import InputError
from elodin_spark.planning.labelfile import read_labels


def test_classes_are_read_by_path_and_by_cutout_id(tmp_path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("mag,path,label\n1,a/b.fits,lens\n2, c.fits ,ring\n3,d.fits,\n,,\n", encoding="utf-8-sig")
    found = read_labels(file)
    assert (found.by, found.classes) == ("path", {"a/b.fits": "lens", "c.fits": "ring"})
    file.write_text("label,cutout_id\nlens,4611686018427387904\nring,7\nring,7\n")
    found = read_labels(file)
    assert (found.by, found.classes) == ("cutout_id", {4611686018427387904: "lens", 7: "ring"})


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no column label"),
        ("path,class\na,lens\n", "no column label, their header is 'path,class'"),
        ("file,label\na,lens\n", "no column path or cutout_id, their header is 'file,label'"),
        ("path,label\n", "0 labels of 0 classes"),
        ("path,label\na,lens\nb,lens\n", "2 labels of 1 classes"),
        ("path,label\na,lens\na,ring\n", "call a 'lens' and in row 3 'ring'"),
        ("cutout_id,label\n7,lens\nx7,ring\n", "row 3 .* 'x7', which is no whole number"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, text: str, wrong: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=wrong):
        read_labels(tmp_path / "labels.csv")


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("labels.csv", "nowhere.csv"):
        with pytest.raises(InputError, match="cannot be read as CSV"):
            read_labels(tmp_path / name)
