"""What a fingerprint depends on, and the hash that names it.

Vectors of two recipes never share a catalog: two runs with the same recipe and the same
files give the same cutouts and the same fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from elodin_spark.config.settings import FingerprintsSettings, Precision, Settings, Step
from elodin_spark.config.transform import LabelsKind

#: What recipes call them.
PRECISIONS: dict[Precision, str] = {"f32": "float32", "bf16": "bfloat16", "int8": "int8"}


def make_recipe(
    settings: Settings,
    weights: str,
    weights_sha256: str,
    runtime: str | None = None,
    model_sha256: str | None = None,
    transform_sha256: str | None = None,
    units: bool = False,
    joined: Sequence[tuple[str, str, str | None]] = (),
) -> dict[str, Any]:
    """Collect what the fingerprints of a run depend on.

    Parameters
    ----------
    settings : Settings
    weights : str
        Name of the network weights, for people.
    weights_sha256 : str
        Hash of their content.
    runtime : str, optional
        What runs the network, ``auto`` resolved; needed for a precision other than f32.
    model_sha256 : str, optional
        Hash of the quantized network, for int8.
    transform_sha256 : str, optional
        Hash of the fitted transform; None before it is fitted.
    units : bool, optional
        Labels are units of the vector though the network has a head.
    joined : sequence of (str, str, str or None), optional
        Of each further network the name and the hash of its weights, and the hash of it quantized.

    Returns
    -------
    dict
        Nested plain values that survive JSON.
    """
    fingerprints = settings.fingerprints
    steps, color = settings.images.steps, settings.images.color
    return {
        "images": {
            "hdu": settings.images.hdu,
            "bands": settings.images.bands,
            "color": color and color.model_dump(mode="json"),
            "steps": steps if steps == "auto" else [_full(step) for step in steps],
        },
        "cutouts": {
            "generator": settings.cutouts.generator.model_dump(mode="json"),
            "steps": [_full(step) for step in settings.cutouts.steps],
            "quality": settings.cutouts.quality.model_dump(mode="json"),
            "texture": list(settings.cutouts.texture),
        },
        "fingerprints": {
            "backbone": fingerprints.backbone,
            "weights": weights,
            "weights_sha256": weights_sha256,
            **_input(fingerprints),
            **_layer(fingerprints.layer, fingerprints.augmentations),
            "top_labels": fingerprints.top_labels,
            **_arithmetic(fingerprints.arithmetic, runtime, model_sha256),
            **_joined(fingerprints, joined),
            **({"labels": "units"} if units else {}),
            **_stored(settings, transform_sha256),
        },
    }


def _joined(settings: FingerprintsSettings, joined: Sequence[tuple[str, str, str | None]]) -> dict[str, Any]:
    """The further networks; nothing where there is one."""
    found = [
        {
            "backbone": network.backbone,
            "weights": weights,
            "weights_sha256": sha256,
            "input_px": network.input_px,
            **_layer(network.layer, network.augmentations),
            "factor": network.factor,
            **({} if quantized is None else {"model_sha256": quantized}),
        }
        for network, (weights, sha256, quantized) in zip(settings.networks, joined, strict=True)
    ]
    return {"networks": found} if found else {}


def _input(settings: FingerprintsSettings) -> dict[str, Any]:
    """What the network sees: resized windows, or blocks of the image."""
    if settings.mode == "window":
        return {"input_px": settings.input_px}
    return {"mode": settings.mode, "block_px": settings.block_px, "halo_px": settings.halo_px}


def _stored(settings: Settings, transform_sha256: str | None) -> dict[str, Any]:
    """What is made of the network's vector before it is written; nothing where it is written as it is."""
    chosen = settings.fingerprints
    stored: dict[str, Any] = {} if chosen.storage == "float32" else {"storage": chosen.storage}
    if not chosen.fitted:
        return stored
    fitted = {"sample": chosen.pca_sample, "seed": settings.seed, "sha256": transform_sha256}
    transform = "none" if chosen.transform == "auto" else chosen.transform
    prototypes = chosen.prototypes if chosen.labels == "prototypes" else None
    how = {
        "kind": transform,
        "power": chosen.exponent,
        "components": chosen.components,
        "prototypes": prototypes,
        **({"copies": chosen.copies} if chosen.copies else {}),
    }
    return stored | {"transform": {**how, **fitted}}


def transform_of(recipe: dict[str, Any]) -> dict[str, Any]:
    """How vectors are transformed: `kind`, `power`, `copies`, `components` and `prototypes` (or None)."""
    stored = recipe["fingerprints"]
    plain = {"kind": "none", "power": 1.0, "copies": 0, "components": None, "prototypes": None}
    return plain | stored.get("transform", {})


def labels_of(recipe: dict[str, Any], classes: int | None) -> LabelsKind:
    """What the labels of a recipe are.

    Parameters
    ----------
    recipe : dict
    classes : int or None
        Length of the head of its weights; None without one.
    """
    if transform_of(recipe)["prototypes"] is not None:
        return "prototypes"
    return "units" if classes is None or "labels" in recipe["fingerprints"] else "classes"


def settled_of(recipe: dict[str, Any], classes: int | None) -> dict[str, Any]:
    """Settings of the section ``fingerprints`` that may be left open, as a recipe has settled them.

    Parameters
    ----------
    recipe, classes
        As of :func:`labels_of`.

    Returns
    -------
    dict
        `transform`, `power`, `copies`, `labels` and `precision`.
    """
    transform = transform_of(recipe)
    held = recipe["fingerprints"].get("precision", PRECISIONS["f32"])
    return {
        "transform": transform["kind"],
        "power": transform["power"],
        "copies": transform["copies"],
        "labels": labels_of(recipe, classes),
        "precision": next(name for name, long in PRECISIONS.items() if long == held),
    }


def wants_transform(recipe: dict[str, Any]) -> bool:
    """Whether vectors of a recipe are transformed by what is fitted to their archive."""
    return "transform" in recipe["fingerprints"]


def with_transform(recipe: dict[str, Any], sha256: str) -> dict[str, Any]:
    """A recipe whose transform is fitted, and has this hash."""
    fitted: dict[str, Any] = json.loads(json.dumps(recipe))
    fitted["fingerprints"]["transform"]["sha256"] = sha256
    return fitted


def without_runtime(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what the machine adds to the settings: the runtime and the quantized networks."""
    asked: dict[str, Any] = json.loads(json.dumps(recipe))
    for network in (asked["fingerprints"], *asked["fingerprints"].get("networks", ())):
        network.pop("runtime", None)
        network.pop("model_sha256", None)
    return asked


def network_id(
    weights_sha256: str,
    precision: Precision,
    runtime: str | None = None,
    model_sha256: str | None = None,
    layer: str | None = None,
    augmentations: int = 1,
) -> str:
    """Twelve hexadecimal digits that name a network, its layer, its arithmetic and how it looks."""
    if precision == "f32" and layer is None and augmentations == 1:
        return weights_sha256[:12]
    arithmetic = _arithmetic(precision, runtime, model_sha256)
    text = json.dumps([weights_sha256, arithmetic | _layer(layer, augmentations)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def joined_id(names: Sequence[str], factors: Sequence[float]) -> str:
    """Twelve hexadecimal digits that name several networks joined, by their own names and factors."""
    return hashlib.sha256(json.dumps([list(names), list(factors)]).encode()).hexdigest()[:12]


def _layer(layer: str | None, augmentations: int) -> dict[str, Any]:
    # Nothing of the plain case.
    named: dict[str, Any] = {} if layer is None else {"layer": layer}
    return named if augmentations == 1 else named | {"augmentations": augmentations}


def _arithmetic(precision: Precision, runtime: str | None, model_sha256: str | None) -> dict[str, Any]:
    """What of the arithmetic changes a vector by more than about 1e-4.

    In float32 all runtimes agree to that; below it each rounds in places of its own, and a
    quantized network depends on the windows it was calibrated with.
    """
    if precision == "f32":
        return {"precision": PRECISIONS[precision]}
    if runtime in (None, "auto") or (precision == "int8" and model_sha256 is None):
        raise ValueError(f"a recipe in {precision} needs the runtime and, for int8, the quantized network")
    model = {} if precision == "bf16" else {"model_sha256": model_sha256}
    return {"precision": PRECISIONS[precision], "runtime": runtime, **model}


def recipe_id(recipe: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that name a recipe.

    The name of the weights does not count, their content does.
    """
    counted = json.loads(json.dumps(recipe))
    for network in (counted["fingerprints"], *counted["fingerprints"].get("networks", ())):
        network.pop("weights")
    text = json.dumps(counted, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def recipe_differences(ours: Any, theirs: Any, key: str = "") -> list[str]:
    """One line for each setting in which two recipes differ: ``key: ours, not theirs``.

    Entries of a list are told one by one, by their places from 0.
    """
    if ours == theirs:
        return []
    below: list[tuple[Any, Any, Any]] | None = None
    if _is_each(dict, ours, theirs):
        mine, other = ours or {}, theirs or {}
        below = [(name, mine.get(name), other.get(name)) for name in sorted(mine.keys() | other.keys())]
    elif _is_each(list, ours, theirs) and _is_each(dict, *(ours or ()), *(theirs or ())):
        below = [(at, *pair) for at, pair in enumerate(zip_longest(ours or (), theirs or ()))]
    if not below or (_is_entry(key) and None in (ours, theirs)):
        return [f"{key}: {_told(ours)}, not {_told(theirs)}"]
    prefix = f"{key}." if key else ""
    return [
        line for name, left, right in below for line in recipe_differences(left, right, f"{prefix}{name}")
    ]


def _told(value: Any) -> str:
    """A value of a recipe, which may have none."""
    return "none" if value is None else repr(value)


def _is_each(kind: type, *values: Any) -> bool:
    """Whether values that are there are of a kind, and any is."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, kind) for value in there)


def _is_entry(key: str) -> bool:
    """Whether a dotted key names an entry of a list, which is told whole where only one recipe has it."""
    return key.rpartition(".")[2].isdecimal()


def _full(step: Step) -> dict[str, Any]:
    return {"type": step.type, "parameters": step.model().model_dump(mode="json")}
