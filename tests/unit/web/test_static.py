"""The files of the page: what a strict policy, a notebook and a small wheel ask of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import elodin_spark.web

STATIC = Path(elodin_spark.web.__file__).parent / "static"
MODULES = sorted(STATIC.glob("*.js"))
MOST_BYTES = 1_000_000


def imports(text: str) -> list[str]:
    return re.findall(r'^import (?:\{[^}]*\} from )?"([^"]*)";$', text, re.MULTILINE)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_modules_import_only_each_other_and_only_in_one_form(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = imports(text)
    assert all(re.fullmatch(r"\./[a-z]+\.js", name) and (STATIC / name).is_file() for name in named)
    # A notebook joins the modules by this form.
    assert len(re.findall(r"\bimport\b", re.sub(r"//.*|/\*.*?\*/", "", text, flags=re.DOTALL))) == len(named)


def test_imports_go_one_way() -> None:
    below = {file.name: {name[2:] for name in imports(file.read_text(encoding="utf-8"))} for file in MODULES}
    done: set[str] = set()
    while len(done) < len(below):
        ready = {name for name, needed in below.items() if needed <= done} - done
        assert ready, sorted(set(below) - done)
        done |= ready


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.name)
def test_no_code_is_made_of_texts_and_no_markup_either(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(
        r"\beval\b|\bFunction\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text
    )
    assert not re.search(r"https?://|\blocalStorage\b|document\.cookie", text)


def test_one_module_alone_fetches() -> None:
    fetching = [
        file.name
        for file in MODULES
        if re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource", file.read_text(encoding="utf-8"))
    ]
    assert fetching == ["api.js"]


def test_what_a_notebook_takes_leaves_the_rest_of_the_document_alone() -> None:
    for file in MODULES:
        if file.name != "main.js":
            assert not re.search(
                r"document\.(body|head|documentElement|title)|\bwindow\.[a-z]",
                file.read_text(encoding="utf-8"),
            ), file
    style = re.sub(r"/\*.*?\*/", "", (STATIC / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL)
    selectors = [each.strip() for rule in re.findall(r"([^{}]+)\{", style) for each in rule.split(",")]
    plain = [each for each in selectors if not each.startswith((".ex", "@", "to"))]
    assert plain == []


def test_the_page_holds_no_script_and_no_style_of_its_own() -> None:
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]
    assert not re.search(r"<style|style=|\son[a-z]+=|https?://", text)


def test_the_page_is_small() -> None:
    assert sum(file.stat().st_size for file in STATIC.rglob("*") if file.is_file()) < MOST_BYTES / 4


def test_the_docs_list_the_keys_of_the_page() -> None:
    keys = re.findall(
        r'^    \["([^"]+)", "([^"]+)"\],$', (STATIC / "keys.js").read_text(encoding="utf-8"), re.M
    )
    assert len(keys) > 20
    docs = Path(__file__).resolve().parents[3] / "docs" / "explorer.md"
    rows = re.findall(r"^\| (.+) \| (.+) \|$", docs.read_text(encoding="utf-8"), re.MULTILINE)
    first = rows.index(("key", "does"))
    assert rows[first + 1 : first + 1 + len(keys)] == keys
