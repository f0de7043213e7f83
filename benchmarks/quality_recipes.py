"""From pictures to the vectors and label sets that are scored: networks, baselines, transforms."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.load import parse_settings
from elodin_spark.config.shipped import own_network
from elodin_spark.config.transform import AUTO_COPIES, AUTO_POWER, AUTO_TRANSFORM, TransformSettings
from elodin_spark.cutouts.texture import LENGTHS, texture
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.copies import learned_copy
from elodin_spark.fingerprints.labels import label_sets
from elodin_spark.fingerprints.resolve import resolve_network
from elodin_spark.fingerprints.runtimes.network import layer_lengths
from elodin_spark.fingerprints.stage import FingerprintSpec
from elodin_spark.fingerprints.transform import FEWEST, Copied, VectorTransform, shares
from elodin_spark.fingerprints.weights.resolve import resolve_weights
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.fingerprints.windows import resize_window
from elodin_spark.learning.labeled import Picture

Matrix = NDArray[np.float32]
Sets = list[NDArray[np.int32]]

BASELINES = ("pca", "haralick")
_PCA_COMPONENTS = 64
#: What a deviation is at least, of the largest: units that are zero almost everywhere stay small.
_SMALLEST_DEVIATION = 1e-3
#: Of ``whiten`` without a number.
_WHITEN_COMPONENTS = 256
_KMEANS_STEPS = 20


@dataclass(frozen=True)
class Recipe:
    """How pictures become vectors, and how these are compared.

    Attributes
    ----------
    source : str
        ``pca``, ``haralick``, or what ``fingerprints.weights`` takes.
    px : int
        Pictures are resized to this side.
    transform : str
        Steps joined by +, see :func:`fit_transform`.
    metric : {"l2", "cosine"}
    backbone, layer, augmentations : str
        Of networks, as in the settings.
    factor : float
        Of a network that is joined to another.
    joined : tuple of Recipe
        Further networks, as ``fingerprints.networks`` has them; of these transform and metric do not count.
    pool : {"avg"}
        Over rows and columns; all networks of the package end so.
    """

    source: str
    px: int = 64
    transform: str = "none"
    metric: str = "l2"
    backbone: str = "resnet50"
    layer: str | None = None
    pool: str = "avg"
    augmentations: str | None = None
    factor: float = 1.0
    joined: tuple[Recipe, ...] = ()

    @classmethod
    def parse(cls, text: str, px: int) -> Recipe:
        """``SOURCE`` or ``SOURCE:key=value,key=value``, several joined by &; a source may hold colons."""
        first, *others = (cls._parse(part, px) for part in text.split("&"))
        if others and any(part.source in BASELINES for part in (first, *others)):
            raise ConfigError(f"recipe {text}: networks alone are joined")
        return replace(first, joined=tuple(others))

    @classmethod
    def _parse(cls, text: str, px: int) -> Recipe:
        source, _, options = text.rpartition(":")
        if not re.fullmatch(r"[a-z]+=[^,=]+(,[a-z]+=[^,=]+)*", options):
            source, options = text, ""
        given: dict[str, Any] = dict(item.split("=") for item in options.split(",") if item)
        names = ("px", "transform", "metric", "backbone", "layer", "pool", "augmentations", "factor")
        if wrong := sorted(set(given) - set(names)):
            raise ConfigError(
                f"recipe {text}: there is no option {', '.join(wrong)}: choose of {', '.join(names)}"
            )
        if given.get("metric", "l2") not in ("l2", "cosine"):
            raise ConfigError(f"recipe {text}: metric is l2 or cosine")
        if given.get("pool", "avg") != "avg":
            raise ConfigError(f"recipe {text}: pool is avg, which is how all networks here end")
        if given.get("augmentations", "1") not in ("1", "4", "8"):
            raise ConfigError(f"recipe {text}: augmentations is 1, 4 or 8")
        if not str(given.get("px", px)).isdecimal():
            raise ConfigError(f"recipe {text}: px is a whole number")
        try:
            given["factor"] = float(given.get("factor", 1))
        except ValueError:
            raise ConfigError(f"recipe {text}: factor is a number") from None
        source = "random:0" if source == "random" else source
        if source not in BASELINES:
            given["backbone"] = own_network(source, given.get("backbone"))["backbone"]
        recipe = cls(source, **{**given, "px": int(given.get("px", px))})
        _steps(recipe.transform)
        return recipe

    @property
    def name(self) -> str:
        """Short, for tables: of a file its name alone."""
        title = self.source if self.source in BASELINES else self.source.rpartition("/")[2]
        factor = None if self.factor == 1 else f"{self.factor:g}"
        named = [factor, title, self.layer, self.augmentations and f"{self.augmentations} augmentations"]
        alone = " ".join(part for part in named if part)
        return " & ".join([alone, *(other.name for other in self.joined)])


def crossed(recipes: Sequence[Recipe], transforms: Sequence[str], metrics: Sequence[str]) -> list[Recipe]:
    """Each recipe of a network that names no transform with each of these, and so for metrics."""
    found = []
    for recipe in recipes:
        network = recipe.source not in BASELINES
        tried = transforms if network and recipe.transform == "none" else [recipe.transform]
        compared = metrics if network and recipe.metric == "l2" else [recipe.metric]
        found += [
            replace(recipe, transform=transform, metric=metric) for transform in tried for metric in compared
        ]
    return found


class Vectors:
    """Vectors of pictures before any transform, kept on disk by what they were made of.

    Parameters
    ----------
    cache : Path or None
    batch_size : int
        Of networks.
    threads : int
    """

    def __init__(self, cache: Path | None, batch_size: int = 32, threads: int = 1) -> None:
        self._cache, self._batch_size, self._threads = cache, batch_size, threads
        self._weights: dict[tuple[str, str], Weights] = {}

    def weights(self, recipe: Recipe) -> Weights | None:
        """Weights of a network, resolved once; None of what has none."""
        if recipe.source in BASELINES:
            return None
        key = (recipe.source, recipe.backbone)
        if key not in self._weights:
            self._weights[key] = resolve_weights(*key)
        return self._weights[key]

    def __call__(self, recipe: Recipe, pictures: Sequence[Picture]) -> tuple[Matrix, Matrix | None]:
        """Vectors, and probabilities of the classes where the network has a head.

        For ``pca`` the vectors are the pixels, 0 to 1: see :func:`fit_transform`.
        """
        if recipe.joined:
            found = [self(part, pictures) for part in (replace(recipe, joined=()), *recipe.joined)]
            classes = next((scores for _, scores in found if scores is not None), None)
            return np.hstack([vectors for vectors, _ in found]), classes
        pixels = np.stack([resize_window(picture, recipe.px) for picture in pictures])
        if recipe.source == "pca":
            return pixels.reshape(len(pixels), -1).astype(np.float32) / 255, None
        weights = self.weights(recipe)
        made_of: Sequence[object] = ("haralick", "1")
        if weights is not None:
            made_of = (weights.sha256, recipe.backbone, layer_of(recipe), turns_of(recipe))
        digest = hashlib.sha256(json.dumps([*made_of, pixels.shape]).encode())
        digest.update(pixels.data)
        kept = None if self._cache is None else self._cache / f"{digest.hexdigest()[:32]}.npz"
        if kept is not None and kept.exists():
            with np.load(kept, allow_pickle=False) as arrays:
                return arrays["vectors"], arrays.get("scores")
        vectors, scores = _haralick(pixels) if weights is None else self._network(recipe, weights, pixels)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            temporary = kept.with_name(f"{kept.stem}.{os.getpid()}.npz")
            np.savez(temporary, vectors=vectors, **({} if scores is None else {"scores": scores}))
            temporary.replace(kept)
        return vectors, scores

    def _network(
        self, recipe: Recipe, weights: Weights, pixels: NDArray[np.uint8]
    ) -> tuple[Matrix, Matrix | None]:
        network = {
            "weights": recipe.source,
            "backbone": recipe.backbone,
            "layer": layer_of(recipe),
            "augmentations": turns_of(recipe),
            "input_px": recipe.px,
            "precision": "f32",
            "batch_size": self._batch_size,
            "threads": self._threads,
        }
        settings = parse_settings({"images": {"paths": "."}, "fingerprints": network}).fingerprints
        return FingerprintSpec.from_network(resolve_network(settings, weights)).load(str)[0](pixels)


def _haralick(pixels: NDArray[np.uint8]) -> tuple[Matrix, None]:
    """Statistics of texture; zeros where a picture has one value."""
    nothing = np.zeros(LENGTHS["haralick"], np.float32)
    found = (texture(picture, "haralick") for picture in pixels)
    return np.stack([nothing if values is None else values for values in found]), None


@dataclass(frozen=True)
class LearnedCopies(Sequence[Picture]):
    """Copies that a transform learns from, of some pictures by their rows, each made when it is asked for."""

    pictures: Sequence[Picture]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return LearnedCopies(self.pictures, self.rows[at])
        row = int(self.rows[at])
        return learned_copy(self.pictures[row], row)


Steps = Callable[[Matrix], Matrix]


def learned_rows(count: int, found: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Rows of a set whose copies a transform learns from: others than are to be found, where there are."""
    others = np.setdiff1d(np.arange(count), found)
    some = others if len(others) >= FEWEST else np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(some)[:AUTO_COPIES])


def layer_of(recipe: Recipe) -> str | None:
    """The layer of a network whose output is its vector: the one named, or what its weights want."""
    return recipe.layer or own_network(recipe.source, recipe.backbone).get("layer")


def turns_of(recipe: Recipe) -> int:
    """Turns that are averaged: as named, or what the weights want."""
    return int(recipe.augmentations or own_network(recipe.source, recipe.backbone)["augmentations"])


def fit_transform(recipe: Recipe, vectors: Matrix, seed: int, copies: Copied | None = None) -> Steps:
    """What is done to all vectors before they are compared, fitted to a set without its labels.

    Steps, in the order they are joined by +: ``none``; ``standardize``: mean 0 and deviation 1 of each
    component; ``whitenD``: projected to the first D principal components (256), each then of deviation 1;
    ``power``: the square root of each component, with its sign; ``l2``: length 1. Or ``auto`` alone: what a
    new catalog does, which learns from `copies`, too. The pixels of ``pca`` are projected to 64 components
    before, and ``haralick`` standardized.
    """
    names = list(_steps(recipe.transform))
    if names == ["auto"]:
        learned = 0 if copies is None else AUTO_COPIES
        chosen = TransformSettings(transform=AUTO_TRANSFORM, power=AUTO_POWER, copies=learned, labels="units")
        networks = (recipe, *recipe.joined)
        lengths = [layer_lengths(each.backbone, layer_of(each)) for each in networks]
        parts = shares(lengths, [each.factor for each in networks])
        return VectorTransform.fit(vectors, chosen, seed, parts, copies).apply
    names = {"pca": ["pca64"], "haralick": ["standardize"]}.get(recipe.source, []) + names
    steps: list[Steps] = []
    for name in names:
        step = _fit(name, vectors, seed)
        vectors = step(vectors)
        steps.append(step)

    def apply(some: Matrix) -> Matrix:
        for step in steps:
            some = step(some)
        return some

    return apply


def _steps(transform: str) -> list[str]:
    steps = [step for step in transform.split("+") if step != "none"]
    if "auto" in steps and len(steps) > 1:
        raise ConfigError(f"transform {transform}: auto is a transform by itself")
    for step in steps:
        if not re.fullmatch(r"auto|standardize|power|l2|(whiten|pca)([1-9]\d*)?", step):
            raise ConfigError(
                f"transform {transform}: {step} is none of none, auto, standardize, whiten, whitenD, pcaD, "
                "power and l2"
            )
    return steps


def _fit(name: str, vectors: Matrix, seed: int) -> Steps:
    if name == "power":
        return lambda some: np.sign(some) * np.sqrt(np.abs(some))
    if name == "l2":
        return lambda some: some / np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-12)
    if name == "standardize":
        mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
        scale = np.maximum(deviation, _SMALLEST_DEVIATION * max(float(deviation.max()), 1e-12))
        return lambda some: ((some - mean) / scale).astype(np.float32)
    from sklearn.decomposition import PCA

    white = name.startswith("whiten")
    wanted = int(
        name.removeprefix("whiten").removeprefix("pca") or (_WHITEN_COMPONENTS if white else _PCA_COMPONENTS)
    )
    most = min(vectors.shape[1], (len(vectors) - 1))
    solver = "randomized" if vectors.shape[1] > 2048 else "full"
    fitted = PCA(min(wanted, most), whiten=white, svd_solver=solver, random_state=seed).fit(vectors)
    return lambda some: fitted.transform(some).astype(np.float32)


def units(values: Matrix, top: int) -> tuple[Sets, int]:
    """The largest components above zero of each vector, or the likeliest classes; and how many there are."""
    return label_sets(values, top)[0], values.shape[1]


def prototypes(vectors: Matrix, top: int, centers: int, seed: int) -> tuple[Sets, int]:
    """The nearest of some centers of k-means of the vectors, best first; and how many centers there are.

    At most a tenth as many centers as vectors, and two at least.
    """
    import faiss

    centers = max(2, min(centers, len(vectors) // 10))
    points = np.ascontiguousarray(vectors, np.float32)
    kmeans = faiss.Kmeans(
        points.shape[1],
        centers,
        niter=_KMEANS_STEPS,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    kmeans.train(points)
    return list(kmeans.index.search(points, min(top, centers))[1].astype(np.int32)), centers
