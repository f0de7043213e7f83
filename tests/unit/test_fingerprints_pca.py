"""Vectors stored small: principal components, half precision, and what a recipe says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elodin_spark.config import parse_settings
from elodin_spark.errors import CatalogError, ConfigError, ImageError
from elodin_spark.fingerprints.pca import Pca, PcaFile, load_pca
from elodin_spark.fingerprints.rows import as_fingerprints
from elodin_spark.projection.stage import CutoutIdsSpec, KeepCutoutsSpec, SampleKeySpec
from elodin_spark.recipe import make_recipe, recipe_id
from elodin_spark.schema import CUTOUTS, FINGERPRINTS, TILED, rows_to_batch
from elodin_spark.stage import run_plain
from elodin_spark.vectors import to_column, to_matrix, with_storage


def cloud(count: int = 60, length: int = 40, seed: int = 0) -> np.ndarray:
    """Vectors that vary along few directions, with some noise."""
    generator = np.random.default_rng(seed)
    basis = generator.normal(size=(5, length)) * np.array([9, 5, 3, 2, 1])[:, None]
    noise = generator.normal(0, 0.01, (count, length))
    return (generator.normal(size=(count, 5)) @ basis + noise + 7).astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> Pca:
    return Pca.fit(cloud(), 5)


def test_distances_between_projected_vectors_are_those_of_the_vectors(fitted):
    vectors = cloud(seed=0)
    found = fitted.project(vectors)
    assert found.shape == (60, 5)
    assert found.dtype == np.float32
    for i, j in [(0, 1), (7, 50), (20, 21)]:
        whole = np.linalg.norm(vectors[i].astype(float) - vectors[j])
        assert np.linalg.norm(found[i].astype(float) - found[j]) == pytest.approx(whole, rel=1e-3)


def test_components_are_the_eigenvectors_of_the_covariance_with_a_fixed_sign(fitted):
    centred = cloud().astype(np.float64) - cloud().mean(axis=0, dtype=np.float64)
    values, columns = np.linalg.eigh(centred.T @ centred)
    np.testing.assert_allclose(fitted.variance_ratio, values[::-1][:5] / values.sum(), rtol=1e-6)
    for row, expected in zip(fitted.components, columns.T[::-1], strict=False):
        assert row[np.abs(row).argmax()] > 0
        assert abs(row @ expected) == pytest.approx(1, abs=1e-5)


@given(st.permutations(range(60)), st.integers(1, 60))
def test_a_projected_vector_does_not_depend_on_its_company(order, size):
    pca, vectors = Pca.fit(cloud(), 5), cloud()
    whole = pca.project(vectors)
    parts = [pca.project(vectors[order[start : start + size]]) for start in range(0, 60, size)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[order])


def test_what_cannot_be_fitted_is_a_setting_to_change(fitted):
    with pytest.raises(ConfigError, match="only 4 windows"):
        Pca.fit(cloud(4), 5)
    with pytest.raises(ConfigError, match="have 40 components"):
        Pca.fit(cloud(60), 41)
    flat = Pca.fit(np.ones((9, 3), np.float32), 2)  # nothing varies
    assert not flat.project(np.ones((2, 3), np.float32)).any()
    assert not flat.variance_ratio.any()
    with pytest.raises(CatalogError, match="40 components, and the network gives 39"):
        fitted.project(cloud()[:, :39])


def test_the_file_is_the_same_for_the_same_fit_and_damage_is_found(fitted, tmp_path):
    file = fitted.save(tmp_path)
    (tmp_path / "again").mkdir()
    assert Pca.fit(cloud(), 5).save(tmp_path / "again").sha256 == file.sha256
    found = load_pca(file)
    np.testing.assert_array_equal(found.components, fitted.components)
    np.testing.assert_array_equal(found.project(cloud()), fitted.project(cloud()))
    assert load_pca(None) is None
    other = tmp_path / "damaged.npz"
    content = bytearray((tmp_path / file.path).read_bytes())
    content[-300] ^= 1
    other.write_bytes(content)
    with pytest.raises(CatalogError, match="damaged or were replaced"):
        load_pca(replace(file, path=str(other)))
    with pytest.raises(CatalogError, match="cannot be read"):
        load_pca(PcaFile(str(tmp_path / "none.npz"), file.sha256))


def test_labels_are_of_the_network_and_vectors_of_the_components(fitted):
    vectors = cloud(3)
    scores = np.float32([[0.1, 0.9], [0.6, 0.4], [np.nan, 1]])
    first, second, bad = as_fingerprints(vectors, scores, 1, fitted)
    np.testing.assert_array_equal(first.vector, fitted.project(vectors)[0])
    assert (first.labels.tolist(), second.labels.tolist()) == ([1], [0])
    assert bad.kind == "not_finite"
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


def recipe_of(pca_sha256: str | None = None, **fingerprints) -> str:
    settings = parse_settings({"images": {"paths": "x"}, "fingerprints": fingerprints})
    return recipe_id(make_recipe(settings, "w", "0" * 64, pca_sha256=pca_sha256))


def test_what_changes_a_stored_vector_is_part_of_the_recipe():
    kinds = [
        recipe_of(),
        recipe_of(storage="float16"),
        recipe_of("a" * 64, pca=8),
        recipe_of("b" * 64, pca=8),
        recipe_of("a" * 64, pca=9),
        recipe_of("a" * 64, pca=8, storage="float16"),
    ]
    assert len(set(kinds)) == len(kinds)
    # Without either it is what it was before there was a choice.
    assert recipe_of(storage="float32", pca=None, pca_sample=7) == kinds[0]
    with pytest.raises(ConfigError, match="pca_sample 10 is too few"):
        recipe_of(pca=11, pca_sample=10)


def test_bytes_of_float16_are_little_endian():
    assert to_column([np.float32([1, -2])], "float16").to_pylist() == [b"\x00\x3c\x00\xc0"]
    assert pa.types.is_binary(to_column([], "float16").type)
