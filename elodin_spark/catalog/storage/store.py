"""The folder of a catalog: what is written, what counts as done, and who may write.

    CATALOG/
      catalog.json            format, recipe, archive root
      config.yaml             the settings of the last run
      transform-<hash>.npz    what is made of the network's vectors, where it is fitted
      commits/000000.json     one per batch of files: written last, it says the batch is done
      tombstones-<hash>.parquet  IDs taken out, where there are any
      tables/<table>/000000-<token>/*.parquet
      products/index.json     likewise for what is made from the tables:
      products/index-<token>/ indices, maps, figures

Every attempt writes to folders with a fresh token, and only a folder named in a commit
counts, so whatever a killed run left behind is never read and is swept by the next one.
The folder must be on a file system that the driver and all executors share.

What is written is known by its size and checksums: JSON files by their own, parts of tables by their commit,
products by their record, the rest by ``catalog.json``. Names, sizes and footers of a table are checked when
a process first reads it, and so are the bytes of the columns that are read without Spark, and of products
other than shards; :meth:`Store.damages` checks all.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from elodin_spark import schema
from elodin_spark.arrow import with_storage
from elodin_spark.catalog.storage.lock import locked
from elodin_spark.catalog.storage.tombstones import (
    Tombstones,
    read_tombstones,
    tombstones_path,
    write_tombstones,
)
from elodin_spark.config.load import dump_settings
from elodin_spark.config.settings import Settings
from elodin_spark.config.transform import LabelsKind
from elodin_spark.diskfiles import damage_of, describe_file, file_crc, read_json, replacing, write_json
from elodin_spark.errors import CatalogError
from elodin_spark.fingerprints.transform import TransformFile, VectorTransform, load_transform
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.neighbors.files import read_json as read_shard
from elodin_spark.provenance import labels_of, recipe_id, settled_of, wants_transform, with_transform
from elodin_spark.terminal import command

log = logging.getLogger(__name__)

FORMAT = 1

#: Of a catalog that is begun.
_FOLDERS = ("commits", "tables", "products")
#: Files that are written before ``catalog.json``, which makes a folder a catalog.
_MADE_FIRST = {"config.yaml"}
#: What is deleted of a catalog without a cutout where another is begun in its place.
_LEFT_OF_EMPTY = ("commits/*.json", "tables/*", "products/*", "transform-*.npz")
#: Products whose folders hold shards, which are made after they are recorded and have records of their own.
_GROWING = ("shards", "labels")

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
    contents : dict of str to dict
        Folder of a part to the names of its files to what they are known by, see
        :func:`~elodin_spark.diskfiles.describe_file`.
    """

    batch: int
    files: tuple[str, ...]
    tables: dict[str, list[str]]
    rows: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    runtime: str = ""
    made_as: dict[str, list[str]] = field(default_factory=dict)
    contents: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

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
        self.path = Path(path).absolute()  # a process may change its folder
        self.meta: dict[str, Any] = {}
        self._mended = False
        self._seen: tuple[int, int] | None = None  # inode and time of catalog.json
        self._sound: set[tuple[Path, str]] = set()  # files and their columns that were found whole
        self.refresh()

    def refresh(self) -> None:
        """Read ``catalog.json`` again: another run may have fitted the transform since."""
        file = self.path / "catalog.json"
        try:
            seen = _state(file)
            meta = read_json(file)
        except FileNotFoundError:
            if any((self.path / "commits").glob("*.json")):
                raise CatalogError(
                    f"{file} is missing: put it back from a copy, for nothing else says what the tables are; "
                    "or delete the folder and run it again"
                ) from None
            raise CatalogError(
                f"{self.path} holds no catalog; make one with 'elodin-spark run CONFIG.yaml'"
            ) from None
        except (OSError, ValueError) as error:
            raise CatalogError(
                f"{file} cannot be read: {error}; put it back from a copy, or delete the folder and run it "
                "again"
            ) from None
        if "recipe_id" not in meta:
            raise CatalogError(
                f"{file} cannot be read: it is not that of a catalog; put it back from a copy, or delete the "
                "folder and run it again"
            )
        if meta.get("format") != FORMAT:
            raise CatalogError(
                f"{self.path} has catalog format {meta.get('format')!r} and this version reads {FORMAT}; "
                "use the version that wrote it"
            )
        # Catalogs were written that name their labels twice, here and, rightly, by their recipe.
        self._mended = meta.pop("labels", None) is not None
        self.meta, self._seen = meta, seen

    def refresh_same(self) -> None:
        """As :meth:`refresh`; raises CatalogError where another run has begun the catalog anew, otherwise."""
        before = _begun(self.meta)
        self.refresh()
        if _begun(self.meta) != before:
            raise CatalogError(f"another run has begun {self.path} anew: run again, to take it up")

    def look(self) -> None:
        """Read ``catalog.json`` again where another process has written it."""
        try:
            same = _state(self.path / "catalog.json") == self._seen
        except OSError:
            same = False
        if not same:
            self.refresh()

    def _keep(self, **changes: Any) -> None:
        """Change ``catalog.json``; only with the lock held."""
        meta = {**self.meta, **changes}
        write_json(self.path / "catalog.json", meta)
        self.meta, self._seen = meta, _state(self.path / "catalog.json")

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
            A folder that does not exist or is empty, or holds a catalog without a cutout that was begun
            otherwise: that one goes.
        settings : Settings
        recipe : dict
            See :mod:`elodin_spark.provenance`.
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
            `path` holds a catalog with cutouts already, or anything else.
        """
        path = Path(path)
        held = cls(path) if (path / "catalog.json").exists() else None
        begun = _begun({"recipe": recipe, "root": root, "runtime": runtime})
        if held is not None and (not held.empty or _begun(held.meta) == begun):
            raise CatalogError(f"{path} already holds a catalog; open it, or choose another folder")
        if held is None and path.exists() and (not path.is_dir() or not _is_half_made(path)):
            raise CatalogError(
                f"{path} exists and is not an empty folder; choose another place for the catalog"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogError(f"the folder {path} cannot be made: {error}") from None
        labeled = weights.labeled
        head = labels_of(recipe, labeled.classes) == "classes"
        meta = {
            "format": FORMAT,
            "recipe_id": recipe_id(recipe),
            "recipe": recipe,
            "network": weights.describe(),
            "classes": labeled.classes if head else None,
            "label_names": labeled.label_names if head else None,
            "root": root,
            "runtime": runtime,
            "precision": precision,
        }
        with locked(path):
            now = cls(path) if (path / "catalog.json").exists() else None
            same = held is not None and now is not None and _begun(now.meta) == _begun(held.meta)
            if now is not None and not (same and now.empty):
                raise CatalogError(f"another run has just made a catalog in {path}: run again, to take it up")
            for name in _FOLDERS:
                (path / name).mkdir(exist_ok=True)
            with replacing(path / "config.yaml") as temporary:
                temporary.write_text(dump_settings(settings), encoding="utf-8")
            write_json(path / "catalog.json", meta)
            # A kill between leaves a catalog without a cutout again.
            for left in (each for of_it in _LEFT_OF_EMPTY for each in path.glob(of_it)):
                _delete(left)
        return cls(path)

    @classmethod
    def require_empty(cls, path: str | Path) -> None:
        """Raise CatalogError where a folder holds a catalog with cutouts."""
        if (Path(path) / "catalog.json").exists() and not cls(path).empty:
            raise CatalogError(f"{path} already holds a catalog; open it, or choose another folder")

    @property
    def empty(self) -> bool:
        """Whether no cutout is stored but rejected ones: whatever else is there can be had again."""
        return not any(self._holds_cutouts(commit) for commit in self.commits())

    def _holds_cutouts(self, commit: Commit) -> bool:
        """Whether any cutout of a batch is not rejected by a rule of quality."""
        if commit.rows.get("fingerprints") or not commit.rows.get("cutouts"):
            return bool(commit.rows.get("cutouts"))
        parts = commit.tables.get("cutouts", [])
        files = [str(file) for part in parts for file in self._checked(commit, part, ())]
        rows = ds.dataset(files, schema=schema.TABLES["cutouts"], format="parquet")
        return not files or rows.head(1, columns=[], filter=ds.field("rejected").is_null()).num_rows > 0

    def forget_refusals(self) -> None:
        """Give up all batches where they left no cutout that counts: their files are as new.

        With other settings than made them all useless, or mended, they may be of use. Only with the lock
        held.
        """
        if self.empty and (commits := self.commits()):
            self._keep(batches=0)
            for commit in commits:
                self._commit_file(commit.batch).unlink()

    def keep_config(self, settings: Settings) -> None:
        """Keep the settings of a run; only with the lock held."""
        file, text = self.path / "config.yaml", dump_settings(settings)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            with replacing(file) as temporary:
                temporary.write_text(text, encoding="utf-8")

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

        See :func:`elodin_spark.provenance.settled_of`.
        """
        return settled_of(self.meta["recipe"], self.meta["classes"])

    def label_count(self, components: int) -> int:
        """How many labels there can be: classes, units of the network's vector, or prototypes.

        Parameters
        ----------
        components : int
            Of a vector of the catalog, which has as many units unless it was projected.
        """
        transform = self.transform_record or {}
        return int(
            self.meta["classes"] or transform.get("prototypes") or transform.get("length") or components
        )

    # ---- the transform of the vectors ----------------------------------------------------------

    @property
    def transform_record(self) -> dict[str, Any] | None:
        """What was noted of the transform when it was fitted, see :meth:`keep_transform`; None before."""
        return self.meta.get("transform")

    @property
    def transform(self) -> TransformFile | None:
        """The fitted transform; None before, and where vectors are the network's own."""
        record = self.transform_record
        return None if record is None else TransformFile(str(self.path / record["file"]), record["sha256"])

    def keep_transform(self, transform: VectorTransform, sample: int, seconds: float) -> None:
        """Keep a fitted transform, as part of the recipe from here on; only with the lock held.

        Parameters
        ----------
        transform : VectorTransform
        sample : int
            Vectors it was fitted to.
        seconds : float
            Wall time of it all.
        """
        file = transform.save(self.path)
        recipe = with_transform(self.meta["recipe"], file.sha256)
        record = {
            "file": Path(file.path).name,
            "sha256": file.sha256,
            "length": transform.length,
            "components": transform.dimension,
            "prototypes": None if transform.prototypes is None else len(transform.prototypes.centers),
            "sample": sample,
            "seconds": round(seconds, 3),
            "variance_ratio": transform.variance_ratio.tolist(),
        }
        self._keep(recipe=recipe, recipe_id=recipe_id(recipe), transform=record)

    # ---- tables ---------------------------------------------------------------------------

    def commits(self) -> list[Commit]:
        """All finished batches, in order.

        Raises
        ------
        CatalogError
            One is damaged or was lost.
        """
        found = self._commits()
        for number in self._lost(found):
            raise CatalogError(
                f"{self._commit_file(number)} is missing: put it back from a copy, or run the catalog again "
                f"({self.rerun}), which makes its batch again"
            )
        return found

    def _commits(self) -> list[Commit]:
        found = []
        for file in sorted((self.path / "commits").glob("*.json")):
            try:
                values = read_json(file)
                found.append(Commit(**{**values, "files": tuple(values["files"])}))
                if file != self._commit_file(found[-1].batch):
                    raise ValueError(f"it is of batch {found[-1].batch}")
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise CatalogError(
                    f"{file} is damaged ({error}); delete it and run the catalog again ({self.rerun}) to "
                    "have its batch made again"
                ) from None
        return found

    def _lost(self, commits: Iterable[Commit]) -> list[int]:
        """Numbers of the batches that were done and have no commit."""
        return sorted(set(range(self.meta.get("batches", 0))) - {commit.batch for commit in commits})

    def mend(self) -> None:
        """Give up batches whose commits were lost: their files are as new. Only with the lock held."""
        for number in self._lost(self._commits()):
            log.warning("%s is missing: its batch is made again", self._commit_file(number))
            self.commit(Commit(number, (), {}, {}))

    def commit(self, commit: Commit) -> None:
        """Declare a batch done; its tables must be on disk. Only with the lock held."""
        new = [part for parts in commit.tables.values() for part in parts if part not in commit.contents]
        contents = {
            part: {file.name: describe_file(file) for file in sorted((self.path / part).glob("*.parquet"))}
            for part in new
        }
        named = [part for parts in commit.tables.values() for part in parts]
        contents = {part: (commit.contents | contents)[part] for part in named}
        commit = replace(commit, contents=contents)
        write_json(self._commit_file(commit.batch), asdict(commit))
        if commit.batch >= self.meta.get("batches", 0):
            self.look()
            self._keep(batches=commit.batch + 1)

    def _commit_file(self, batch: int) -> Path:
        return self.path / "commits" / f"{batch:06d}.json"

    @property
    def rerun(self) -> str:
        """The command that runs the catalog again."""
        return command("run", f"{self.path}/config.yaml")

    def new_part(self, table: str, batch: int) -> str:
        """A folder, below the catalog, for the rows of a batch; nobody else has its name."""
        return f"tables/{table}/{batch:06d}-{secrets.token_hex(4)}"

    def dataset(self, table: str, columns: Iterable[str] | None = None) -> ds.Dataset:
        """The committed rows of a table that were not removed.

        Parameters
        ----------
        table : str
            A name of :data:`elodin_spark.schema.TABLES`.
        columns : iterable of str, optional
            Those that will be read, beside the IDs; by default all. Their bytes are checked.

        Returns
        -------
        pyarrow.dataset.Dataset

        Raises
        ------
        CatalogError
            A file is missing or damaged, or one is there that is not of the catalog.
        """
        files = [str(file) for file in self.files(table, columns)]
        fields = schema.TABLES[table]
        if table == "fingerprints":
            fields = with_storage(fields, self.meta["recipe"]["fingerprints"].get("storage", "float32"))
        rows = ds.dataset(files, schema=fields, format="parquet")
        kept = self.tombstones.kept(table)
        return rows if kept is None else rows.filter(kept)

    def files(self, table: str, columns: Iterable[str] | None = None) -> list[Path]:
        """The committed Parquet files of a table, in order, with the removed rows that are still in them.

        Parameters
        ----------
        table : str
        columns : iterable of str, optional
            As of :meth:`dataset`.

        Raises
        ------
        CatalogError
            As :meth:`dataset`.
        """
        used = None if columns is None else {*columns, "cutout_id", "image_id"}
        return [
            file
            for commit in self.commits()
            for part in commit.tables.get(table, [])
            for file in self._checked(commit, part, used)
        ]

    def parts(self, table: str) -> list[Path]:
        """The committed folders of a table, whose files are of the right names, sizes and footers."""
        return [part for commit in self.commits() for part in self.parts_of(commit, table)]

    def parts_of(self, commit: Commit, table: str) -> list[Path]:
        """Those of one batch."""
        for part in commit.tables.get(table, []):
            self._checked(commit, part, ())
        return [self.path / part for part in commit.tables.get(table, [])]

    def verify(self, commit: Commit, table: str) -> None:
        """Check all bytes of one batch of a table."""
        for part in commit.tables.get(table, []):
            self._checked(commit, part, None)

    def _checked(self, commit: Commit, part: str, columns: Iterable[str] | None) -> list[Path]:
        """Files of a part, each as it was written; columns that were found whole are not read again."""
        folder, known = self.path / part, commit.contents.get(part)
        if known is None:  # who wrote the commit described none
            return sorted(folder.glob("*.parquet"))
        if (folder, "") not in self._sound:
            for name in sorted(_shown_in(folder) - known.keys()):
                raise CatalogError(
                    f"{folder / name} is not of this catalog: somebody put it there; move it away"
                )
            self._sound.add((folder, ""))
        for name, facts in known.items():
            file = folder / name
            wanted = [each for each in facts["columns"] if columns is None or each in columns]
            left = [each for each in ("", *wanted) if (file, each) not in self._sound]
            unread = None if columns is None else [each for each in left if each]
            if left and (damage := damage_of(file, facts, unread)):
                self._sound.discard((folder, ""))
                raise CatalogError(
                    f"{file} is damaged: {damage}. Put it back from a copy, or delete "
                    f"{self._commit_file(commit.batch)} and run the catalog again ({self.rerun}), which "
                    "makes its batch again"
                )
            self._sound.update((file, each) for each in left)
        return [folder / name for name in known]

    def n_rows(self, table: str) -> int:
        """Committed rows of a table, with the removed ones that are still in its files."""
        return sum(commit.rows.get(table, 0) for commit in self.commits())

    # ---- what was taken out -----------------------------------------------------------------

    @property
    def tombstones(self) -> Tombstones:
        """What was taken out, as recorded now, by whatever process."""
        self.look()
        return read_tombstones(self.path, self.meta.get("tombstones"))

    @property
    def removed_file(self) -> Path | None:
        """Parquet file of it, for those who join: `kind` (cutout or image) and `id`; None where none is."""
        self.look()
        return tombstones_path(self.path, self.meta.get("tombstones"))

    def keep_tombstones(self, removed: Tombstones) -> None:
        """Record what is taken out, in one step; only with the lock held."""
        self.look()
        self._keep(tombstones=write_tombstones(self.path, removed))

    # ---- products -------------------------------------------------------------------------

    def product(self, name: str) -> dict[str, Any] | None:
        """What was recorded when the product (index, projection, figures) was finished."""
        file = self.path / "products" / f"{name}.json"
        try:
            record = read_json(file)
            if record.get("product", name) != name:
                raise ValueError(f"it is of {record['product']}")
            if not (self.path / "products" / record["folder"]).is_dir():
                raise ValueError(f"there is no folder {record['folder']}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CatalogError(
                f"{file} is damaged ({error}); delete it and run the catalog again ({self.rerun})"
            ) from None
        return record

    def new_product(self, name: str) -> Path:
        """A fresh folder for a product."""
        folder = self.path / "products" / f"{name}-{secrets.token_hex(4)}"
        folder.mkdir()
        return folder

    def commit_product(self, name: str, folder: Path, record: dict[str, Any]) -> None:
        """Declare a product done; it replaces the one before.

        Files of a folder are described once: a record that is written anew keeps what it says of them.
        """
        if name not in _GROWING and (record.get("folder") != folder.name or "files" not in record):
            record = {**record, "files": _describe_all(folder)}
        record = {**record, "product": name, "folder": folder.name}
        write_json(self.path / "products" / f"{name}.json", record)
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
            raise CatalogError(f"{self.path} has no {name} yet; finish it with: {self.rerun}")
        return self.path / "products" / str(record["folder"])

    def product_file(self, name: str, relative: str) -> Path:
        """A file of a finished product, or a folder of some, whose bytes are those that were written.

        Raises
        ------
        CatalogError
            It has not been made yet, or a file of it is missing or damaged.
        """
        path = self.product_folder(name) / relative
        self._check_product(name, relative)
        return path

    def _check_product(self, name: str, relative: str = "") -> None:
        record = self.product(name) or {}
        folder = self.path / "products" / str(record["folder"])
        for each, known in record.get("files", {}).items():
            file = folder / each
            if (file, "") in self._sound or (relative and not f"{each}/".startswith(f"{relative}/")):
                continue
            found = file.stat().st_size if file.is_file() else 0
            if found != known["bytes"]:
                damage = f"is missing or truncated: {found:,} bytes instead of {known['bytes']:,}"
            elif file_crc(file) != known["crc32"]:
                damage = "is damaged: its bytes are others than were written"
            else:
                self._sound.add((file, ""))
                continue
            raise CatalogError(
                f"{file} {damage}; delete {self.path}/products/{name}.json and run the catalog again "
                f"({self.rerun})"
            )

    # ---- all of it --------------------------------------------------------------------------

    def damages(self) -> Iterator[str]:
        """What is wrong with the files of the catalog, each with its remedy; every byte is read."""
        self._sound = set()
        checks: list[Callable[[], object]] = [lambda: self.tombstones, lambda: load_transform(self.transform)]
        try:
            for commit in self.commits():
                parts = [part for parts in commit.tables.values() for part in parts]
                checks += [partial(self._checked, commit, part, None) for part in parts]
        except CatalogError as error:
            yield str(error)
        names = sorted(file.stem for file in (self.path / "products").glob("*.json"))
        checks += [partial(self._check_all_of, name) for name in names]
        for check in checks:
            try:
                check()
            except CatalogError as error:
                yield str(error)

    def _check_all_of(self, name: str) -> None:
        self._check_product(name)
        for record in sorted(self.product_folder(name).glob("*/shard.json")):
            for each, crc in read_shard(record, "index shard").get("crc32", {}).items():
                file = record.parent / each
                if not file.is_file() or file_crc(file) != crc:
                    raise CatalogError(
                        f"{file} is missing or damaged; delete {self.path}/products/{name}.json and "
                        f"{self.path}/products/index.json, and run the catalog again ({self.rerun})"
                    )

    # ---- writing --------------------------------------------------------------------------

    def lock(self) -> AbstractContextManager[None]:
        """Be the only writer; see :func:`elodin_spark.catalog.storage.lock.locked`."""
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
                _delete(part)
        for folder in (self.path, self.path / "commits", self.path / "products"):
            for left in folder.glob("*.tmp"):
                _delete(left)
        if kept := self.meta.get("tombstones"):
            for left in self.path.glob("removed*.parquet"):
                if left.name != kept["file"]:
                    left.unlink()
        self._sweep_products()

    def _sweep_products(self) -> None:
        products = self.path / "products"
        records = [
            record for file in products.glob("*.json") if (record := self.product(file.stem)) is not None
        ]
        named = {record["folder"] for record in records}
        built = [record for record in records if "built" in record]
        built += [record["label_index"] for record in records if "label_index" in record]
        named |= {record["built"]["folder"] for record in built}
        for entry in products.iterdir():
            if entry.is_dir() and entry.name not in named:
                _delete(entry)


def _is_half_made(path: Path) -> bool:
    """Whether a folder holds nothing, or no more than what a run that was killed makes before a catalog."""
    files = {entry.name for entry in path.iterdir() if entry.is_file()} - {".lock"}
    files = {name for name in files if not (name.startswith(".c") and name.endswith(".tmp"))}
    folders = [entry for entry in path.iterdir() if not entry.is_file()]
    if any(entry.name not in _FOLDERS or any(entry.iterdir()) for entry in folders):
        return False
    # Somebody's own config.yaml lies in no such company.
    return not files or (files <= _MADE_FIRST and len(folders) == len(_FOLDERS))


def _begun(meta: dict[str, Any]) -> tuple[Any, ...]:
    """What a catalog is begun with and keeps."""
    recipe = meta["recipe"]
    return (with_transform(recipe, "") if wants_transform(recipe) else recipe), meta["root"], meta["runtime"]


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_ino, status.st_mtime_ns


def _shown_in(folder: Path) -> set[str]:
    """Names of all files in a folder but hidden ones, which readers pass over."""
    try:
        return {entry.name for entry in os.scandir(folder) if entry.name[0] not in "._"}
    except OSError:
        return set()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _describe_all(folder: Path) -> dict[str, dict[str, int]]:
    return {
        str(file.relative_to(folder)): {"bytes": file.stat().st_size, "crc32": file_crc(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
