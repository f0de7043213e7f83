"""What is on disk is checked: what happens to a file of a catalog is named with a way out, or mended."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import smallcatalog

from elodin_spark import Catalog
from elodin_spark.catalog.report import info_text
from elodin_spark.catalog.storage.store import Store
from elodin_spark.cli.main import run_command
from elodin_spark.errors import CatalogError, ElodinError
from elodin_spark.fingerprints.transform import VectorTransform
from elodin_spark.projection.stage import places_table

ROWS = smallcatalog.tables(images=6, across=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two batches, an index, a map, a transform and a removed cutout; copied by who changes it."""
    folder = tmp_path_factory.mktemp("damages") / "catalog"
    catalog = smallcatalog.write_catalog(folder, ROWS, fingerprints={"transform": "standardize"})
    store = catalog._store
    ids, vectors = catalog.vectors()
    transform = VectorTransform(smallcatalog.DIMENSION, vectors.mean(axis=0), vectors.std(axis=0))
    store.keep_transform(transform, len(ids), 0.0)
    index = store.product("index") or {}
    index["recipe_id"] = store.meta["recipe_id"]
    store.commit_product("index", store.product_folder("index"), index)
    made = store.new_product("projection")
    pq.write_table(places_table(ids, vectors[:, :2], ids % 2 == 0, placed=False), made / "pca.parquet")
    store.commit_product("projection", made, {"digest": "", "rows": len(ids), "methods": ["pca"]})
    catalog.remove(cutouts=[int(ids[0])])
    return folder


def everything(path: Path) -> str:
    """All that can be read from a catalog in a process that opens it now."""
    catalog = Catalog.open(path)
    store = catalog._store
    ids, vectors = catalog.vectors()
    points = catalog.projection("pca").to_pydict()
    assert store.transform is not None
    found = {
        "tables": {name: catalog.table(name).to_pylist() for name in ("images", "cutouts", "fingerprints")},
        "vectors": vectors.tolist(),
        "neighbors": {m: catalog.neighbors(int(ids[3]), 9, m) for m in ("l2", "jaccard")},  # type: ignore[arg-type]
        "map": points,
        "finished": catalog.transformed(vectors).tolist(),
        "info": {k: v for k, v in catalog.info().items() if k not in ("path", "products", "disk_bytes")},
    }
    return repr(found)  # in which NaN is NaN


def lose(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(where: float) -> Callable[[Path], None]:
    def flipped(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[int(where * (len(content) - 1))] ^= 0x04
        file.write_bytes(content)

    return flipped


def exchange(file: Path) -> None:
    """With another of its kind, of the other batch or table; where it is alone, with any other."""
    root = next(folder for folder in file.parents if (folder / "config.yaml").exists())
    near = sorted((root / "commits").glob("*.json")) if file.parent == root else []
    around = (file.parent.glob, file.parent.parent.rglob, root.rglob)
    others = [*near, *(each for look in around for each in look(f"*{file.suffix}"))]
    others += sorted(each for each in root.rglob("*") if each.is_file())
    other = next(each for each in others if each != file)
    mine = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(mine)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "lost": lose,
    "truncated": cut,
    "emptied": empty,
    "exchanged": exchange,
    **{f"flipped at {where:.0%}": flip(where) for where in (0.1, 0.5, 0.9)},
}
FILES = {
    "images": "tables/images/000000-*/*.parquet",
    "cutouts": "tables/cutouts/000001-*/*.parquet",
    "fingerprints": "tables/fingerprints/000000-*/*.parquet",
    "l2 index": "products/index-*/l2.index",
    "jaccard index": "products/index-*/labels/shard-0/codes.bin",
    "map": "products/projection-*/pca.parquet",
    "index record": "products/index.json",
    "map record": "products/projection.json",
    "commit": "commits/000001.json",
    "first commit": "commits/000000.json",
    "catalog.json": "catalog.json",
    "removed": "tombstones-*.parquet",
    "transform": "transform-*.npz",
}
#: What a message says of the way out.
REMEDIES = ("put it back from a copy", "run the catalog again", "finish it with", "restore it", "Put it back")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", FILES)
def test_damage_is_named_with_its_remedy_or_changes_nothing(
    whole: Path, tmp_path: Path, what: str, damage: str
) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "catalog"))
    (file,) = path.glob(FILES[what])
    DAMAGES[damage](file)
    try:
        found = everything(path)
    except ElodinError as error:
        said = str(error)
        assert any(remedy in said for remedy in REMEDIES), said
        # Of two files that were exchanged, either is named; without the record of a product, the product.
        named = [file.name] if damage != "exchanged" else [each.name for each in path.rglob("*.*")]
        assert any(name in said for name in [*named, f"no {file.stem} yet"]), said
        if damage != "lost":
            assert any(Catalog.open(path)._store.damages()) if what != "catalog.json" else True
    else:
        assert found == everything(whole)
        assert damage.startswith("flipped")  # in bytes that nobody reads


@pytest.mark.parametrize("place", ["tables/cutouts/000001-*", "tables/images/000000-*"])
@pytest.mark.parametrize("name", ["part-9.parquet", "notes.txt"])
def test_a_stray_file_is_named_and_a_hidden_one_passed_over(
    whole: Path, tmp_path: Path, place: str, name: str
) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "catalog"))
    (folder,) = path.glob(place)
    (folder / ".nfs0001").touch()
    assert everything(path) == everything(whole)
    shutil.copy(next(whole.glob(f"{place}/*.parquet")), folder / name)
    with pytest.raises(CatalogError, match=f"{name} is not of this catalog.*move it away"):
        everything(path)


def test_a_lost_batch_is_an_error_until_a_run_takes_its_files_as_new(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "catalog"))
    (path / "commits/000000.json").unlink()
    store = Store(path)
    with pytest.raises(CatalogError, match=r"commits/000000.json is missing.*elodin-spark run "):
        store.parts("cutouts")
    with store.lock():
        store.mend()
        store.sweep()
    assert [commit.files for commit in Store(path).commits()] == [(), ("1.fits",)]
    assert Catalog.open(path).table("images").num_rows == len(ROWS["images"]) // 2
    assert not list(path.glob("tables/*/000000-*"))


def test_what_another_process_removes_is_out_of_the_answers_of_an_open_catalog(
    whole: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "catalog"))
    opened, other = Catalog.open(path), Catalog.open(path)
    query, first = int(opened.cutout_ids()[3]), opened.neighbors(int(opened.cutout_ids()[3]), 9)
    gone = first[0]["neighbor_id"]
    other.remove(cutouts=[gone])
    assert [row["neighbor_id"] for row in opened.neighbors(query, 8)] == [r["neighbor_id"] for r in first[1:]]
    assert gone not in opened.cutout_ids()
    with pytest.raises(CatalogError, match=f"{gone} was removed"):
        opened.describe_cutouts([gone])


def test_info_checks_every_byte_where_it_is_asked_to(whole: Path, tmp_path: Path, capsys) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "catalog"))
    assert run_command(["info", str(path), "--check"]) == 0
    assert "all files are as they were written" in capsys.readouterr().err
    files = [next(path.glob(FILES[name])) for name in ("cutouts", "fingerprints", "map")]
    for file in files:
        flip(0.3)(file)
    assert run_command(["info", str(path), "--check"]) == 2
    said = capsys.readouterr().err
    assert [str(file) for file in files if str(file) not in said] == []


@pytest.mark.parametrize("name", [".lock", "catalog.json.tmp", ".catalog.json.tmp"])
def test_no_link_is_followed(whole: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "catalog"))
    (path / name).unlink(missing_ok=True)
    (tmp_path / "mine").write_text("thesis")
    (path / name).symlink_to(tmp_path / "mine")
    try:
        Catalog.open(path).remove(cutouts=[int(Catalog.open(path).cutout_ids()[0])])
    except CatalogError as error:
        assert "is a link" in str(error)  # noqa: PT017 - only of the lock
        assert name == ".lock"
    assert (tmp_path / "mine").read_text() == "thesis"


ODD = "a\x1b[2J\r\x07\x9b31m\u202ereversed\nforged line"


def test_what_files_and_headers_say_cannot_move_the_cursor(tmp_path: Path, capsys) -> None:
    rows = smallcatalog.tables(images=3, across=3)
    rows["images"][1]["path"] = ODD
    rows["failures"] = [{"kind": "test", "uri": f"/data/{ODD}", "message": ODD}]
    folder = tmp_path / "it's \x1b[31m mine"
    rows.pop("failures")
    catalog = smallcatalog.write_catalog(folder, rows)
    table = catalog.neighbors(int(catalog.cutout_ids()[0]), 50).text()
    assert "a\\x1b[2J\\r\\x07\\x9b31m\\u202ereversed\\nforged line" in table
    text = info_text(catalog.info())
    with pytest.raises(CatalogError) as error:
        Store(folder).product_folder("projection")
    assert run_command(["info", str(folder / "none")]) == 2
    for said in (table, text, capsys.readouterr().err):
        assert [line for line in said.splitlines() if not line.isprintable()] == []
    commands = [line.strip() for line in text.splitlines() if "elodin-spark neighbors" in line]
    commands.append(str(error.value).split("finish it with: ")[1].strip())
    for command in commands:
        words = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True
        ).stdout.split(b"\0")
        assert str(folder).encode() in words[2]
