"""The transform of vectors, prototypes, half precision, and what a recipe says of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elodin_spark.arrow import to_column, to_matrix, with_storage
from elodin_spark.config.load import parse_settings
from elodin_spark.config.transform import TransformSettings
from elodin_spark.errors import CatalogError, ConfigError, ImageError
from elodin_spark.fingerprints.prototypes import Prototypes
from elodin_spark.fingerprints.rows import as_fingerprints
from elodin_spark.fingerprints.transform import (
    COPIES_COUNT,
    DIRECTIONS,
    FEWEST,
    FLOOR,
    LEAST_KEPT,
    Copied,
    TransformFile,
    VectorTransform,
    few_windows,
    load_transform,
    shares,
)
from elodin_spark.provenance import make_recipe, recipe_id
from elodin_spark.sampling.stage import CutoutIdsSpec, KeepCutoutsSpec, SampleKeySpec
from elodin_spark.schema import CUTOUTS, FINGERPRINTS, TILED, rows_to_batch
from elodin_spark.stage import run_plain


def cloud(count: int = 60, length: int = 40, seed: int = 0) -> np.ndarray:
    """Vectors that vary along few directions, with some noise."""
    generator = np.random.default_rng(seed)
    basis = generator.normal(size=(5, length)) * np.array([9, 5, 3, 2, 1])[:, None]
    noise = generator.normal(0, 0.01, (count, length))
    return (generator.normal(size=(count, 5)) @ basis + noise + 7).astype(np.float32)


def fit(vectors: np.ndarray, **chosen) -> VectorTransform:
    """Fitted; where copies are to be learned from, the vectors of these are moved along the first axis."""
    copies, chosen = None, TransformSettings(**chosen)
    if chosen.copies:
        rows = np.arange(chosen.copies)
        moved = np.zeros((len(rows), vectors.shape[1]), np.float32)
        moved[:, 0] = np.random.default_rng(1).normal(0, 20, len(rows))
        copies = Copied(rows, vectors[rows] + moved)
    return VectorTransform.fit(vectors, chosen, seed=3, copies=copies)


@pytest.fixture(scope="module")
def fitted() -> VectorTransform:
    return fit(cloud(), pca=5)


def test_distances_between_projected_vectors_are_those_of_the_vectors(fitted):
    vectors = cloud(seed=0)
    found = fitted.apply(vectors)
    assert found.shape == (60, 5)
    assert found.dtype == np.float32
    for i, j in [(0, 1), (7, 50), (20, 21)]:
        whole = np.linalg.norm(vectors[i].astype(float) - vectors[j])
        assert np.linalg.norm(found[i].astype(float) - found[j]) == pytest.approx(whole, rel=1e-3)


def test_components_are_the_eigenvectors_of_the_covariance_with_a_fixed_sign(fitted):
    centerd = cloud().astype(np.float64) - cloud().mean(axis=0, dtype=np.float64)
    values, columns = np.linalg.eigh(centerd.T @ centerd)
    np.testing.assert_allclose(fitted.variance_ratio, values[::-1][:5] / values.sum(), rtol=1e-6)
    for row, expected in zip(fitted.components, columns.T[::-1], strict=False):
        assert row[np.abs(row).argmax()] > 0
        assert abs(row @ expected) == pytest.approx(1, abs=1e-5)


KINDS: dict[str, dict] = {
    "components": {"pca": 5},
    "standardized": {"transform": "standardize"},
    "standardized, power": {"transform": "standardize", "power": 0.5},
    "power": {"power": 0.7},
    "bearing copies": {"transform": "standardize", "power": 0.5, "copies": 20, "labels": "prototypes"},
    "bearing copies, components": {"copies": 20, "pca": 5},
    "of the correlation": {"transform": "standardize", "pca": 4, "labels": "prototypes"},
    "whitened": {"transform": "whiten", "pca": 5, "labels": "prototypes", "prototypes": 8},
}
FITTED = cache(lambda kind: fit(cloud(), **KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
@given(order=st.permutations(range(60)), size=st.integers(1, 60))
@settings(max_examples=15)
def test_a_transformed_vector_and_its_labels_do_not_depend_on_their_company(kind, order, size):
    transform, vectors = FITTED(kind), cloud()
    whole = as_fingerprints(vectors, None, 6, transform)
    parts = [
        found
        for start in range(0, 60, size)
        for found in as_fingerprints(vectors[order[start : start + size]], None, 6, transform)
    ]
    for row, found in zip(order, parts, strict=True):
        for name in ("vector", "labels", "label_scores"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole[row], name))


def test_standardized_vectors_have_mean_0_and_variance_1():
    found = fit(cloud(), transform="standardize").apply(cloud()).astype(float)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.var(axis=0), 1, rtol=1e-5)
    raised = fit(cloud(), transform="standardize", power=0.5).apply(cloud())
    np.testing.assert_allclose(raised, np.sign(found) * np.sqrt(np.abs(found)), rtol=1e-5)
    rotated = fit(cloud(), transform="standardize", pca=40).apply(cloud()).astype(float)
    np.testing.assert_allclose(np.square(rotated).sum(axis=1), np.square(found).sum(axis=1), rtol=1e-4)


def test_vectors_are_shortened_along_what_copies_change_and_nowhere_else():
    vectors = cloud(200)
    found = fit(vectors, copies=100).apply(vectors).astype(float)
    np.testing.assert_allclose(found[:, 1:], vectors[:, 1:], rtol=1e-5)
    moved = np.random.default_rng(1).normal(0, 20, 100)
    spread = vectors[:, 0].astype(float).var()
    kept = 1 / np.sqrt(1 + COPIES_COUNT * np.square(moved).mean() / spread)
    assert kept < 0.7
    np.testing.assert_allclose(found[:, 0], kept * vectors[:, 0], rtol=1e-4)


def test_what_is_dead_in_the_sample_is_not_lost():
    vectors = np.zeros((40, 3), np.float32)
    vectors[:, 0] = np.arange(40)
    moved = vectors.copy()
    moved[:, 1] += np.where(np.arange(40) % 2, 5, -5)
    fitted = VectorTransform.fit(vectors, TransformSettings(copies=40), copies=Copied(np.arange(40), moved))
    assert fitted.apply(np.float32([[0, 50, 0]]))[0, 1] == pytest.approx(50 * LEAST_KEPT)


def test_copies_that_are_as_their_windows_change_nothing():
    vectors = cloud(200)
    chosen, rows = TransformSettings(copies=100), np.arange(100)
    fitted = VectorTransform.fit(vectors, chosen, copies=Copied(rows, vectors[rows]))
    np.testing.assert_array_equal(fitted.apply(vectors), vectors)


def test_no_more_directions_are_learned_than_are_kept_and_none_from_few_windows():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 90)).astype(np.float32)
    noisy = Copied(np.arange(200), vectors[:200] + rng.normal(size=(200, 90)).astype(np.float32))
    found = VectorTransform.fit(vectors, TransformSettings(copies=200), copies=noisy)
    assert found.directions.shape == (DIRECTIONS, 90)
    assert ((found.kept > 0) & (found.kept < 1)).all()
    few = FEWEST - 1
    small = Copied(np.arange(few), noisy.vectors[:few])
    alone = VectorTransform.fit(vectors[:few], TransformSettings(copies=200), copies=small)
    assert alone.directions is None


@pytest.mark.parametrize("power", [None, 0.5])
def test_joined_layers_count_alike_whatever_their_length(power):
    vectors = np.concatenate([cloud(200, 8), 100 * cloud(200, 56, seed=1)], axis=1)
    chosen = TransformSettings(transform="standardize", power=power)
    found = VectorTransform.fit(vectors, chosen, parts=shares([(8, 56)])).apply(vectors).astype(float)
    alone = [
        fit(part, transform="standardize", power=power).apply(part)
        for part in (vectors[:, :8], vectors[:, 8:])
    ]
    sizes = [np.square(part).sum() for part in (found[:, :8], found[:, 8:])]
    assert sizes[0] / sizes[1] == pytest.approx(
        np.square(alone[0]).mean() / np.square(alone[1]).mean(), rel=1e-4
    )
    assert sum(sizes) == pytest.approx(
        32 * (np.square(alone[0]).sum() / 8 + np.square(alone[1]).sum() / 56), rel=1e-4
    )
    one = VectorTransform.fit(vectors, chosen, parts=shares([(64,)])).apply(vectors)
    np.testing.assert_array_equal(one, VectorTransform.fit(vectors, chosen).apply(vectors))


@pytest.mark.parametrize("power", [None, 0.5])
def test_a_joined_network_counts_as_much_as_its_factor_says(power):
    vectors = np.concatenate([cloud(200, 8), 100 * cloud(200, 24, seed=1), 7 * cloud(200, 32)], axis=1)
    chosen = TransformSettings(transform="standardize", power=power)
    fitted = VectorTransform.fit(vectors, chosen, parts=shares([(8, 24), (32,)], (1.0, 0.7)))
    found = fitted.apply(vectors).astype(float)
    ends = ((0, 8), (8, 32), (32, 64))
    alone = [
        fit(vectors[:, a:b], transform="standardize", power=power).apply(vectors[:, a:b]) for a, b in ends
    ]
    # Of each layer alone a component has about the same size; the first network's two layers share its part.
    for (a, b), part, share in zip(ends, alone, (0.5 / 1.49, 0.5 / 1.49, 0.49 / 1.49), strict=True):
        size = np.square(found[:, a:b]).sum() / 64
        assert size == pytest.approx(share * np.square(part.astype(float)).mean() * 200, rel=1e-4)


def test_whitened_vectors_have_unit_covariance():
    vectors = cloud(200)
    found = fit(vectors, transform="whiten", pca=12)
    white = found.apply(vectors).astype(float)
    covariance = np.cov(white.T, bias=True)
    np.testing.assert_allclose(covariance[:5], np.eye(12)[:5], atol=1e-3)
    assert (np.diag(covariance)[5:] < 0.9).all()  # below a thousandth of the others there is only noise
    assert 0.99 < found.variance_ratio.sum() <= 1
    # Without a number as many as there are columns, or half as many as windows.
    assert fit(vectors, transform="whiten").dimension == 40
    assert fit(vectors[:50], transform="whiten").dimension == 25


def test_what_copies_change_counts_less_when_whitened_too():
    vectors = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    vectors[:, 0] *= 30  # the first component, which copies change, see `fit`
    alone, found = (fit(vectors, transform="whiten", pca=6, copies=count) for count in (0, 100))
    np.testing.assert_allclose(alone.apply(vectors).astype(float).var(axis=0), 1, rtol=1e-3)
    variances = found.apply(vectors).astype(float).var(axis=0)
    assert found.kept[0] < 0.8
    np.testing.assert_allclose(variances, [found.kept[0] ** 2, *np.ones(5)], rtol=0.01)


def test_units_that_hardly_vary_do_not_blow_up():
    vectors = cloud(100)
    vectors[:, 7], vectors[:, 8] = 0, np.linspace(0, 1e-9, 100)
    transform = fit(vectors, transform="standardize")
    assert not transform.apply(vectors)[:, 7].any()
    spread = np.sqrt(vectors.astype(float).var(axis=0).mean())
    fired = vectors[:1].copy()
    fired[0, 7] = spread
    assert transform.apply(fired)[0, 7] == pytest.approx(1 / FLOOR, rel=1e-5)
    for count in (1, 2, 10):  # of so few, deviations say little
        few = fit(vectors[:count], transform="standardize")
        assert np.isfinite(few.apply(vectors)).all()
        assert np.abs(few.apply(vectors[:count])).max() < 10
        assert np.isfinite(fit(vectors[:count], transform="whiten").apply(vectors)).all()
    with pytest.raises(ConfigError, match="only 0 windows"):
        fit(vectors[:0], transform="standardize")


def test_few_windows_are_told_where_they_standardize():
    assert "standardized by 31 windows: the variances of fewer than 32" in few_windows("standardize", 31)
    assert few_windows("standardize", 32) is None
    assert few_windows("whiten", 5) is None


def test_an_answer_that_the_transform_makes_infinite_is_an_error():
    transform = fit(cloud() / 1e20, transform="standardize")
    good, bad = as_fingerprints(np.stack([cloud()[0] / 1e20, cloud()[0] * 1e30]), None, 2, transform)
    assert np.isfinite(good.vector).all()
    assert bad.kind == "not_finite"


def test_what_cannot_be_fitted_is_a_setting_to_change(fitted):
    with pytest.raises(ConfigError, match="only 4 windows"):
        fit(cloud(4), pca=5)
    with pytest.raises(ConfigError, match="have 40 components"):
        fit(cloud(60), pca=41)
    for transform in ("none", "standardize", "whiten"):
        flat = fit(np.ones((40, 3), np.float32), pca=2, transform=transform)  # nothing varies
        assert not flat.apply(np.ones((2, 3), np.float32)).any()
        assert not flat.variance_ratio.any()
    with pytest.raises(CatalogError, match="40 components, and the network gives 39"):
        fitted.apply(cloud()[:, :39])


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_the_same_for_the_same_fit_and_damage_is_found(kind, tmp_path):
    fitted = FITTED(kind)
    file = fitted.save(tmp_path)
    (tmp_path / "again").mkdir()
    assert fit(cloud(), **KINDS[kind]).save(tmp_path / "again").sha256 == file.sha256
    found = load_transform(file)
    np.testing.assert_array_equal(found.apply(cloud()), fitted.apply(cloud()))
    assert (found.length, found.dimension) == (40, fitted.dimension)
    if fitted.prototypes is not None:
        vectors = fitted.apply(cloud())
        np.testing.assert_array_equal(found.prototypes.scores(vectors), fitted.prototypes.scores(vectors))
    other = tmp_path / "damaged.npz"
    content = bytearray((tmp_path / file.path).read_bytes())
    content[-300] ^= 1
    other.write_bytes(content)
    with pytest.raises(CatalogError, match="damaged or was replaced"):
        load_transform(replace(file, path=str(other)))
    with pytest.raises(CatalogError, match="cannot be read"):
        load_transform(TransformFile(str(tmp_path / "none.npz"), file.sha256))
    assert load_transform(None) is None


def test_prototypes_are_centers_and_the_nearest_come_first():
    generator = np.random.default_rng(0)
    middles = generator.normal(0, 50, (16, 6))
    vectors = (middles[np.arange(640) % 16] + generator.normal(size=(640, 6))).astype(np.float32)
    found = Prototypes.fit(vectors, 16, seed=1)
    sets, scores = found.label_sets(vectors, 30)
    # A quarter of the prototypes, for sets of nearly all would be alike.
    assert {len(row) for row in sets} == {4}
    for vector, labels, row in zip(vectors[:50], sets, scores, strict=False):
        apart = np.linalg.norm(found.centers.astype(float) - vector, axis=1)
        assert labels.tolist() == np.argsort(apart, kind="stable")[:4].tolist()
        np.testing.assert_allclose(row, 1 / (1 + (apart[labels] / found.scale) ** 2), rtol=1e-4)
    nearest = np.sort([found.scores(vectors).max(axis=1)])
    assert np.median(nearest) == pytest.approx(0.5, abs=0.01)
    # Again, with as many threads as there may be.
    np.testing.assert_array_equal(Prototypes.fit(vectors, 16, seed=1).centers, found.centers)
    assert not np.array_equal(Prototypes.fit(vectors, 16, seed=2).centers, found.centers)


def test_small_archives_have_fewer_prototypes(caplog):
    vectors = cloud(100)
    assert Prototypes.fit(vectors, 1000, 0).centers.shape == (25, 40)
    assert "fitting 25 prototypes in place of 1000" in caplog.messages[-1]
    assert len(Prototypes.fit(vectors[:10], 1000, 0).centers) == 2
    for few in (vectors[:1], np.ones((9, 40), np.float32)):
        same = Prototypes.fit(few, 1000, 0)
        assert [row.tolist() for row in same.label_sets(few[:1], 30)[0]] == [[0]]


def test_labels_are_of_the_network_and_vectors_of_the_components(fitted):
    vectors = cloud(3)
    scores = np.float32([[0.1, 0.9], [0.6, 0.4], [np.nan, 1]])
    first, second, bad = as_fingerprints(vectors, scores, 1, fitted)
    np.testing.assert_array_equal(first.vector, fitted.apply(vectors)[0])
    assert (first.labels.tolist(), second.labels.tolist()) == ([1], [0])
    assert bad.kind == "not_finite"
    nearest = FITTED("whitened")
    (first, *_) = as_fingerprints(vectors, scores, 2, nearest)
    assert first.labels.tolist() == nearest.prototypes.label_sets(nearest.apply(vectors), 2)[0][0].tolist()
    (units, *_) = as_fingerprints(vectors, None, 3, fitted)
    assert units.labels.tolist() == np.argsort(-vectors[0], kind="stable")[:3].tolist()


def test_a_vector_beyond_float16_is_an_error_and_spares_the_others():
    vectors = np.float32([[1, 65504], [1, 65505], [-70000, 0], [3, 4]])
    good, first, second, last = as_fingerprints(vectors, None, 1, storage="float16")
    for error in (first, second):
        assert isinstance(error, ImageError)
        assert error.kind == "too_large_for_float16"
        assert "fingerprints.storage=float32" in str(error)
    stored = to_matrix(to_column([good.vector, last.vector], "float16"))
    np.testing.assert_array_equal(stored, [[1, 65504], [3, 4]])
    assert all(isinstance(f, ImageError) is False for f in as_fingerprints(vectors, None, 1))


@given(st.lists(st.lists(st.floats(-65504, 65504, width=32), min_size=3, max_size=3), max_size=5))
def test_both_storages_are_read_as_a_matrix(rows):
    vectors = [np.float32(row) for row in rows]
    for storage, digits in (("float32", 0), ("float16", 2**-11)):
        column = to_column(vectors, storage)
        assert column.type == with_storage(FINGERPRINTS, storage).field("vector").type
        found = to_matrix(column)
        assert found.dtype == np.float32
        if rows:
            # Half the last digit, or half the smallest step there is.
            np.testing.assert_allclose(found, np.stack(vectors), rtol=digits, atol=digits and 2**-25)
    assert to_column([None, np.float32([1])], "float16").null_count == 1


def test_samples_see_both_storages_and_only_their_windows():
    rows = [{"cutout_id": i, "vector": v} for i, v in ((5, b"\0<\0@"), (6, b"\0\0\0\0"))]
    half = rows_to_batch(rows, with_storage(FINGERPRINTS, "float16"))
    keyed = run_plain(SampleKeySpec(0), [half]).to_pylist()
    assert [row["vector"] for row in keyed] == [[1, 2], [0, 0]]
    windows = [{"cutout_id": 1}, {"cutout_id": 2, "rejected": "edge"}, {"cutout_id": 3}, {"failure": {}}]
    batch = rows_to_batch(windows, TILED)
    assert run_plain(CutoutIdsSpec(), [batch])["cutout_id"].to_pylist() == [1, 3]
    kept = run_plain(KeepCutoutsSpec(TILED, np.array([3, 9])), [batch])
    assert kept.schema.equals(TILED)
    assert kept["cutout_id"].to_pylist() == [3]
    assert CUTOUTS.field("cutout_id") == run_plain(CutoutIdsSpec(), []).schema.field(0)


def recipe_of(transform_sha256: str | None = None, **fingerprints) -> str:
    settings = parse_settings({"images": {"paths": "x"}, "fingerprints": {"networks": [], **fingerprints}})
    return recipe_id(make_recipe(settings, "w", "0" * 64, transform_sha256=transform_sha256))


def test_what_changes_a_stored_vector_is_part_of_the_recipe():
    kinds = [
        recipe_of(),
        recipe_of(storage="float16"),
        recipe_of("a" * 64, pca=8),
        recipe_of("b" * 64, pca=8),
        recipe_of("a" * 64, pca=9),
        recipe_of("a" * 64, pca=8, storage="float16"),
    ]
    for transform in (
        {"transform": "standardize"},
        {"transform": "whiten"},
        {"transform": "standardize", "power": 0.5},
        {"power": 0.5},
        {"copies": 8},
        {"copies": 9},
        {"pca": 8, "power": 0.5},
        {"labels": "prototypes"},
        {"labels": "prototypes", "prototypes": 50},
    ):
        kinds += [recipe_of("a" * 64, **transform), recipe_of("b" * 64, **transform)]
    assert len(set(kinds)) == len(kinds)
    # What is left out is what it is by default.
    assert recipe_of(storage="float32", pca=None, pca_sample=7) == kinds[0]
    assert recipe_of(transform="none", labels="classes", power=1) == kinds[0]
    fitted = {"sample": 4096, "seed": 0, "sha256": "a" * 64}
    how = {"kind": "none", "power": 1, "components": 8, "prototypes": None}
    chosen = parse_settings({"images": {"paths": "x"}, "fingerprints": {"networks": [], "pca": 8}})
    found = make_recipe(chosen, "w", "0" * 64, transform_sha256="a" * 64)["fingerprints"]["transform"]
    assert found == how | fitted
    with pytest.raises(ConfigError, match="pca_sample 10 is too few"):
        recipe_of(pca=11, pca_sample=10)


def test_bytes_of_float16_are_little_endian():
    assert to_column([np.float32([1, -2])], "float16").to_pylist() == [b"\x00\x3c\x00\xc0"]
    assert pa.types.is_binary(to_column([], "float16").type)
