"""The transform of a vector: fitted once to a catalog, kept in a file, applied to each vector.

What happens to the network's vector x of d_in components, in this order, each step where it is asked for:

1. ``standardize``: the mean of the sample is taken off, and each component is divided by its standard
   deviation; where several layers are joined, each then counts as much as another, whatever its length,
   and where several networks are, each as much as another times its factor;
2. ``power``: the signed power of each component, ``sign(x) |x|**power``;
3. ``copies``: along the directions in which copies of windows (noisy, blurred, shifted, lit) move away from
   these, the vector is shortened: where copies vary by w and the sample by t, by ``1 / sqrt(1 + 2 w / t)``
   (within-class covariance normalization, Hatch et al. 2006, softened, and of the
   :data:`DIRECTIONS` directions that copies vary most along);
4. ``pca``: what is left is projected to its first principal components;
5. ``whiten``: each of these is divided by its standard deviation (PCA whitening), that before step 3, which
   would else be undone.

Standard deviations are those of the population (divided by n). Two things keep a small divisor from
blowing up what hardly varied in the sample: no deviation counts as less than a part of the root mean
square of all (:data:`FLOOR`, :data:`FLOOR_WHITENED`), as units that were dead in the sample may fire
elsewhere; and for fewer than :data:`FEWEST` vectors the variances are drawn towards their mean, by
``1 - n / FEWEST``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.transform import TransformSettings
from elodin_spark.diskfiles import replacing
from elodin_spark.errors import CatalogError, ConfigError
from elodin_spark.fingerprints.prototypes import ROWS, Prototypes
from elodin_spark.stage import Locate

#: Least standard deviation of a component, as part of the root mean square of all.
FLOOR = 0.1
#: The same of a principal component, among those that are kept.
FLOOR_WHITENED = 1e-3
#: Below so many vectors, their variances are shrunk towards the mean, and no copies are learned from.
FEWEST = 32
#: Directions that copies move along, at most, and how much their variance counts there.
DIRECTIONS, COPIES_COUNT = 64, 2.0
#: What is kept of a vector along a direction at least: what does not vary in the sample may do so elsewhere.
LEAST_KEPT = 0.1

_FLOATS = ("center", "scale", "directions", "kept", "mean", "components")


@dataclass(frozen=True)
class TransformFile:
    """Where the fitted transform of a catalog is.

    Attributes
    ----------
    path : str
        An ``.npz`` of plain arrays.
    sha256 : str
        Of the file.
    """

    path: str
    sha256: str


class Copied(NamedTuple):
    """Vectors of copies of some windows of a sample.

    Attributes
    ----------
    rows : ndarray of int64, shape (m,)
        Of the windows in the sample.
    vectors : ndarray of float32, shape (m, d_in)
        What the network makes of the copy of each.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class VectorTransform:
    """What is made of the network's vectors.

    Attributes
    ----------
    length : int
        Components d_in of what is finished.
    center, scale : ndarray of float32, shape (d_in,), optional
        What is taken off first, and divided by.
    power : float
        What it is raised to then, with its sign.
    directions : ndarray of float32, shape (r, d_in), optional
        Orthonormal rows, along which copies of windows move.
    kept : ndarray of float32, shape (r,), optional
        What is kept of a vector along each, 0 to 1.
    mean : ndarray of float32, shape (d_in,), optional
    components : ndarray of float32, shape (d, d_in), optional
        What it is projected to then, the mean taken off: orthonormal rows, the largest variance first, of
        each of which the component of the largest size is positive. To whiten, they are divided by the
        standard deviation.
    variance_ratio : ndarray of float64, shape (d,)
        Part of the variance of the sample along each; empty without components.
    prototypes : Prototypes, optional
        Of transformed vectors: their label sets.
    """

    length: int
    center: NDArray[np.float32] | None = None
    scale: NDArray[np.float32] | None = None
    power: float = 1.0
    directions: NDArray[np.float32] | None = None
    kept: NDArray[np.float32] | None = None
    mean: NDArray[np.float32] | None = None
    components: NDArray[np.float32] | None = None
    variance_ratio: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    prototypes: Prototypes | None = None

    @classmethod
    def fit(
        cls,
        vectors: NDArray[np.float32],
        settings: TransformSettings,
        seed: int = 0,
        parts: Sequence[tuple[int, float]] | None = None,
        copies: Copied | None = None,
    ) -> VectorTransform:
        """Fit to a sample, exactly.

        Parameters
        ----------
        vectors : ndarray of float32, shape (n, d_in)
            In an order that is always the same: sums are rounded by it.
        settings : TransformSettings
            Settled: ``auto`` is none.
        seed : int, optional
            Of the prototypes.
        parts : sequence of (int, float), optional
            Of each layer that is joined in the vectors its length and its share of the squared distances,
            see :func:`shares`; one layer by default.
        copies : Copied, optional
            Vectors of copies of some of the windows, where `settings` has any.

        Raises
        ------
        ConfigError
            There are no vectors, or fewer, or shorter ones, than there are to be components.
        """
        count, length = vectors.shape
        if not count:
            raise ConfigError(
                "only 0 windows were found to fit the transform of the vectors to: run the stage cutouts "
                "alone, and see in 'elodin-spark info CATALOG' why"
            )
        values, fitted = vectors.astype(np.float64), cls(length, power=settings.exponent)
        if settings.transform == "standardize":
            center = values.mean(axis=0)
            scale = _deviations_of_parts(
                values.var(axis=0), count, parts or ((length, 1.0),), settings.exponent
            )
            values = (values - center) / scale
            fitted = replace(fitted, center=center.astype(np.float32), scale=scale.astype(np.float32))
        values = _raised(values, settings.exponent)
        plain = values
        if settings.copies and copies is not None and len(copies.rows) and count >= FEWEST:
            fitted = fitted._bearing(values, copies)
            values = fitted._shortened(values)
        if settings.components is not None:
            mean = values.mean(axis=0)
            rows, variances, ratio = _components(values - mean, settings)
            if settings.transform == "whiten":
                if fitted.directions is not None:
                    variances = ((plain - plain.mean(axis=0)) @ rows.T).var(axis=0)
                rows /= _deviations(variances, count, FLOOR_WHITENED)[:, None]
            fitted = replace(
                fitted,
                mean=mean.astype(np.float32),
                components=rows.astype(np.float32),
                variance_ratio=ratio,
            )
        if settings.labels != "prototypes":
            return fitted
        return replace(fitted, prototypes=Prototypes.fit(fitted.apply(vectors), settings.prototypes, seed))

    def _bearing(self, values: NDArray[np.float64], copies: Copied) -> VectorTransform:
        """With the directions in which copies differ from their windows, after the power."""
        moved = self._begun(copies.vectors.astype(np.float64)) - values[copies.rows]
        _, lengths, rows = np.linalg.svd(moved, full_matrices=False)
        rows = rows[: min(DIRECTIONS, int((lengths > 1e-6 * max(lengths[0], 1e-300)).sum()))]
        within = lengths[: len(rows)] ** 2 / len(moved)
        total = (values @ rows.T).var(axis=0)
        kept = np.sqrt(total / np.maximum(total + COPIES_COUNT * within, 1e-300)).clip(LEAST_KEPT)
        return replace(self, directions=rows.astype(np.float32), kept=kept.astype(np.float32))

    def _begun(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardized and raised."""
        if self.center is not None and self.scale is not None:
            values = (values - self.center) / self.scale
        return _raised(values, self.power)

    def _shortened(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Along the directions of copies."""
        if self.directions is None or self.kept is None:
            return values
        rows = self.directions.astype(np.float64)
        return values - ((values @ rows.T) * (1 - self.kept)) @ rows

    @property
    def dimension(self) -> int:
        """Components of a finished vector."""
        return self.length if self.components is None else len(self.components)

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """VectorTransform vectors, shape (n, d_in) to (n, d); each the same whatever the others.

        What is too large for float32 in the end is infinite.

        Raises
        ------
        CatalogError
            They are of another length.
        """
        if vectors.shape[1] != self.length:
            raise CatalogError(
                f"the transform of this catalog is fitted to vectors of {self.length} components, and the "
                f"network gives {vectors.shape[1]}: use the settings this catalog was made with"
            )
        basis = None if self.components is None else self.components.astype(np.float64).T
        found = np.empty((len(vectors), self.dimension), np.float32)
        for start in range(0, len(vectors), ROWS):
            some = vectors[start : start + ROWS]
            block = np.zeros((ROWS, self.length))
            block[: len(some)] = some
            block = self._shortened(self._begun(block))
            if basis is not None and self.mean is not None:
                block = (block - self.mean) @ basis
            with np.errstate(over="ignore"):
                found[start : start + len(some)] = block[: len(some)]
        return found

    def save(self, folder: Path) -> TransformFile:
        """Write it, whole or not at all, under a name that holds its hash."""
        arrays = {
            "length": np.array(self.length, "<i8"),
            "power": np.array(self.power, "<f8"),
            "variance_ratio": self.variance_ratio.astype("<f8"),
        }
        for name in _FLOATS:
            if (array := getattr(self, name)) is not None:
                arrays[name] = array.astype("<f4")
        if self.prototypes is not None:
            arrays["prototypes"] = self.prototypes.centers.astype("<f4")
            arrays["prototype_scale"] = np.array(self.prototypes.scale, "<f8")
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for flags
        sha256 = hashlib.sha256(content.getvalue()).hexdigest()
        # The hash is in the name because Spark ships files of all catalogs to one folder.
        path = folder / f"transform-{sha256[:12]}.npz"
        with replacing(path) as temporary:
            temporary.write_bytes(content.getvalue())
        return TransformFile(str(path), sha256)


def load_transform(file: TransformFile | None, locate: Locate = str) -> VectorTransform | None:
    """Read and check a transform, once for each process; None where there is none.

    Parameters
    ----------
    file : TransformFile or None
        From :meth:`VectorTransform.save`.
    locate : callable, optional
        Maps the path on the driver to one on this machine.

    Raises
    ------
    CatalogError
        The file is missing, damaged or another one.
    """
    return None if file is None else _load(replace(file, path=locate(file.path)))


@lru_cache(maxsize=4)
def _load(file: TransformFile) -> VectorTransform:
    advice = "the vectors of this catalog cannot be made without it: restore it, or begin another catalog"
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise CatalogError(
            f"the transform of the vectors {file.path} cannot be read ({error}); {advice}"
        ) from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise CatalogError(f"the transform of the vectors {file.path} is damaged or was replaced; {advice}")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    centers = arrays.get("prototypes")
    return VectorTransform(
        int(arrays["length"]),
        power=float(arrays["power"]),
        variance_ratio=arrays["variance_ratio"],
        prototypes=None if centers is None else Prototypes(centers, float(arrays["prototype_scale"])),
        **{name: arrays.get(name) for name in _FLOATS},
    )


def few_windows(transform: str, count: int) -> str | None:
    """What is to be said where vectors are standardized by fewer than :data:`FEWEST`, but the remedy."""
    if transform != "standardize" or count >= FEWEST:
        return None
    return (
        f"the vectors are standardized by {count} windows: the variances of fewer than {FEWEST} are drawn "
        "towards their mean"
    )


def _raised(values: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Signed power."""
    if power == 1:
        return values
    sizes = np.sqrt(np.abs(values)) if power == 0.5 else np.abs(values) ** power
    return np.copysign(sizes, values)


def _deviations(variances: NDArray[np.float64], count: int, floor: float) -> NDArray[np.float64]:
    """Standard deviations to divide by, of variances of `count` vectors; 1 where nothing varies."""
    mean = float(variances.mean())
    if mean <= 0:
        return np.ones(variances.shape)
    shrink = max(0.0, 1 - count / FEWEST)
    return np.sqrt(np.maximum((1 - shrink) * variances + shrink * mean, floor**2 * mean))


def shares(
    lengths: Sequence[Sequence[int]], factors: Sequence[float] | None = None
) -> list[tuple[int, float]]:
    """What part of a squared distance each layer of each network makes up, on the average.

    The layers of a network count alike, and so do networks, whose vectors are then multiplied by their
    factors.

    Parameters
    ----------
    lengths : sequence of sequence of int
        Of the layers of each network.
    factors : sequence of float, optional
        Of each network; 1 by default.

    Returns
    -------
    list of (int, float)
        Length and share of each layer, in their order; the shares sum to 1.

    Examples
    --------
    >>> shares([(1024, 2048)])
    [(1024, 0.5), (2048, 0.5)]
    >>> shares([(2048,), (1280,)], [1.0, 0.5])
    [(2048, 0.8), (1280, 0.2)]
    """
    squares = [factor**2 for factor in factors or [1.0] * len(lengths)]
    return [
        (length, square / sum(squares) / len(layers))
        for layers, square in zip(lengths, squares, strict=True)
        for length in layers
    ]


def _deviations_of_parts(
    variances: NDArray[np.float64], count: int, parts: Sequence[tuple[int, float]], power: float
) -> NDArray[np.float64]:
    """Standard deviations of joined layers, enlarged so that each has its share after the power.

    A squared distance of n components, each of variance 1 and raised then, is about n times one of them.
    """
    ends = np.cumsum([length for length, _ in parts])[:-1]
    scales = [
        _deviations(some, count, FLOOR) / (len(variances) / (length / share)) ** (0.5 / power)
        for some, (length, share) in zip(np.split(variances, ends), parts, strict=True)
    ]
    return np.concatenate(scales)


def _components(
    centerd: NDArray[np.float64], settings: TransformSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Principal components as rows, the variances along them, and their parts of the whole."""
    count, length = centerd.shape
    wanted = settings.pca
    if wanted is None:  # whiten without a number: half as many as windows, and no more than is asked for
        wanted = min(settings.components or length, length, max(1, count // 2))
    elif wanted > length:
        raise ConfigError(
            f"fingerprints.pca is {wanted} and the vectors of this network have {length} components: "
            "choose fewer"
        )
    elif wanted > count:
        raise ConfigError(
            f"fingerprints.pca is {wanted} and only {count} windows were found to fit it to: choose "
            "fewer components, raise fingerprints.pca_sample, or set fingerprints.pca=null"
        )
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # where the variance is 0
        fitted = PCA(wanted, svd_solver="full").fit(centerd)
    rows = fitted.components_
    largest = np.abs(rows).argmax(axis=1)
    rows = rows * np.where(rows[np.arange(wanted), largest] < 0, -1.0, 1.0)[:, None]
    # Of vectors that are all the same, nothing varies and nothing is explained.
    ratio = np.nan_to_num(fitted.explained_variance_ratio_)
    return rows, np.nan_to_num(np.square(fitted.singular_values_) / count), ratio
