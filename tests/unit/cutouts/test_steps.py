"""Processing steps: values against the library or a formula, positions against a painted dot."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import exposure
from skimage.transform import resize as skimage_resize

from elodin_spark.config.settings import STEPS, Step
from elodin_spark.cutouts import stretch
from elodin_spark.cutouts.pixels import gray, seen_as_rgb
from elodin_spark.cutouts.steps import INTENSITY_STEPS, apply_steps, default_steps, resize, trace_steps
from elodin_spark.errors import ImageError

MOVING = ("Resize", "Crop", "Rotate", "FlipLR", "FlipUD", "GrayScale", "GrayToRGB")


def step(kind: str, **parameters: object) -> Step:
    return Step(type=kind, parameters=parameters)


def one(pixels: np.ndarray, kind: str, **parameters: object) -> np.ndarray:
    return apply_steps(pixels, [step(kind, **parameters)])[0]


def noise(*shape: int, dtype: str = "float32") -> np.ndarray:
    values = np.random.default_rng(7).random(shape)
    return (values * np.iinfo(dtype).max).astype(dtype) if dtype.startswith("u") else values.astype(dtype)


def dot(height: int, width: int, x: float, y: float, sigma: float = 2.0) -> np.ndarray:
    rows, columns = np.indices((height, width))
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)).astype(np.float32)


def centroid(image: np.ndarray) -> tuple[float, float]:
    rows, columns = np.indices(image.shape)
    weight = np.where(image > 0.05 * image.max(), image, 0).astype(np.float64)
    return float((columns * weight).sum() / weight.sum()), float((rows * weight).sum() / weight.sum())


# ---- positions ---------------------------------------------------------------------------

SEQUENCES = {
    "none": [],
    "crop": [step("Crop", output_range=(7, -5, 3, -11))],
    "shrink": [step("Resize", output_size=50)],
    "grow": [step("Resize", output_size=230)],
    "flip left right": [step("FlipLR")],
    "flip up down": [step("FlipUD")],
    "rotate 90": [step("Rotate", angle=90)],
    "rotate 30": [step("Rotate", angle=30)],
    "rotate -200": [step("Rotate", angle=-200)],
    "all": [
        step("Crop", output_range=(4, -9, 6, -2)), step("FlipLR"), step("Rotate", angle=25),
        step("AsinhStretch"), step("Resize", output_size=130), step("FlipUD"),
        step("Rotate", angle=-70), step("GrayScale"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("steps", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("place", [(45.0, 50.0), (61.3, 40.8), (50.5, 62.25)])
def test_a_dot_is_traced_back_to_where_it_was_painted(steps: list[Step], place: tuple[float, float]) -> None:
    processed, affine = apply_steps(dot(90, 110, *place), steps)
    assert affine.shape == (3, 3)
    assert affine.dtype == np.float64
    x, y, one = affine @ [*centroid(processed), 1.0]
    assert one == 1
    assert trace_steps((90, 110), steps)[0] == processed.shape
    # A stretch makes the dot no Gaussian but leaves it round.
    assert np.hypot(x - place[0], y - place[1]) < 0.1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.just(step("FlipLR")),
            st.just(step("FlipUD")),
            st.floats(-180, 180).map(lambda angle: step("Rotate", angle=angle)),
            st.integers(40, 150).map(lambda size: step("Resize", output_size=size)),
            st.integers(0, 4).map(lambda n: step("Crop", output_range=(n, -1 - n, 2, -3))),
        ),
        max_size=4,
    )
)
def test_any_sequence_of_moves_is_traced_back(steps: list[Step]) -> None:
    processed, affine = apply_steps(dot(80, 96, 49.0, 37.5, sigma=3.0), steps)
    x, y, _ = affine @ [*centroid(processed), 1.0]
    assert np.hypot(x - 49.0, y - 37.5) < 0.15
    shape, traced = trace_steps((80, 96), steps)
    assert shape == processed.shape
    np.testing.assert_array_equal(traced, affine)


@pytest.mark.parametrize("kind", sorted(set(STEPS) - {"Resize", "Crop", "Rotate", "FlipLR", "FlipUD"}))
def test_steps_that_move_nothing_have_the_identity_map(kind: str) -> None:
    image, affine = apply_steps(noise(40, 50), [step(kind)])
    assert image.shape[:2] == (40, 50)
    np.testing.assert_array_equal(affine, np.eye(3))


def test_flips_and_crops_are_array_slices() -> None:
    for image in (noise(20, 30), noise(20, 30, 3, dtype="uint8")):
        np.testing.assert_array_equal(one(image, "FlipLR"), image[:, ::-1])
        np.testing.assert_array_equal(one(image, "FlipUD"), image[::-1])
        np.testing.assert_array_equal(one(image, "Crop", output_range=(2, -3, 4, -5)), image[2:-3, 4:-5])
        np.testing.assert_array_equal(one(image, "Crop", output_range=(-9, 20, 0, 7)), image[11:20, 0:7])


@pytest.mark.parametrize(
    "bounds", [(15, -15, 0, 9), (0, 21, 0, 9), (-21, 9, 0, 9), (5, -15, 0, 9), (0, 9, 28, -8)]
)
def test_a_crop_that_leaves_nothing_or_reaches_outside_is_refused(bounds: tuple[int, int, int, int]) -> None:
    with pytest.raises(ImageError, match="30 x 20 px") as caught:
        one(noise(20, 30), "Crop", output_range=bounds)
    assert caught.value.kind == "bad_crop"


def test_quarter_turns_are_exact_and_counter_clockwise_with_y_up() -> None:
    image = noise(31, 31, 3, dtype="uint8")
    # np.rot90 turns counter-clockwise as printed, with y down.
    for angle, turns in ((0, 0), (90, -1), (180, -2), (270, -3), (-90, 1), (450, -1)):
        np.testing.assert_array_equal(one(image, "Rotate", angle=angle), np.rot90(image, turns))


def test_a_turned_dot_moves_counter_clockwise() -> None:
    turned = one(dot(101, 101, 80, 50), "Rotate", angle=30)
    x, y = centroid(turned)
    assert np.degrees(np.arctan2(y - 50, x - 50)) == pytest.approx(30, abs=0.3)
    assert np.hypot(x - 50, y - 50) == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_a_turn_uncovers_is_the_median(dtype: str) -> None:
    image = noise(40, 60, dtype=dtype)
    turned = one(image, "Rotate", angle=45)
    assert turned.shape == image.shape
    assert turned.dtype == image.dtype
    expected = np.median(image)
    assert [turned[i, j] for i in (0, -1) for j in (0, -1)] == pytest.approx([expected] * 4, abs=0.6)


# ---- resize ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_shrinking_by_a_whole_factor_averages_blocks(channels: tuple[int, ...], dtype: str) -> None:
    image = noise(60, 40, *channels, dtype=dtype)
    blocks = image.reshape(20, 3, 20, 2, *channels).astype(np.float64).mean(axis=(1, 3))
    found = resize(image, 20)
    assert found.dtype == image.dtype
    assert found.shape == blocks.shape
    np.testing.assert_allclose(found, blocks, atol=0.51 if dtype != "float32" else 1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_growing_is_bilinear(dtype: str) -> None:
    image = noise(17, 23, dtype=dtype)
    oracle = skimage_resize(image.astype(np.float64), (40, 40), order=1, mode="edge")
    np.testing.assert_allclose(resize(image, 40), oracle, atol=1.01 if dtype == "uint8" else 1e-4)


def test_one_axis_may_shrink_while_the_other_grows() -> None:
    image = noise(80, 10)
    shrunk = image.reshape(20, 4, 10).mean(axis=1)
    oracle = skimage_resize(shrunk, (20, 20), order=1, mode="edge")
    np.testing.assert_allclose(resize(image, 20), oracle, atol=1e-4)
    np.testing.assert_allclose(resize(np.ascontiguousarray(image.T), 20), oracle.T, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32", "float32"])
@pytest.mark.parametrize("size", [5, 12, 33])
def test_resizing_keeps_type_and_range(dtype: str, size: int) -> None:
    extreme = np.finfo(dtype).max if dtype == "float32" else np.iinfo(dtype).max
    image = np.zeros((12, 12), dtype)
    image[:, 6:] = min(extreme, 1e6)
    found = resize(image, size)
    assert found.dtype == image.dtype
    assert found.shape == (size, size)
    assert found.min() == 0
    assert found.max() == image.max()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 120), st.integers(1, 120), st.sampled_from(["u1", "u2", "f4"]))
def test_gray_that_is_seen_as_color_is_resized_as_color_is(h: int, w: int, size: int, dtype: str) -> None:
    seen = seen_as_rgb(np.random.default_rng(h).integers(0, 256, (h, w)).astype(dtype))
    expected = resize(np.ascontiguousarray(seen), size)
    np.testing.assert_array_equal(resize(seen, size), expected, strict=True)


def test_a_window_of_a_larger_image_can_be_resized() -> None:
    image = noise(60, 60, 3, dtype="uint8")
    np.testing.assert_array_equal(resize(image[10:40, 20:50], 15), resize(image[10:40, 20:50].copy(), 15))


# ---- intensities -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(INTENSITY_STEPS))
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_stretches_give_float32_from_0_to_1(kind: str, dtype: str, channels: tuple[int, ...]) -> None:
    image = (noise(48, 40, *channels) * 200).astype(dtype)
    before = image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = one(image, kind)
    assert found.dtype == np.float32
    assert found.shape == image.shape
    assert 0 <= found.min() < 0.2
    assert 0.8 < found.max() <= 1
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("kind", sorted(INTENSITY_STEPS))
@pytest.mark.parametrize("channels", [(), (3,)])
def test_missing_pixels_become_black_and_do_not_change_the_others_much(
    kind: str, channels: tuple[int, ...]
) -> None:
    image = noise(64, 64, *channels) * 500 - 100
    holes = image.copy()
    holes[30:32, :20] = np.nan
    holes[40, 3] = np.inf
    holes[41, 3] = -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole, found = one(image, kind), one(holes, kind)
    missing = ~np.isfinite(holes)
    assert (found[missing] == 0).all()
    assert np.abs(found - whole)[~missing].mean() < 0.05


@pytest.mark.parametrize("kind", sorted(INTENSITY_STEPS))
@pytest.mark.parametrize("value", [0, 7, np.nan])
@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (1, 1)])
def test_an_image_of_one_value_becomes_black_without_a_warning(
    kind: str, value: float, shape: tuple[int, ...]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = one(np.full(shape, value, np.float32), kind)
    np.testing.assert_array_equal(found, np.zeros(shape, np.float32))


def slow_asinh(
    v: np.ndarray, black_sigma: float, softening_sigma: float, white_percentile: float
) -> np.ndarray:
    """The definition, pixel by pixel."""
    mono = v.mean(axis=2) if v.ndim == 3 else v
    sky = np.median(mono)
    noise_level = 1.4826 * np.median(np.abs(mono - sky))
    black, white = sky - black_sigma * noise_level, np.percentile(mono, white_percentile)
    top = np.arcsinh((white - black) / (softening_sigma * noise_level))
    return np.clip(np.arcsinh((v - black) / (softening_sigma * noise_level)) / top, 0, 1)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("parameters", [(1.5, 4.0, 99.8), (0.0, 1.0, 95.0)])
def test_asinh_follows_its_definition(
    channels: tuple[int, ...], parameters: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(0)
    image = (
        rng.normal(1000, 5, (60, 70, *channels)) + 400 * dot(60, 70, 30, 30)[(..., *([None] * len(channels)))]
    )
    names = ("black_sigma", "softening_sigma", "white_percentile")
    found = one(image.astype(np.float32), "AsinhStretch", **dict(zip(names, parameters, strict=True)))
    np.testing.assert_allclose(found, slow_asinh(image, *parameters), atol=2e-3)


def test_asinh_does_not_depend_on_the_units_of_the_values() -> None:
    image = np.random.default_rng(0).normal(0, 1, (60, 70)).astype(np.float32) + 50 * dot(60, 70, 30, 30)
    np.testing.assert_allclose(
        one(image * 1e-9 - 3e-8, "AsinhStretch"), one(image, "AsinhStretch"), atol=1e-3
    )


def test_asinh_of_an_image_that_is_mostly_empty_shows_the_rest() -> None:
    image = np.zeros((60, 60), np.float32)
    image[:20] = np.random.default_rng(0).normal(100, 5, (20, 60))
    found = one(image, "AsinhStretch")
    assert (found[20:] < found[:20].min()).all()
    assert np.ptp(found[:20]) > 0.01


def test_asinh_of_a_large_image_samples_it_without_changing_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = np.random.default_rng(0).normal(10, 2, (256, 256)).astype(np.float32)
    image[:, ::2] += 1  # columns differ, as those of detectors do
    exact = one(image, "AsinhStretch")
    monkeypatch.setattr(stretch, "SAMPLE_PIXELS", 8192)
    np.testing.assert_allclose(one(image, "AsinhStretch"), exact, atol=0.03)


def test_rescaling_takes_percentiles_not_intensities() -> None:
    image = noise(50, 60, 3) * 40 + 7
    low, high = np.percentile(image, [2, 98])
    expected = np.clip((image - low) / (high - low), 0, 1)
    np.testing.assert_allclose(one(image, "RescaleIntensity"), expected, atol=1e-5)
    low, high = np.percentile(image, [20, 60])
    expected = exposure.rescale_intensity(image, (low, high), (0, 1))
    np.testing.assert_allclose(one(image, "RescaleIntensity", in_range=(20, 60)), expected, atol=1e-5)


def test_equalizations_are_scikit_images() -> None:
    single, color = noise(64, 64, dtype="uint8") // 3, noise(64, 64, 3, dtype="uint8") // 3
    equalized = one(single, "HistogramEqualization")
    np.testing.assert_allclose(equalized, exposure.equalize_hist(single), atol=1e-6)
    clahe = one(single, "AdaptiveHistogramEqualization", clip_limit=0.01)
    np.testing.assert_allclose(clahe, exposure.equalize_adapthist(single, clip_limit=0.01), atol=2e-3)
    clahe = one(color, "AdaptiveHistogramEqualization")
    np.testing.assert_allclose(clahe, exposure.equalize_adapthist(color, clip_limit=0.03), atol=5e-3)


def test_equalized_values_are_equally_frequent() -> None:
    image = np.random.default_rng(0).lognormal(size=(100, 100)).astype(np.float32)
    counts, _ = np.histogram(stretch.equalize(np.minimum(image, 8)), bins=4, range=(0, 1))
    assert counts.min() > 2000


def test_gray_is_that_of_the_pixels_room() -> None:
    color = noise(9, 8, 3, dtype="uint8")
    np.testing.assert_array_equal(one(color, "GrayScale"), gray(color))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_gray_becomes_three_equal_channels_and_color_stays(dtype: str) -> None:
    single = noise(9, 8, dtype=dtype)
    color = one(single, "GrayToRGB")
    assert (color.shape, color.dtype) == ((9, 8, 3), single.dtype)
    for channel in range(3):
        np.testing.assert_array_equal(color[..., channel], single)
    assert one(color, "GrayToRGB") is color


# ---- choice of steps ---------------------------------------------------------------------


def test_auto_stretches_all_but_8_bit_images() -> None:
    assert default_steps(noise(4, 4, dtype="uint8"), "auto") == ()
    assert default_steps(noise(4, 4, dtype="uint16"), "auto") == (step("AsinhStretch"),)
    assert default_steps(noise(4, 4), "auto") == (step("AsinhStretch"),)
    assert default_steps(noise(4, 4), [step("FlipLR")]) == (step("FlipLR"),)
    assert default_steps(noise(4, 4), ()) == ()


def test_every_step_of_the_settings_is_known_here() -> None:
    for kind in STEPS:
        processed, _ = apply_steps(noise(64, 64), [step(kind)])
        assert processed.ndim == (3 if kind == "GrayToRGB" else 2)
    assert set(MOVING) | INTENSITY_STEPS == set(STEPS)


def test_the_input_is_left_as_it_was() -> None:
    image = noise(64, 64, 3, dtype="uint8")
    before = image.copy()
    apply_steps(image, [step(kind) for kind in STEPS])
    np.testing.assert_array_equal(image, before)
