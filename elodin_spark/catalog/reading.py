"""What a catalog holds, as it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from elodin_spark.arrow import to_matrix
from elodin_spark.catalog.build.crossmatch import PAIRS, UNMATCHED
from elodin_spark.catalog.build.label_sheets import examples_of
from elodin_spark.catalog.storage.rowfilter import among
from elodin_spark.catalog.storage.store import Store
from elodin_spark.catalog.storage.tombstones import Removed
from elodin_spark.errors import CatalogError, InputError
from elodin_spark.fingerprints.transform import load_finish
from elodin_spark.provenance import wants_finish
from elodin_spark.schema import CUTOUTS

if TYPE_CHECKING:
    from elodin_spark.learning.cutoutset import CutoutSet

_LABELS_SHOWN = 10


class Contents:
    """The tables and products of a catalog.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def removed(self) -> Removed:
        """What was taken out of it."""
        return self._store.removed

    @property
    def removed_file(self) -> Path | None:
        """Parquet file of the removed IDs, `kind` (cutout or image) and `id`; None where there are none."""
        return self._store.removed_file

    def parts(self, name: str) -> list[Path]:
        """Folders of Parquet files of a table, with the removed rows that are still in them.

        Parameters
        ----------
        name : {"images", "cutouts", "fingerprints", "failures"}

        Returns
        -------
        list of Path
            One for each batch of files.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> len(catalog.parts("cutouts"))
        1
        """
        return self._store.parts(name)

    def table(self, name: str) -> pa.Table:
        """A whole table, in memory: images, cutouts, fingerprints or failures.

        Parameters
        ----------
        name : {"images", "cutouts", "fingerprints", "failures"}

        Returns
        -------
        pyarrow.Table
            Without what was removed; its columns are those of :mod:`elodin_spark.schema`.

        Raises
        ------
        InputError
            There is no such table.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.table("cutouts").num_rows
        100
        """
        if name not in ("images", "cutouts", "fingerprints", "failures"):
            raise InputError(f"no table {name!r}; one of images, cutouts, fingerprints, failures")
        return self._store.dataset(name).to_table()

    @property
    def images(self) -> pa.Table:
        """The table of images, see :data:`elodin_spark.schema.IMAGES`; read anew each time."""
        return self.table("images")

    @property
    def cutouts(self) -> pa.Table:
        """The table of cutouts but for their thumbnails, see :data:`elodin_spark.schema.CUTOUTS`."""
        names = [name for name in CUTOUTS.names if name != "thumbnail"]
        return self._store.dataset("cutouts", names).to_table(columns=names)

    def vectors(
        self, cutout_ids: Sequence[int] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """IDs (ascending, int64) and vectors (float32, shape (n, d)) of all or some fingerprints.

        Parameters
        ----------
        cutout_ids : sequence of int, optional
            All by default; those that have no fingerprint are left out.

        Returns
        -------
        ids : ndarray of int64, shape (n,)
            Ascending.
        vectors : ndarray of float32, shape (n, d)

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> ids, vectors = catalog.vectors(catalog.cutout_ids()[:10])
        >>> ids.shape, len(vectors)
        ((10,), 10)
        """
        wanted = None
        if cutout_ids is not None:
            wanted = among("cutout_id", list(cutout_ids))
        dataset = self._store.dataset("fingerprints", ["vector"])
        found = dataset.to_table(columns=["cutout_id", "vector"], filter=wanted).sort_by("cutout_id")
        return found.column("cutout_id").to_numpy(), to_matrix(found.column("vector").combine_chunks())

    def finished(self, vectors: ArrayLike) -> NDArray[np.float32]:
        """The network's own vectors, from outside, as the catalog has those of its cutouts.

        Parameters
        ----------
        vectors : array_like of float, shape (n, d_in)
            Of the same network, layer and kind of window, such as the verb ``fingerprint`` gives.

        Returns
        -------
        ndarray of float32, shape (n, d)
            To ask with by :meth:`Query.from_vector <elodin_spark.catalog.search.query.Query.from_vector>`.

        Raises
        ------
        InputError
            They are no finite matrix.
        CatalogError
            They are of another length, or no run has fitted the finish yet.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.finished(np.ones((3, 2048))).dtype
        dtype('float32')
        """
        matrix = np.asarray(vectors)
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
            raise InputError(
                f"vectors to finish are finite numbers of shape (n, d), not {matrix.dtype} of {matrix.shape}"
            )
        finish = load_finish(self._store.finish)
        if finish is None and wants_finish(self._store.meta["recipe"]):
            raise CatalogError(f"the finish of {self.path} is not fitted yet: run it first")
        rows = matrix.astype(np.float32)
        return rows if finish is None else finish.apply(rows)

    def cutout_set(self, image: str | None = None) -> CutoutSet:
        """The cutouts as a set to learn from: not those that were removed, or rejected by a rule of quality.

        Parameters
        ----------
        image : str, optional
            ``thumbnail``, or ``pixels`` of a catalog that keeps them; those, where there are any, otherwise.

        Returns
        -------
        CutoutSet

        Raises
        ------
        CatalogError
            No run has cut anything yet.
        InputError
            It keeps no pixels, and these are asked for.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.cutout_set().image
        'thumbnail'
        """
        from elodin_spark.learning.cutoutset import CutoutSet  # here: it starts pandas

        parts = self.parts("cutouts")
        if not parts:
            raise CatalogError(f"{self.path} has no cutouts yet; run it first")
        found = CutoutSet.read(parts, image)
        return replace(found, without=self._store.removed.of("cutouts"), accepted=True).checked()

    def repeats(self) -> pa.Table:
        """Pairs of cutouts of one place in different images.

        Returns
        -------
        pyarrow.Table
            `id_a`, `id_b`, `sep_arcsec` (of the centers) and `dmjd` (between the exposures, d).

        Raises
        ------
        CatalogError
            ``run.repeats_arcsec`` was not set when it was run.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.repeats().column_names
        ['id_a', 'id_b', 'sep_arcsec', 'dmjd']
        """
        pairs = pq.read_table(self._store.product_file("repeats", PAIRS))
        gone = self._store.removed.cutouts
        return pairs.filter(~(among("id_a", gone) | among("id_b", gone)))

    def unmatched_positions(self) -> pa.Table:
        """Positions of the catalog that lie on no image.

        Returns
        -------
        pyarrow.Table
            `position_id`, `ra` and `dec` (ICRS, deg).

        Raises
        ------
        CatalogError
            No catalog of positions was cut.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.unmatched_positions()
        Traceback (most recent call last):
        elodin_spark.errors.CatalogError: ...
        """
        return pq.read_table(self._store.product_file("positions", UNMATCHED))

    def figures(self) -> list[Path]:
        """The figures the last run drew.

        Returns
        -------
        list of Path
            PNG files, by name.

        Raises
        ------
        CatalogError
            No run has drawn any.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> "sky.png" in [path.name for path in catalog.figures()]
        True
        """
        return sorted(self._store.product_file("figures", "").glob("*.png"))

    def label_sheet(self) -> Path | None:
        """The figure of what labels without a name look like; None where no run has drawn one.

        Returns
        -------
        Path or None

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.label_sheet().suffix
        '.png'
        """
        if self._store.product("figures") is None:
            return None
        sheet = self._store.product_folder("figures") / f"{self._store.labels}.png"
        return sheet if sheet.exists() else None

    def label_examples(self) -> dict[str, list[int]]:
        """Cutouts that show each label without a name best, best first; empty where labels have names.

        Returns
        -------
        dict of str to list of int
            Label to cutout IDs.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> examples = catalog.label_examples()
        >>> all(len(ids) > 0 for ids in examples.values())
        True
        """
        return {self._store.label_name(label): ids for label, ids in examples_of(self._store).items()}

    def describe(self) -> str:
        """One line for figures and outputs: backbone, weights, recipe.

        Returns
        -------
        str

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> print(catalog.describe())
        ResNet50... recipe ...
        """
        return self._store.describe()

    def check(self) -> None:
        """Read every byte of its files, and compare them with what was written.

        Raises
        ------
        CatalogError
            Something is damaged, missing, or not of the catalog: all of it is named, each with its remedy.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> catalog.check()
        """
        if damages := list(dict.fromkeys(self._store.damages())):
            raise CatalogError("\n".join(damages))

    def info(self) -> dict[str, Any]:
        """Tables, counts, recipe, timings, failures and disk use, as plain values.

        Returns
        -------
        dict
            What ``elodin-spark info --json`` prints.

        Examples
        --------
        >>> from elodin_spark import Catalog
        >>> catalog = Catalog.open("runs/mine")
        >>> info = catalog.info()
        >>> info["files"], info["tables"]["cutouts"]["rows"], info["failures"]
        (4, 100, [])
        """
        from elodin_spark.catalog.report import gather

        return gather(self._store)

    @cached_property
    def _image_paths(self) -> dict[int, str]:
        images = self._store.dataset("images", ["path"]).to_table(columns=["image_id", "path"])
        return dict(zip(*(column.to_pylist() for column in images.columns), strict=True))

    def _labels_of(self, ids: NDArray[np.int64]) -> dict[int, list[str]]:
        found = self._store.dataset("fingerprints", ["labels"]).to_table(
            columns=["cutout_id", "labels"], filter=among("cutout_id", ids)
        )
        named: dict[int, list[str]] = {int(i): [] for i in ids}
        for row in found.to_pylist():
            named[row["cutout_id"]] = [
                self._store.label_name(label) for label in row["labels"][:_LABELS_SHOWN]
            ]
        return named
