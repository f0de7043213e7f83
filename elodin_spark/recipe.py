"""What a fingerprint depends on, and the hash that names it.

Vectors of two recipes never share a catalog: two runs with the same recipe and the same
files give the same cutouts and the same fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from elodin_spark.settings import Settings, Step


def make_recipe(settings: Settings, weights: str, weights_sha256: str) -> dict[str, Any]:
    """Collect what the fingerprints of a run depend on.

    Parameters
    ----------
    settings : Settings
    weights : str
        Name of the network weights, for people.
    weights_sha256 : str
        Hash of their content.

    Returns
    -------
    dict
        Nested plain values that survive JSON.
    """
    fingerprints = settings.fingerprints
    steps, colour = settings.images.steps, settings.images.colour
    return {
        "images": {
            "hdu": settings.images.hdu,
            "bands": settings.images.bands,
            "colour": colour and colour.model_dump(mode="json"),
            "steps": steps if steps == "auto" else [_full(step) for step in steps],
        },
        "cutouts": {
            "generator": settings.cutouts.generator.model_dump(mode="json"),
            "steps": [_full(step) for step in settings.cutouts.steps],
            "quality": settings.cutouts.quality.model_dump(mode="json"),
        },
        "fingerprints": {
            "backbone": fingerprints.backbone,
            "weights": weights,
            "weights_sha256": weights_sha256,
            "input_px": fingerprints.input_px,
            "top_labels": fingerprints.top_labels,
            "precision": "float32",
        },
    }


def recipe_id(recipe: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that name a recipe.

    The name of the weights does not count, their content does.
    """
    counted = json.loads(json.dumps(recipe))
    counted["fingerprints"].pop("weights")
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def recipe_differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """One line for each setting in which two recipes differ: ``key: ours, not theirs``."""
    left, right = _flat(ours), _flat(theirs)
    return [
        f"{key}: {left.get(key)!r}, not {right.get(key)!r}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _full(step: Step) -> dict[str, Any]:
    return {"type": step.type, "parameters": step.model().model_dump(mode="json")}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, below in value.items():
        flat.update(_flat(below, f"{prefix}.{key}" if prefix else key))
    return flat
