"""Principal components of the vectors of a catalog: fitted once, kept in a file, applied to each vector."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import CatalogError, ConfigError
from elodin_spark.stage import Locate

#: Rows that BLAS sees at once, always, and in float64: the answer for a vector must not depend on
#: how many others there are.
_ROWS = 32


@dataclass(frozen=True)
class PcaFile:
    """Where the fitted components of a catalog are.

    Attributes
    ----------
    path : str
        An ``.npz`` of `mean`, `components` and `variance_ratio`.
    sha256 : str
        Of the file.
    """

    path: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Pca:
    """A projection to the first principal components.

    Attributes
    ----------
    mean : ndarray of float32, shape (d_in,)
    components : ndarray of float32, shape (d, d_in)
        Orthonormal rows, the largest variance first; of each, the component of the largest size is
        positive.
    variance_ratio : ndarray of float64, shape (d,)
        Part of the variance of the sample along each.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variance_ratio: NDArray[np.float64]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], components: int) -> Pca:
        """Fit to a sample, by its exact singular values.

        Parameters
        ----------
        vectors : ndarray of float32, shape (n, d_in)
            In an order that is always the same: sums are rounded by it.
        components : int

        Raises
        ------
        ConfigError
            There are fewer vectors, or the vectors are shorter, than there are to be components.
        """
        count, length = vectors.shape
        if components > length:
            raise ConfigError(
                f"fingerprints.pca is {components} and the vectors of this network have {length} components: "
                "choose fewer"
            )
        if components > count:
            raise ConfigError(
                f"fingerprints.pca is {components} and only {count} windows were found to fit it to: choose "
                "fewer components, raise fingerprints.pca_sample, or set fingerprints.pca=null"
            )
        from sklearn.decomposition import PCA

        with np.errstate(invalid="ignore"):  # where the variance is 0
            fitted = PCA(components, svd_solver="full").fit(vectors.astype(np.float64))
        rows = fitted.components_
        largest = np.abs(rows).argmax(axis=1)
        rows = rows * np.where(rows[np.arange(components), largest] < 0, -1.0, 1.0)[:, None]
        # Of vectors that are all the same, nothing varies and nothing is explained.
        ratio = np.nan_to_num(fitted.explained_variance_ratio_)
        return cls(fitted.mean_.astype(np.float32), rows.astype(np.float32), ratio)

    @property
    def length(self) -> int:
        """Components of what is projected."""
        return self.mean.size

    def project(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project vectors, shape (n, d_in), to (n, d); each the same whatever the others.

        Raises
        ------
        CatalogError
            They are of another length.
        """
        if vectors.shape[1] != self.length:
            raise CatalogError(
                f"the stored principal components are of vectors of {self.length} components, and the "
                f"network gives {vectors.shape[1]}: use the settings this catalog was made with"
            )
        basis = self.components.astype(np.float64).T
        found = np.empty((len(vectors), len(self.components)), np.float32)
        for start in range(0, len(vectors), _ROWS):
            some = vectors[start : start + _ROWS]
            block = np.zeros((_ROWS, self.length))
            block[: len(some)] = some.astype(np.float64) - self.mean
            found[start : start + len(some)] = (block @ basis)[: len(some)]
        return found

    def save(self, folder: Path) -> PcaFile:
        """Write it, whole or not at all, under a name that holds its hash."""
        content = io.BytesIO()
        np.savez(
            content,
            mean=self.mean.astype("<f4"),
            components=self.components.astype("<f4"),
            variance_ratio=self.variance_ratio.astype("<f8"),
        )
        sha256 = hashlib.sha256(content.getvalue()).hexdigest()
        # The hash is in the name because Spark ships files of all catalogs to one folder.
        path = folder / f"pca-{sha256[:12]}.npz"
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as file:
            file.write(content.getvalue())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return PcaFile(str(path), sha256)


def load_pca(file: PcaFile | None, locate: Locate = str) -> Pca | None:
    """Read and check the components, once for each process; None where there are none.

    Parameters
    ----------
    file : PcaFile or None
    locate : callable, optional
        Maps the path on the driver to one on this machine.

    Raises
    ------
    CatalogError
        The file is missing, damaged or another one.
    """
    return None if file is None else _load(replace(file, path=locate(file.path)))


@lru_cache(maxsize=4)
def _load(file: PcaFile) -> Pca:
    advice = "the vectors of this catalog cannot be made without it: restore it, or begin another catalog"
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        raise CatalogError(
            f"the principal components {file.path} cannot be read ({error}); {advice}"
        ) from None
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise CatalogError(f"the principal components {file.path} are damaged or were replaced; {advice}")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return Pca(arrays["mean"], arrays["components"], arrays["variance_ratio"])
