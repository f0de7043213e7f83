"""Slow, obvious answers that the tests hold the code against."""

from __future__ import annotations

from typing import Any

import numpy as np


def brute_force_l2(ids: np.ndarray, vectors: np.ndarray, query: int) -> list[tuple[int, float]]:
    """All other cutouts by (distance, ID), in float64."""
    vectors = vectors.astype(np.float64)
    distances = np.sqrt(((vectors - vectors[ids == query][0]) ** 2).sum(axis=1))
    order = sorted(range(len(ids)), key=lambda i: (distances[i], ids[i]))
    return [(int(ids[i]), float(distances[i])) for i in order if ids[i] != query]


def brute_force_jaccard(
    ids: np.ndarray, vectors: np.ndarray, labels: list[list[int]], query: int
) -> list[tuple[int, float]]:
    """All other cutouts by (1 - Jaccard index, L2 distance, ID), by the set definition."""
    euclidean = dict(brute_force_l2(ids, vectors, query))
    sets = {int(i): frozenset(row) for i, row in zip(ids, labels, strict=True)}
    mine = sets[query]
    found = []
    for other, theirs in sets.items():
        if other != query:
            union = mine | theirs
            distance = 1 - len(mine & theirs) / len(union) if union else 0.0
            found.append((distance, euclidean[other], other))
    return [(other, distance) for distance, _, other in sorted(found)]


def without_overlaps(
    ranked: list[tuple[int, float]], windows: dict[int, dict[str, Any]], query: int, k: int
) -> list[tuple[int, float]]:
    """Greedily, best first, leave out windows that overlap the query or a kept one."""
    kept: list[tuple[int, float]] = []
    for other, distance in ranked:
        if not any(overlap(windows[other], windows[i]) for i in [query, *(i for i, _ in kept)]):
            kept.append((other, distance))
        if len(kept) == k:
            break
    return kept


def overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two windows share a pixel of one image."""
    return (
        a["image_id"] == b["image_id"]
        and min(a["x1"], b["x1"]) > max(a["x0"], b["x0"])
        and min(a["y1"], b["y1"]) > max(a["y0"], b["y0"])
    )


def sliding_count(length: int, size: int, step: int) -> int:
    """Windows along one axis that cover it: every step, and one more flush with the far edge."""
    return -(-(length - size) // step) + 1
