"""The folder of a catalog: what is written, what counts as done, and who may write.

    CATALOG/
      catalog.json            format, recipe, archive root
      config.yaml             the settings of the last run
      finish-<hash>.npz       what is made of the network's vectors, where it is fitted (once pca-<hash>.npz)
      commits/000000.json     one per batch of files: written last, it says the batch is done
      removed.parquet         IDs taken out, where there are any
      tables/<table>/000000-<token>/*.parquet
      products/index.json     likewise for what is made from the tables:
      products/index-<token>/ indices, maps, figures

Every attempt writes to folders with a fresh token, and only a folder named in a commit
counts, so whatever a killed run left behind is never read and is swept by the next one.
The folder must be on a file system that the driver and all executors share.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from elodin_spark import schema
from elodin_spark.catalog.lock import locked
from elodin_spark.catalog.removed import Removed, read_removed
from elodin_spark.config import dump_settings
from elodin_spark.errors import CatalogError
from elodin_spark.fingerprints.finish import Finish, FinishFile
from elodin_spark.fingerprints.weights import Weights
from elodin_spark.recipe import labels_of, recipe_id, settled_of, with_finish
from elodin_spark.settings import Settings
from elodin_spark.settings.finish import LabelsKind
from elodin_spark.vectors import with_storage

FORMAT = 1

#: Of a catalog that is begun.
_FOLDERS = ("commits", "tables", "products")
#: Files that are written before ``catalog.json``, which makes a folder a catalog.
_MADE_FIRST = {"config.yaml", "catalog.json.tmp"}

_LABEL_WORDS = {"classes": "class", "units": "unit", "prototypes": "prototype"}


@dataclass(frozen=True)
class Commit:
    """One batch of files whose rows are all written.

    Attributes
    ----------
    batch : int
    files : tuple of str
        Paths below the archive root, in order.
    tables : dict of str to list of str
        Table name to the folders, below the catalog, that hold this batch's rows.
    rows : dict of str to int
        Table name to number of rows.
    seconds : dict of str to float
        Stage to wall time.
    runtime : str
        What ran the network for the fingerprints; empty before them.
    made_as : dict of str to list of str
        Of the tables that were rewritten without removed rows: the folders they had before, in the same
        order. Products know a part by the name it was made with.
    """

    batch: int
    files: tuple[str, ...]
    tables: dict[str, list[str]]
    rows: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    runtime: str = ""
    made_as: dict[str, list[str]] = field(default_factory=dict)

    def identities(self, table: str) -> list[str]:
        """Names by which products know the parts of a table."""
        return self.made_as.get(table) or self.tables.get(table, [])


class Store:
    """Reads and writes the folder of one catalog; knows nothing of Spark.

    Parameters
    ----------
    path : Path
        An existing catalog; :meth:`create` makes a new one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.meta: dict[str, Any] = {}
        self._mended = False
        self.refresh()

    def refresh(self) -> None:
        """Read ``catalog.json`` again: another run may have fitted the finish since."""
        try:
            meta = json.loads((self.path / "catalog.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CatalogError(
                f"{self.path} holds no catalog; make one with 'elodin-spark run CONFIG.yaml'"
            ) from None
        except (OSError, ValueError) as error:
            raise CatalogError(f"{self.path / 'catalog.json'} cannot be read: {error}") from None
        if meta.get("format") != FORMAT:
            raise CatalogError(
                f"{self.path} has catalog format {meta.get('format')!r} and this version reads {FORMAT}; "
                "use the version that wrote it"
            )
        # Catalogs were written that name their labels twice, here and, rightly, by their recipe.
        self._mended = meta.pop("labels", None) is not None
        self.meta = meta

    @classmethod
    def create(
        cls,
        path: str | Path,
        settings: Settings,
        recipe: dict[str, Any],
        weights: Weights,
        root: str,
        runtime: str | None = None,
        precision: dict[str, Any] | None = None,
    ) -> Store:
        """Make an empty catalog.

        Parameters
        ----------
        path : str or Path
            A folder that does not exist or is empty.
        settings : Settings
        recipe : dict
            See :mod:`elodin_spark.recipe`.
        weights : Weights
            The names of classes are kept, so that a query needs no network.
        root : str
            Archive root that the paths of images are relative to.
        runtime : str, optional
            What runs the network, so that another machine goes on with it.
        precision : dict, optional
            What was measured of the precisions, see :class:`~elodin_spark.fingerprints.precision.Gate`.

        Raises
        ------
        CatalogError
            `path` holds a catalog already, or anything else.
        """
        path = Path(path)
        if (path / "catalog.json").exists():
            raise CatalogError(f"{path} already holds a catalog; open it, or choose another folder")
        if path.exists() and (not path.is_dir() or not _is_half_made(path)):
            raise CatalogError(
                f"{path} exists and is not an empty folder; choose another place for the catalog"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogError(f"the folder {path} cannot be made: {error}") from None
        head = labels_of(recipe, weights.classes) == "classes"
        meta = {
            "format": FORMAT,
            "recipe_id": recipe_id(recipe),
            "recipe": recipe,
            "network": weights.describe(),
            "classes": weights.classes if head else None,
            "label_names": weights.label_names if head else None,
            "root": root,
            "runtime": runtime,
            "precision": precision,
        }
        with locked(path):
            if (path / "catalog.json").exists():
                raise CatalogError(f"another run has just made a catalog in {path}: run again, to take it up")
            for name in _FOLDERS:
                (path / name).mkdir(exist_ok=True)
            (path / "config.yaml").write_text(dump_settings(settings), encoding="utf-8")
            write_json(path / "catalog.json", meta)
        return cls(path)

    def describe(self) -> str:
        """One line for figures and outputs: backbone, weights, recipe."""
        return f"{self.meta['network']} · recipe {self.meta['recipe_id']}"

    def label_name(self, label: int) -> str:
        """What a label is called: its class, the unit of the vector, or the prototype."""
        names = self.meta["label_names"]
        return f"{_LABEL_WORDS[self.labels]} {label}" if names is None else str(names[label])

    @property
    def labels(self) -> LabelsKind:
        """What labels are: ``classes``, ``units`` or ``prototypes``."""
        return labels_of(self.meta["recipe"], self.meta["classes"])

    @property
    def settled(self) -> dict[str, Any]:
        """What this catalog settled of the settings that may be left open; kept in its recipe alone.

        See :func:`elodin_spark.recipe.settled_of`.
        """
        return settled_of(self.meta["recipe"], self.meta["classes"])

    def label_count(self, components: int) -> int:
        """How many labels there can be: classes, units of the network's vector, or prototypes.

        Parameters
        ----------
        components : int
            Of a vector of the catalog, which has as many units unless it was projected.
        """
        finish = self.finish_record or {}
        return int(self.meta["classes"] or finish.get("prototypes") or finish.get("length") or components)

    # ---- the finish of the vectors ----------------------------------------------------------

    @property
    def finish_record(self) -> dict[str, Any] | None:
        """What was noted of the finish when it was fitted, see :meth:`keep_finish`; None before."""
        return self.meta.get("finish") or self.meta.get("pca")

    @property
    def finish(self) -> FinishFile | None:
        """The fitted finish; None before, and where vectors are the network's own."""
        record = self.finish_record
        return None if record is None else FinishFile(str(self.path / record["file"]), record["sha256"])

    def keep_finish(self, finish: Finish, sample: int, seconds: float) -> None:
        """Keep a fitted finish, as part of the recipe from here on; only with the lock held.

        Parameters
        ----------
        finish : Finish
        sample : int
            Vectors it was fitted to.
        seconds : float
            Wall time of it all.
        """
        file = finish.save(self.path)
        recipe = with_finish(self.meta["recipe"], file.sha256)
        record = {
            "file": Path(file.path).name,
            "sha256": file.sha256,
            "length": finish.length,
            "components": finish.dimension,
            "prototypes": None if finish.prototypes is None else len(finish.prototypes.centers),
            "sample": sample,
            "seconds": round(seconds, 3),
            "variance_ratio": finish.variance_ratio.tolist(),
        }
        meta = {**self.meta, "recipe": recipe, "recipe_id": recipe_id(recipe), "finish": record}
        write_json(self.path / "catalog.json", meta)
        self.meta = meta

    # ---- tables ---------------------------------------------------------------------------

    def commits(self) -> list[Commit]:
        """All finished batches, in order."""
        found = []
        for file in sorted((self.path / "commits").glob("*.json")):
            try:
                values = json.loads(file.read_text(encoding="utf-8"))
                found.append(Commit(**{**values, "files": tuple(values["files"])}))
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise CatalogError(
                    f"{file} is damaged ({error}); delete it to have its batch made again"
                ) from None
        return found

    def commit(self, commit: Commit) -> None:
        """Declare a batch done; its tables must be on disk."""
        write_json(self.path / "commits" / f"{commit.batch:06d}.json", asdict(commit))

    def new_part(self, table: str, batch: int) -> str:
        """A folder, below the catalog, for the rows of a batch; nobody else has its name."""
        return f"tables/{table}/{batch:06d}-{secrets.token_hex(4)}"

    def dataset(self, table: str) -> ds.Dataset:
        """The committed rows of a table that were not removed.

        Parameters
        ----------
        table : str
            A name of :data:`elodin_spark.schema.TABLES`.

        Returns
        -------
        pyarrow.dataset.Dataset
        """
        files = [str(file) for part in self.parts(table) for file in sorted(part.glob("*.parquet"))]
        columns = schema.TABLES[table]
        if table == "fingerprints":
            columns = with_storage(columns, self.meta["recipe"]["fingerprints"].get("storage", "float32"))
        rows = ds.dataset(files, schema=columns, format="parquet")
        kept = self.removed.kept(table)
        return rows if kept is None else rows.filter(kept)

    def parts(self, table: str) -> list[Path]:
        """The committed folders of a table."""
        return [self.path / part for commit in self.commits() for part in commit.tables.get(table, [])]

    def n_rows(self, table: str) -> int:
        """Committed rows of a table, with the removed ones that are still in its files."""
        return sum(commit.rows.get(table, 0) for commit in self.commits())

    @property
    def removed(self) -> Removed:
        """What was taken out, as recorded now."""
        return read_removed(self.path)

    # ---- products -------------------------------------------------------------------------

    def product(self, name: str) -> dict[str, Any] | None:
        """What was recorded when the product (index, projection, figures) was finished."""
        try:
            record = json.loads((self.path / "products" / f"{name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CatalogError(
                f"{self.path}/products/{name}.json is damaged ({error}); delete it and run again"
            ) from None
        return record

    def new_product(self, name: str) -> Path:
        """A fresh folder for a product."""
        folder = self.path / "products" / f"{name}-{secrets.token_hex(4)}"
        folder.mkdir()
        return folder

    def commit_product(self, name: str, folder: Path, record: dict[str, Any]) -> None:
        """Declare a product done; it replaces the one before."""
        write_json(self.path / "products" / f"{name}.json", {**record, "folder": folder.name})
        self._sweep_products()

    def product_folder(self, name: str) -> Path:
        """Where the finished product is.

        Raises
        ------
        CatalogError
            It has not been made yet.
        """
        record = self.product(name)
        if record is None:
            raise CatalogError(
                f"{self.path} has no {name} yet; finish it with 'elodin-spark run {self.path}/config.yaml'"
            )
        return self.path / "products" / str(record["folder"])

    # ---- writing --------------------------------------------------------------------------

    def lock(self) -> AbstractContextManager[None]:
        """Be the only writer; see :func:`elodin_spark.catalog.lock.locked`."""
        return locked(self.path)

    def sweep(self) -> None:
        """Delete what no commit names: the remains of killed runs. Only with the lock held.

        What was mended as ``catalog.json`` was read is also written here: reading writes nothing.
        """
        if self._mended:
            write_json(self.path / "catalog.json", self.meta)
            self._mended = False
        named = {part for commit in self.commits() for parts in commit.tables.values() for part in parts}
        for part in (self.path / "tables").glob("*/*"):
            if str(part.relative_to(self.path)) not in named:
                shutil.rmtree(part)
        for left in (*self.path.glob("*.tmp"), *(self.path / "commits").glob("*.tmp")):
            left.unlink()
        self._sweep_products()

    def _sweep_products(self) -> None:
        products = self.path / "products"
        records = [json.loads(file.read_text(encoding="utf-8")) for file in products.glob("*.json")]
        named = {record["folder"] for record in records}
        built = [record for record in records if "built" in record]
        built += [record["label_index"] for record in records if "label_index" in record]
        named |= {record["built"]["folder"] for record in built}
        for entry in products.iterdir():
            if entry.is_dir() and entry.name not in named:
                shutil.rmtree(entry)
            elif entry.suffix == ".tmp":
                entry.unlink()


def _is_half_made(path: Path) -> bool:
    """Whether a folder holds nothing, or no more than what a run that was killed makes before a catalog."""
    files = {entry.name for entry in path.iterdir() if entry.is_file()} - {".lock"}
    folders = [entry for entry in path.iterdir() if not entry.is_file()]
    if any(entry.name not in _FOLDERS or any(entry.iterdir()) for entry in folders):
        return False
    # Somebody's own config.yaml lies in no such company.
    return not files or (files <= _MADE_FIRST and len(folders) == len(_FOLDERS))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all, and onto the disk."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(value, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
