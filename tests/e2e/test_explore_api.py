"""The explorer's server as a page, a script and somebody else's page ask it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from helpers.explorer import Server, explored
from helpers.limits import HANG_S
from PIL import Image

from elodin_spark import Catalog, Query
from elodin_spark.web.binary import unpack
from elodin_spark.web.openapi import ENDPOINTS
from elodin_spark.web.pictures import cutout_png

pytestmark = [pytest.mark.e2e, pytest.mark.spark]


@pytest.fixture(scope="module")
def catalog(survey, small_settings, spark, tmp_path_factory) -> Catalog:
    """100 cutouts, with a map and the indices of l2 and jaccard."""
    folder = survey.tiles[0].parent
    settings = small_settings(
        folder,
        images={"paths": str(folder), "hdu": "IMAGE"},
        projection={"methods": ["tsne"]},
        run={"figures": False},
        neighbors={"metrics": ["l2", "jaccard"]},
    )
    made = Catalog.create(tmp_path_factory.mktemp("explored") / "mine", settings)
    assert made.run().n_cutouts == 100
    return made


@pytest.fixture(scope="module")
def server(catalog, tmp_path_factory) -> Any:
    with explored(catalog.path, TMPDIR=str(tmp_path_factory.mktemp("temporary"))) as running:
        running.temporary = Path(os.path.realpath(tmp_path_factory.getbasetemp() / "temporary0"))
        yield running
        assert running.process.poll() is None, "nothing that was asked ended it"


@pytest.fixture(scope="module")
def ids(server: Server) -> list[int]:
    return unpack(server.ask("/api/points").body)[2]["id"].tolist()


def neighbors(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    answer = server.ask("/api/neighbors", body)
    assert answer.status == 200, answer.body
    return answer.json()


# ---- what is answered ---------------------------------------------------------------------------


def test_the_catalog_says_what_a_page_needs(server, catalog) -> None:
    facts = server.ask("/api/catalog").json()
    assert (facts["n_cutouts"], facts["n_images"], facts["n_points"], facts["window_px"]) == (100, 4, 100, 64)
    assert facts["described"] == catalog.describe()
    assert [each["name"] for each in facts["maps"]] == ["tsne"]
    available = {each["name"]: each["available"] for each in facts["metrics"]}
    assert available == dict.fromkeys(("l2", "jaccard", "cosine", "rank_fusion"), True) | {
        "label_scores": False
    }
    (why,) = [each["why_not"] for each in facts["metrics"] if each["why_not"]]
    assert "neighbors.metrics" in why
    columns = {each["name"]: each for each in facts["columns"]}
    assert columns["sky_sigma"]["kind"] == "number"
    assert columns["shifted"]["kind"] == "boolean"
    assert columns["bands"]["kind"] == "category"
    assert {"image", "top_label", "ra", "mjd"} <= set(columns)
    assert "thumbnail" not in columns
    assert "moc" not in facts["options"]["properties"]
    assert "where" in facts["options"]["properties"]
    assert facts["has_sky"] is True


def test_points_columns_and_masks_are_in_one_order(server, catalog, ids) -> None:
    count, _, points = unpack(server.ask("/api/points?map=tsne").body)
    assert count == 100
    assert sorted(ids) == catalog.cutout_ids().tolist()
    assert max(np.ptp(points["x"]), np.ptp(points["y"])) == pytest.approx(2)
    assert not points["placed"].any()
    table = catalog.cutouts.to_pandas().set_index("cutout_id").loc[ids]
    _, about, values = unpack(server.ask("/api/column?name=sky_sigma").body)
    np.testing.assert_array_equal(values["values"], table["sky_sigma"].to_numpy())
    assert about["percentiles"][50] == pytest.approx(np.median(table["sky_sigma"]))
    _, about, values = unpack(server.ask("/api/column?name=image").body)
    described = catalog.describe_cutouts(ids)
    assert [about["categories"][code] for code in values["codes"]] == [row["image"] for row in described]
    _, about, values = unpack(server.ask("/api/column?name=top_label").body)
    assert [about["categories"][code] for code in values["codes"]] == [row["labels"][0] for row in described]
    label = described[0]["labels"][0]
    _, _, values = unpack(server.ask(f"/api/column?name=score:{quote(label)}").body)
    assert values["values"][0] > 0
    assert np.count_nonzero(values["values"]) == len(catalog.ids_where(f"score('{label}') > 0"))
    condition = "sky_sigma < 14 and not shifted"
    _, about, mask = unpack(server.ask(f"/api/mask?where={quote(condition)}").body)
    kept = np.isin(ids, catalog.ids_where(condition))
    assert 0 < about["count"] == kept.sum() < 100
    np.testing.assert_array_equal(np.unpackbits(mask["mask"], count=100, bitorder="little"), kept)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 5, "metric": "jaccard", "explain": True},
        {"k": 3, "metric": "cosine", "allow_overlap": True},
        {"k": 4, "metric": "rank_fusion", "where": "sky_sigma < 15"},
        {"k": 4, "fold_duplicates": True, "min_separation_arcsec": 5},
        {"k": 2, "cone": {"ra": 150, "dec": 2.2, "radius_arcsec": 60}},
    ],
)
def test_neighbors_are_those_of_the_catalog(server, catalog, ids, options) -> None:
    found = neighbors(server, {"query": {"ids": [str(ids[0])]}, "options": options})
    wanted = list(catalog.neighbors(ids[0], **options))
    assert [int(row["id"]) for row in found["neighbors"]] == [row["neighbor_id"] for row in wanted]
    assert [row["distance"] for row in found["neighbors"]] == [row["distance"] for row in wanted]
    for row, other in zip(found["neighbors"], wanted, strict=True):
        assert [row[n] for n in ("image", "x0", "y1", "ra", "labels")] == [
            other[n] for n in ("image", "x0", "y1", "ra", "labels")
        ]
        assert ("explain" in row) == bool(options.get("explain"))
    assert found["metric"] == options.get("metric", "l2")
    assert [row["id"] for row in found["query"]["cutouts"]] == [str(ids[0])]


def test_positions_and_pixels_are_asked_with(server, catalog, ids) -> None:
    (cutout,) = server.ask(f"/api/cutouts?ids={ids[7]}").json()["cutouts"]
    position = {"ra": cutout["ra"], "dec": cutout["dec"], "radius_arcsec": None}
    assert neighbors(server, {"query": {"position": position}})["query"]["cutouts"][0]["id"] == str(ids[7])
    pixel = {"image_id": cutout["image_id"], "x": cutout["x0"] + 31.5, "y": cutout["y0"] + 31.5}
    assert neighbors(server, {"query": {"pixel": pixel}})["query"]["cutouts"][0]["id"] == str(ids[7])
    assert {link["title"] for link in cutout["links"]} >= {"Aladin Lite", "SIMBAD"}
    assert cutout["columns"]["sky_sigma"] > 0


def test_thumbnails_are_those_of_the_table(server, catalog, ids) -> None:
    rows = catalog.table("cutouts").select(["cutout_id", "thumbnail"]).to_pylist()
    known = {row["cutout_id"]: row["thumbnail"] for row in rows}
    asked = ids[::7]
    _, _, columns = unpack(server.ask("/api/thumbnails", {"ids": [str(each) for each in asked]}).body)
    data = columns["data"].tobytes()
    for each, offset, size in zip(columns["id"], columns["offset"], columns["size"], strict=True):
        assert data[offset : offset + size] == known[each]
    one = server.ask(f"/api/cutouts/{asked[0]}/thumbnail.jpg")
    assert (one.body, one.headers["content-type"]) == (known[asked[0]], "image/jpeg")
    assert "max-age" in one.headers["cache-control"]


def test_a_cutout_comes_as_fits_with_its_wcs(server, catalog, ids) -> None:
    answer = server.ask(f"/api/cutouts/{ids[3]}.fits")
    assert "attachment" in answer.headers["content-disposition"]
    cutout = catalog.cutout(ids[3])
    with fits.open(io.BytesIO(answer.body)) as opened:
        np.testing.assert_array_equal(opened[0].data, cutout.array)
        header = opened[0].header
    found, wanted = (wcs.pixel_to_world_values(10, 20) for wcs in (WCS(header), cutout.wcs))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
    assert header["CUTOUTID"] == ids[3]


def test_pictures_are_read_again_from_the_archive(server, catalog, ids) -> None:
    cutout = catalog.cutout(ids[0])
    answer = server.ask(f"/api/cutouts/{ids[0]}/picture.png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.body == cutout_png(cutout, "asinh", 99.5, "gray", 512)
    asked = "stretch=log&cut=99&colormap=viridis&size=100"
    answer = server.ask(f"/api/cutouts/{ids[0]}/picture.png?{asked}")
    assert answer.body == cutout_png(cutout, "log", 99, "viridis", 100)
    assert Image.open(io.BytesIO(answer.body)).size == (100, 100)


def test_images_are_found_and_shown(server, catalog) -> None:
    found = server.ask("/api/images?text=TILE_000").json()["images"]
    assert [row["path"] for row in found] == ["tile_000_000.fits", "tile_000_001.fits"]
    facts = server.ask(f"/api/images/{found[0]['image_id']}").json()
    assert (facts["width"], facts["height"], facts["n_cutouts"]) == (192, 192, 25)
    preview = server.ask(f"/api/images/{found[0]['image_id']}/preview.jpg?size=100")
    shown = Image.open(io.BytesIO(preview.body))
    assert shown.size == (96, 96)
    assert server.ask("/api/images?text=nothing").json() == {"images": []}


@pytest.mark.parametrize("kind", ["csv", "ecsv", "votable", "fits", "parquet"])
def test_lists_are_downloaded(server, catalog, ids, kind, tmp_path) -> None:
    ending = {"votable": "vot"}.get(kind, kind)
    for body, column in (
        ({"ids": [str(each) for each in ids[:5]]}, "cutout_id"),
        ({"query": {"ids": [str(ids[0])]}, "options": {"k": 5}}, "neighbor_id"),
    ):
        answer = server.ask(f"/api/list?format={kind}", body)
        assert answer.status == 200, answer.body
        assert f".{ending}" in answer.headers["content-disposition"]
        file = tmp_path / f"list.{ending}"
        file.write_bytes(answer.body)
        if kind == "parquet":
            table = pq.read_table(file).to_pandas()
        else:
            table = Table.read(file, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(kind, kind))
        wanted = (
            ids[:5] if column == "cutout_id" else [r["neighbor_id"] for r in catalog.neighbors(ids[0], k=5)]
        )
        assert [int(each) for each in table[column]] == wanted
        if column == "cutout_id":
            assert [str(each) for each in table["image"]] == [
                row["image"] for row in catalog.describe_cutouts(ids[:5])
            ]


def test_selections_are_kept_read_and_deleted(server, catalog, ids) -> None:
    kept = server.ask(
        "/api/selections/lens candidates 1".replace(" ", "%20"), {"ids": list(map(str, ids[:3]))}, "PUT"
    )
    assert kept.json()["count"] == 3
    assert [each["name"] for each in server.ask("/api/selections").json()["selections"]] == [
        "lens candidates 1"
    ]
    assert unpack(server.ask("/api/selections/lens%20candidates%201").body)[2]["id"].tolist() == ids[:3]
    catalog.check()
    assert Catalog.open(catalog.path).run().batches_done == 0  # a run leaves them alone
    assert server.ask("/api/selections/lens%20candidates%201", method="DELETE").status == 200
    assert server.ask("/api/selections/lens%20candidates%201").status == 404
    assert server.ask("/api/selections").json() == {"selections": []}


@pytest.mark.parametrize(
    "name",
    [
        "..%2fx",
        "%2e%2e",
        "..%2f..%2f..%2ftmp%2fx",
        "a%2fb",
        "%2fetc%2fpasswd",
        "a%00b",
        ".hidden",
        "x.",
        "a" * 65,
        "%0a",
    ],
)
def test_a_name_that_is_a_path_is_refused(server, catalog, ids, name) -> None:
    before = sorted(catalog.path.rglob("*"))
    for method, body in (("PUT", {"ids": [str(ids[0])]}), ("GET", None), ("DELETE", None)):
        answer = server.ask(f"/api/selections/{name}", body, method)
        assert answer.status == 400, answer
        assert "the name of a selection" in answer.message
    assert [each for each in sorted(catalog.path.rglob("*")) if each.name != "selections"] == [
        each for each in before if each.name != "selections"
    ]


def test_the_api_describes_itself(server) -> None:
    described = server.ask("/api/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) == {each.path.replace(":path", "") for each in ENDPOINTS}
    assert described["components"]["schemas"]["SearchOptions"]["properties"]["k"]
    page = server.ask("/api")
    assert page.headers["content-type"].startswith("text/html")
    for each in ENDPOINTS:
        assert each.path.replace(":path", "").encode() in page.body
    assert server.ask("/").status == 200


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/nothing", None, 404, "there is no /nothing"),
        ("/api/points?map=nope", None, 400, "there is no map 'nope': one of tsne"),
        ("/api/column", None, 400, "the parameter name is missing"),
        ("/api/column?name=nope", None, 400, "there is no column 'nope'"),
        ("/api/column?name=thumbnail", None, 400, "there is no column 'thumbnail'"),
        ("/api/column?name=score:nope", None, 400, "there is no label 'nope'"),
        ("/api/mask?where=sky_sigm%3C1", None, 400, "did you mean 'sky_sigma'?"),
        ("/api/mask?where=read_text(%27/etc/passwd%27)=%27%27", None, 400, "not allowed"),
        ("/api/mask", None, 400, "the parameter where is missing"),
        ("/api/cutouts?ids=1", None, 404, "holds no cutout 1"),
        ("/api/cutouts?ids=x", None, 400, "an ID is a whole number"),
        ("/api/cutouts?ids=99999999999999999999", None, 400, "63 bits"),
        ("/api/cutouts/1/thumbnail.jpg", None, 404, "holds no cutout 1"),
        ("/api/cutouts/1.fits", None, 404, "holds no cutout 1"),
        ("/api/cutouts/..%2f..%2fx.fits", None, 404, "there is no"),
        ("/api/cutouts/ID/picture.png?stretch=nope", None, 400, "stretch is one of"),
        ("/api/cutouts/ID/picture.png?colormap=nope", None, 400, "colormap is one of"),
        ("/api/cutouts/ID/picture.png?cut=nan", None, 400, "cut is a number"),
        ("/api/cutouts/ID/picture.png?cut=5", None, 400, "cut is a percentile"),
        ("/api/cutouts/ID/picture.png?size=100000", None, 400, "size is from 16 to 2048"),
        ("/api/images/1", None, 404, "holds no image 1"),
        ("/api/images/1/preview.jpg", None, 404, "holds no image 1"),
        ("/api/thumbnails", {"ids": []}, 400, "at least one ID"),
        ("/api/thumbnails", {"ids": ["1"] * 513}, 400, "at most 512"),
        ("/api/thumbnails", {"ids": [True]}, 400, "an ID is a whole number"),
        ("/api/neighbors", b"{", 400, "no JSON"),
        ("/api/neighbors", b"[" * 100_000, 400, "no JSON"),
        ("/api/neighbors", b"[]", 400, "a JSON object"),
        ("/api/neighbors", {}, 400, "the body reads"),
        ("/api/neighbors", {"query": {}}, 400, "one of ids, position and pixel"),
        ("/api/neighbors", {"query": {"image": "/etc/passwd"}}, 400, "one of ids, position and pixel"),
        ("/api/neighbors", {"query": {"vector": "/etc/passwd"}}, 400, "one of ids, position and pixel"),
        ("/api/neighbors", {"query": {"ids": ["1"]}}, 404, "cutout 1"),
        ("/api/neighbors", {"query": {"position": {"ra": 0, "dec": 0}}}, 400, "no cutout has its center"),
        ("/api/neighbors", {"query": {"position": {"ra": 0, "dec": 100}}}, 400, "Dec in [-90, 90]"),
        ("/api/neighbors", {"query": {"position": {"ra": "x"}}}, 400, "reads"),
        ("/api/neighbors", {"query": {"pixel": {"image_id": "1", "x": 0, "y": 0}}}, 404, "no image 1"),
        ("/api/neighbors", {"query": {"ids": ["ID"]}, "options": {"metrik": "l2"}}, 400, "metric"),
        ("/api/neighbors", {"query": {"ids": ["ID"]}, "options": {"k": 0}}, 400, "k"),
        ("/api/neighbors", {"query": {"ids": ["ID"]}, "options": {"k": 10**9}}, 400, "at most 10,000"),
        ("/api/neighbors", {"query": {"ids": ["ID"]}, "options": []}, 400, "options is an object"),
        (
            "/api/neighbors",
            {"query": {"ids": ["ID"]}, "options": {"moc": "/etc/passwd"}},
            400,
            "moc names a file",
        ),
        (
            "/api/neighbors",
            {"query": {"ids": ["ID"]}, "options": {"metric": "label_scores"}},
            409,
            "label_scores",
        ),
        ("/api/neighbors", {"query": {"ids": ["ID"]}, "options": {"repeats": "group"}}, 409, "repeats"),
        ("/api/list?format=exe", {"ids": ["ID"]}, 400, "format is one of"),
        ("/api/list?format=csv", {}, 400, "the body reads"),
        ("/api/selections/none", None, 404, "no selection 'none'"),
        ("/static/../app.py", None, 404, "there is no"),
        ("/static/%2e%2e/app.py", None, 404, "there is no"),
    ],
)
def test_what_is_wrong_is_said(server, ids, path, body, status, said) -> None:
    content = json.loads(json.dumps(body).replace('"ID"', f'"{ids[0]}"')) if isinstance(body, dict) else body
    answer = server.ask(path.replace("ID", str(ids[0])), content)
    assert answer.status == status, answer.body
    assert said in answer.message
    assert server.ask("/api/selections").status == 200


def test_a_selection_holds_known_cutouts_alone(server) -> None:
    answer = server.ask("/api/selections/strange", {"ids": ["1"]}, "PUT")
    assert (answer.status, "holds no cutout 1" in answer.message) == (404, True)
    assert server.ask("/api/points", {}).status == 405


def test_too_much_json_is_refused_and_not_held(server) -> None:
    answer = server.ask("/api/thumbnails", b" " * (17 << 20))
    assert (answer.status, "16 MB" in answer.message) == (413, True)


# ---- uploads ------------------------------------------------------------------------------------


def hollow_png(side: int, size: int) -> bytes:
    """A PNG whose header says that it is `side` px wide and high, of some bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", bytes(size)) + chunk(b"IEND", b"")


def fits_table() -> bytes:
    out = io.BytesIO()
    fits.HDUList(
        [fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])])]
    ).writeto(out)
    return out.getvalue()


def wide_fits() -> bytes:
    """One that is packed tile by tile."""
    out = io.BytesIO()
    zeros = np.zeros((9000, 9000), np.uint8)
    fits.CompImageHDU(zeros, compression_type="GZIP_1", tile_shape=(1000, 9000)).writeto(out)
    assert len(out.getvalue()) < 1 << 20
    return out.getvalue()


@pytest.fixture(scope="module")
def jpeg(server, ids) -> bytes:
    return server.ask(f"/api/cutouts/{ids[0]}/thumbnail.jpg").body


def test_a_picture_is_asked_with(server, catalog, survey, jpeg) -> None:
    tile = survey.tiles[0]
    asked = f"/api/upload?options={quote(json.dumps({'k': 4, 'metric': 'l2'}))}"
    found = server.ask(asked, tile.read_bytes(), headers={"X-File-Name": tile.name}).json()
    wanted = catalog.neighbors(catalog.resolve(Query.from_image(tile)), k=4)
    assert [int(row["id"]) for row in found["neighbors"]] == [row["neighbor_id"] for row in wanted]
    assert found["query"]["picture"].startswith("data:image/jpeg;base64,")
    assert found["query"]["labels"]
    assert found["query"]["scores"] is None
    assert found["query"]["name"] == "the file"
    # What else is in the name does not count.
    other = server.ask("/api/upload", jpeg, headers={"X-File-Name": "../../../etc/passwd.JPG"})
    assert other.status == 200, other.body
    assert len(other.json()["neighbors"]) > 0
    assert list(server.temporary.glob("elodin-explore-*")) == []


@pytest.mark.parametrize(
    ("name", "content", "status", "said"),
    [
        ("a.jpg", b"", 400, "0 bytes"),
        ("a.png", b"this is no picture\n" * 10, 400, "cannot be"),
        ("a.fits", b"this is no picture\n" * 10, 400, "cannot be"),
        ("a.jpg", "half", 400, "cannot be"),
        ("a.png", "hollow", 400, "64,000,000 px"),
        ("a.png", "large", 400, "64,000,000 px"),
        ("a.fits", "wide", 400, "64,000,000 px"),
        ("a.fits", "cut short", 400, "cannot be"),
        ("a.fits", "table", 400, "cannot be asked with"),
        ("a.png", "200 MB", 413, "64 MB"),
        ("/etc/passwd", b"x", 400, "X-File-Name, ends in none of"),
        ("../../x.py", b"x", 400, "X-File-Name, ends in none of"),
        ("a.fits.gz", b"x", 400, "X-File-Name, ends in none of"),
        ("", b"x", 400, "the name has none"),
    ],
)
def test_a_bad_upload_is_refused_and_the_next_is_answered(server, jpeg, name, content, status, said) -> None:
    made = {
        "half": lambda: jpeg[: len(jpeg) // 2],
        "hollow": lambda: hollow_png(50_000, 100_000),
        "large": lambda: hollow_png(9000, 100_000),
        "wide": wide_fits,
        "cut short": lambda: wide_fits()[:9000],
        "table": fits_table,
        "200 MB": lambda: bytes(200 << 20),
    }
    body = made[content]() if isinstance(content, str) else content
    answer = server.ask("/api/upload", body, headers={"X-File-Name": name})
    assert answer.status == status, answer.body
    assert said in answer.message
    assert "elodin-explore" not in answer.message, "no path of this machine"
    assert server.ask("/api/upload", jpeg, headers={"X-File-Name": "next.jpg"}).status == 200
    assert list(server.temporary.glob("elodin-explore-*")) == []


# ---- who may ask --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/api/catalog", "/api/nothing", "/static/nothing.js"])
def test_every_answer_forbids_what_is_from_elsewhere(server, path) -> None:
    headers = server.ask(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:PORT",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "127.0.0.1@evil",
        "10.0.0.1",
    ],
)
def test_other_names_of_this_machine_are_refused(server, host) -> None:
    answer = server.ask("/api/catalog", headers={"Host": host.replace("PORT", str(server.port))})
    assert (answer.status, answer.json()["error"]["kind"]) == (421, "RefusedError")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:PORT", "127.0.0.1:9", "[::1]:PORT"])
def test_names_of_the_loopback_are_answered(server, host) -> None:
    assert (
        server.ask("/api/selections", headers={"Host": host.replace("PORT", str(server.port))}).status == 200
    )


def test_pages_of_other_sites_may_not_ask(server, ids) -> None:
    body = {"ids": [str(ids[0])]}
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.ask("/api/thumbnails", body, headers=own).status == 200
    for strange in (
        {"Origin": "http://evil.example"},
        {"Origin": f"http://localhost:{server.port}"},
        {"Origin": f"http://127.0.0.1:{server.port + 1}"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for method, path in (
            ("POST", "/api/thumbnails"),
            ("PUT", "/api/selections/x"),
            ("DELETE", "/api/selections/x"),
        ):
            assert server.ask(path, body, method, strange).status == 403, (strange, method)
    assert server.ask("/api/selections").json() == {"selections": []}
    assert server.ask("/api/catalog", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    # A link to the page may be followed.
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.ask("/", headers=followed).status == 200
    assert server.ask("/api/catalog", headers=followed).status == 403


def test_others_than_the_loopback_need_the_token(catalog) -> None:
    with explored(catalog.path, "--host", "0.0.0.0") as server:
        assert server.token
        assert len(server.token) >= 32
        for path in (
            "/",
            "/api/catalog",
            "/static/x.js",
            "/?token=wrong",
            f"/api/catalog?token={server.token}",
        ):
            answer = server.ask(path)
            assert (answer.status, "token" in answer.message) == (401, True), path
        entered = server.ask(f"/?token={server.token}")
        assert (entered.status, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        held = {"Cookie": cookie.partition(";")[0]}
        assert server.ask("/api/catalog", headers=held).status == 200
        assert server.ask("/api/catalog", headers={"Cookie": held["Cookie"] + "x"}).status == 401
        assert server.ask("/api/catalog", headers={**held, "Host": "evil.example"}).status == 421
        assert server.ask("/api/catalog", headers={**held, "Host": "192.168.1.5:80"}).status == 200
        code, said = server.end()
        assert code == 130
        assert server.token not in said


# ---- many, and the end ---------------------------------------------------------------------------


def test_two_hundred_at_once_are_all_answered_right(server, catalog, ids) -> None:
    asked = [ids[at % len(ids)] for at in range(200)]
    options = [{"k": 3 + at % 4, "metric": ("l2", "jaccard", "cosine")[at % 3]} for at in range(200)]
    wheres = [None, "sky_sigma < 14", "x0 < 64"]

    def ask(at: int) -> dict[str, Any]:
        some = {**options[at], "where": wheres[at % 5 % 3]}
        return neighbors(server, {"query": {"ids": [str(asked[at])]}, "options": some})

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, range(200)))
    for at, found in enumerate(answers):
        wanted = catalog.neighbors(asked[at], where=wheres[at % 5 % 3], **options[at])
        assert found["query"]["cutouts"][0]["id"] == str(asked[at])
        assert [int(row["id"]) for row in found["neighbors"]] == [row["neighbor_id"] for row in wanted], at
        assert [row["distance"] for row in found["neighbors"]] == [row["distance"] for row in wanted]


def test_what_another_process_removes_is_in_no_answer(catalog, ids, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(catalog.path, copy)
    with explored(copy) as server:
        before = neighbors(server, {"query": {"ids": [str(ids[0])]}, "options": {"k": 3}})["neighbors"]
        gone = before[0]["id"]
        Catalog.open(copy).remove(cutouts=[int(gone)])

        def seen() -> bool:
            return unpack(server.ask("/api/points").body)[0] == 100

        while seen():
            pass  # it looks once a second
        after = neighbors(server, {"query": {"ids": [str(ids[0])]}, "options": {"k": 3}})["neighbors"]
        assert gone not in [row["id"] for row in after]
        assert server.ask(f"/api/cutouts/{gone}/thumbnail.jpg").status == 404
        Catalog.open(copy).compact()
        assert server.ask(f"/api/cutouts?ids={ids[0]}").status == 200
        assert server.ask("/api/thumbnails", {"ids": [before[1]["id"]]}).status == 200
        shutil.rmtree(copy)
        while (answer := server.ask("/api/column?name=sky")).status == 200:
            pass
        assert answer.status == 409
        assert str(copy) in answer.message
        assert server.end(signal.SIGTERM)[0] == 0


def test_ctrl_c_ends_it_quietly(catalog) -> None:
    with explored(catalog.path) as server:
        assert server.ask("/api/selections").status == 200
        code, said = server.end()
        assert code == 130
        assert "Traceback" not in said
        assert "error" not in said


def test_a_port_that_is_taken_and_a_catalog_that_is_not_there_are_errors(server, catalog, tmp_path) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "elodin_spark", "explore", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
        return done.returncode, done.stderr

    code, said = run(catalog.path, "--port", server.port)
    assert code == 2
    assert f"port {server.port} of 127.0.0.1 is taken" in said
    code, said = run(tmp_path, "--port", 0)
    assert code == 2
    assert "holds no catalog" in said
    code, said = run(catalog.path, "--host", "no.such.host.invalid")
    assert code == 2
    assert "there is no host 'no.such.host.invalid'" in said
