"""Weights as one small file: what is kept, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import safe_open
from safetensors.numpy import save_file

from elodin_spark.errors import WeightsError
from elodin_spark.fingerprints.backbones import preprocessing_of
from elodin_spark.fingerprints.weights.packed import encode, read_header, read_pack, write_pack
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.weights.types import digest_arrays

ARRAYS = {
    "conv/kernel": np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32),
    "conv/bias": np.arange(6, dtype=np.float32) / 3,
}


def write(path: Path, arrays=ARRAYS, encoding="int8", backbone="resnet50", mode="caffe") -> Path:
    way = {"mode": mode, "preprocessing": preprocessing_of("resnet50")}
    write_pack(path, arrays, encoding, backbone=backbone, input_px=64, **way)
    return path


#: Of the arrays that :func:`write` keeps, by hand.
KEPT = digest_arrays(
    {
        "conv/kernel": np.multiply(*encode(ARRAYS["conv/kernel"], "int8"), dtype=np.float32),
        "conv/bias": ARRAYS["conv/bias"],
    }
)


def rewrite(path: Path, change) -> Path:
    """Let `change` alter the arrays of a file, by name, and what it says of itself."""
    with safe_open(path, "numpy") as file:
        members = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["elodin_spark"])
    change(members, header)
    save_file(members, path, {"elodin_spark": json.dumps(header)} if header else None)
    return path


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.floats(-100, 100, width=32).map(lambda x: 0.0 if abs(x) < 1e-20 else x),
    )
)
def test_an_8_bit_kernel_is_off_by_half_a_step_of_its_channel_at_most(kernel):
    numbers, scale = encode(kernel, "int8")
    assert numbers.dtype == np.int8
    channel = kernel.ndim - (2 if kernel.ndim == 4 and kernel.shape[-1] == 1 else 1)
    others = tuple(axis for axis in range(kernel.ndim) if axis != channel)
    half = np.abs(kernel).max(axis=others, keepdims=True) / 254
    assert (np.abs(numbers * scale.astype(np.float64) - kernel) <= half * (1 + 1e-5)).all()
    assert scale.size == kernel.shape[channel]


@pytest.mark.parametrize("encoding", ["int8", "float16", "float32"])
def test_what_is_written_is_read_by_us_and_by_safetensors_alone(tmp_path, encoding):
    path = write(tmp_path / "w.safetensors", encoding=encoding)
    header = read_header(path)
    found = read_pack(path, header)
    assert list(found) == list(ARRAYS)
    assert digest_arrays(found) == header.arrays_sha256
    np.testing.assert_array_equal(found["conv/bias"], ARRAYS["conv/bias"])  # float32 whatever the kernels are
    with safe_open(path, "numpy") as file:
        known = json.loads(file.metadata()["elodin_spark"])
        kernel = file.get_tensor("conv/kernel")
        assert kernel.dtype == np.dtype(encoding)
        if encoding == "int8":
            kernel = kernel * file.get_tensor("conv/kernel.scale")
    np.testing.assert_array_equal(found["conv/kernel"], kernel.astype(np.float32))
    step = {"int8": 1 / 127, "float16": 1e-3, "float32": 0}[encoding]
    np.testing.assert_allclose(kernel, ARRAYS["conv/kernel"], atol=step * np.abs(ARRAYS["conv/kernel"]).max())
    assert (known["backbone"], known["input_px"], known["encoding"]) == ("resnet50", 64, encoding)
    assert known["preprocessing"]["mean"] == [103.939, 116.779, 123.68]


def test_the_same_arrays_make_the_same_file_which_others_may_read(tmp_path):
    names = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert write(names[0]).read_bytes() == write(names[1]).read_bytes()
    (tmp_path / "plain").touch()
    assert names[0].stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(("value", "encoding"), [(np.nan, "int8"), (np.inf, "int8"), (1e6, "float16")])
def test_numbers_that_cannot_be_stored_are_refused_by_name_and_leave_no_file(tmp_path, value, encoding):
    kernel = np.zeros((2, 2), np.float32)
    kernel[1, 0] = value
    with pytest.raises(WeightsError, match=r"dense/kernel.*training went wrong"):
        write(tmp_path / "w.safetensors", {"dense/kernel": kernel}, encoding)
    assert not list(tmp_path.iterdir())


@given(st.integers(0, 2**31), st.integers(1, 255))
def test_a_changed_byte_changes_no_weight_in_silence(tmp_path_factory, place, mask):
    path = write(tmp_path_factory.getbasetemp() / "flipped.safetensors")
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= mask
    path.write_bytes(content)
    try:
        found = read_pack(path, read_header(path))
    except WeightsError as error:
        said = str(error)
    else:
        # A byte that carries no weight, such as one of the card.
        assert digest_arrays(found) == KEPT
        said = str(path)
    assert str(path) in said


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    path = write(tmp_path_factory.getbasetemp() / "cut.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=f"{path} is damaged or truncated"):
        read_header(path)


def without_an_array(members, header):
    del members["conv/bias"]


def without_scales(members, header):
    del members["conv/kernel.scale"]


def with_other_numbers(members, header):
    members["conv/bias"] += 1


def with_other_scales(members, header):
    members["conv/kernel.scale"] *= 2


def with_scales_that_grow_the_kernel(members, header):
    members["conv/kernel.scale"] = np.ones((1000, 1, 1, 1, 6), np.float32)


def with_another_shape(members, header):
    members["conv/bias"] = members["conv/bias"].reshape(2, 3)


def with_another_type(members, header):
    members["conv/bias"] = members["conv/bias"].astype(np.float64)


def with_a_large_array(members, header):
    members["conv/bias"] = np.zeros(10**6, np.float32)


def with_another_order(members, header):
    header["arrays"] = dict(reversed(header["arrays"].items()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_an_array, "conv/bias"),
        (without_scales, "conv/kernel.scale"),
        (with_other_numbers, "another SHA-256"),
        (with_other_scales, "another SHA-256"),
        (with_scales_that_grow_the_kernel, r"conv/kernel.scale is F32 of shape \(1000, 1, 1, 1, 6\)"),
        (with_another_shape, r"conv/bias is F32 of shape \(2, 3\), not \(6,\)"),
        (with_another_type, "conv/bias is F64"),
        (with_a_large_array, r"conv/bias is F32 of shape \(1000000,\)"),
        (with_another_order, "another SHA-256"),
    ],
)
def test_a_file_that_is_not_what_its_header_says_is_refused(tmp_path, change, reason):
    path = rewrite(write(tmp_path / "w.safetensors"), change)
    with pytest.raises(WeightsError, match=f"{path} is damaged.*{reason}"):
        read_pack(path, read_header(path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 2}, "install a newer one"),
        ({"version": 0}, "damaged"),
        ({"arrays": {"conv/kernel": 3}}, "damaged"),
        ({"input_px": "x"}, "damaged"),
        ({"surprise": 1}, "damaged"),
        ({"label_names": ["a", "b"]}, "2 names of 0 classes"),
        ({"label_names": [""]}, "damaged"),
        ({"label_names": ["a\nb"]}, "cannot be printed"),
    ],
)
def test_a_header_of_another_kind_is_refused(tmp_path, values, message):
    path = rewrite(write(tmp_path / "w.safetensors"), lambda _, header: header.update(values))
    with pytest.raises(WeightsError, match=message):
        read_header(path)


def test_safetensors_of_others_are_refused_with_what_to_do(tmp_path):
    path = rewrite(write(tmp_path / "w.safetensors"), lambda _, header: header.clear())
    with pytest.raises(WeightsError, match=f"{path} was not written by elodin_spark.*weights pack"):
        read_header(path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backbone": "resnet101"}, "it is of resnet101"),
        ({"mode": "torch"}, "prepared as 'torch'"),
        ({}, "has shape"),
    ],
)
def test_a_file_of_another_network_is_refused_by_name(tmp_path, options, reason):
    path = write(tmp_path / "other.safetensors", **options)
    with pytest.raises(WeightsError, match=f"{path} does not fit ResNet50.*{reason}"):
        resolve_weights(str(path), cache=tmp_path)
