"""The papers around the code say what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from helpers import order
from helpers.paths import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import elodin_spark
from elodin_spark.config.load import load_config, parse_settings
from elodin_spark.exits import EXIT_CODES
from elodin_spark.spark.java import HOW_TO_GET, MINIMUM_JAVA

PAPERS = [ROOT / name for name in ("CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAPERS, *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "reference").glob("*.md"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
REFERENCE = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.parent.name == "reference")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
LARGEST_PICTURE = 400_000


@pytest.mark.parametrize("name", ["local", "cluster", "lsst"])
def test_each_configuration_can_be_loaded(name: str) -> None:
    settings = load_config(ROOT / "conf" / f"{name}.yaml")
    assert settings.catalog is not None
    for step in () if settings.images.steps == "auto" else settings.images.steps:
        step.model()


def test_spark_defaults_hold_one_property_and_one_value_a_line() -> None:
    lines = (ROOT / "conf" / "spark-defaults.conf").read_text(encoding="utf-8").splitlines()
    properties = [line.split() for line in lines if line and not line.startswith("#")]
    assert all(len(words) == 2 and words[0].startswith("spark.") for words in properties)
    assert len({words[0] for words in properties}) == len(properties)


def test_changelog_citation_and_package_name_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## \[(\d[^]]*)\] - (\d{4}-\d\d-\d\d|Unreleased)$", changelog, re.MULTILINE)
    assert latest is not None
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == elodin_spark.__version__ == latest[1] == citation["version"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == "BSD-3-Clause"
    # The weights imagenet-lite are of others.
    assert project["license"] == "BSD-3-Clause AND Apache-2.0"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^(```|    ).*?$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {head.lower().replace(" ", "-") for head in heads}, target


def test_every_file_that_the_readme_names_exists() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:conf|jobs|docs|notebooks)/[\w./-]+\w", readme))
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_that_a_page_names_is_one(page: Path) -> None:
    named = re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= TARGETS


def test_contributing_names_files_that_exist_and_every_target_of_tests() -> None:
    text = PAPERS[0].read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:elodin_spark|tests|conf|docs|benchmarks|jobs|\.ci)/[\w./-]*)`", text))
    assert len(named) >= 8
    assert not [name for name in named if not (ROOT / name).exists() and not name.startswith("docs/_build")]
    assert {"venv", "lint", "docs", *(name for name in TARGETS if name.startswith("test"))} - {
        "test-elsewhere"
    } <= set(re.findall(r"`make ([a-z-]+)`", text))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_each_form_of_an_issue_is_one(form: Path) -> None:
    found = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.name == "config.yml":
        assert found["blank_issues_enabled"] in (True, False)
        return
    assert {"name", "description", "body"} <= set(found)
    fields = [field for field in found["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields) >= 3


def test_what_forms_and_pull_requests_name_exists() -> None:
    template = ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md"
    assert set(re.findall(r"`make ([a-z-]+)`", template.read_text(encoding="utf-8"))) <= TARGETS
    assert len(FORMS) == 3
    for file in (*FORMS, template):
        for name in re.findall(r"\b[A-Z_]+\.md\b", file.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), name


def test_the_reference_has_every_public_name() -> None:
    for name in elodin_spark.__all__:
        assert re.search(rf"^\.\. auto(?:class|function):: (?:elodin_spark\.)?{name}$", REFERENCE, re.M) or (
            name == "ElodinError" and "automodule:: elodin_spark.errors" in REFERENCE
        ), name
        assert re.search(rf"^   {name}$", REFERENCE, re.MULTILINE), name


def test_every_page_has_its_place_in_the_table_of_contents() -> None:
    docs = ROOT / "docs"
    listed = []
    for index in (docs / "index.md", docs / "reference" / "index.md"):
        for block in re.findall(r"```{toctree}\n(.*?)```", index.read_text(encoding="utf-8"), re.DOTALL):
            names = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed += [(index.parent / f"{name}.md").relative_to(docs) for name in names]
    pages = {page.relative_to(docs) for page in docs.rglob("*.md") if "_build" not in page.parts}
    assert sorted(map(str, listed)) == sorted(map(str, pages - {Path("index.md")}))


def test_the_guide_names_every_exit_code() -> None:
    codes = re.findall(r"\d+", EXIT_CODES)
    assert len(codes) > 4
    assert not [code for code in codes if f"| {code} |" not in GUIDE]


def test_the_java_check_of_make_says_what_the_package_says() -> None:
    script = (ROOT / "conf" / "check-java.sh").read_text(encoding="utf-8").replace("\\\n", "")
    assert HOW_TO_GET in script
    assert f"minimum={MINIMUM_JAVA}" in script


def test_each_file_whose_duration_is_known_exists_and_make_keeps_their_order() -> None:
    assert [name for name in order.SECONDS if not (ROOT / "tests" / name).is_file()] == []
    assert min(map(order.rank, order.SECONDS)) == order.rank(
        max(order.SECONDS, key=order.SECONDS.__getitem__)
    )
    assert "--dist=loadfile --no-loadscope-reorder" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_pictures_are_small_and_shown_somewhere() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < LARGEST_PICTURE
        assert f"images/{picture.name})" in pages


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("requirements", {"gpu", "torch", "petastorm"}),
        (
            "petastorm",
            {"gpu", "torch", "openvino", "jax", "s3", "texture", "explore", "browser", "notebooks", "docs"},
        ),
    ],
)
def test_a_lock_holds_all_that_is_asked_of_it_and_names_no_index(name: str, left_out: set[str]) -> None:
    lock = (ROOT / "conf" / f"{name}.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert left_out <= set(extras)
    wanted = project["dependencies"] + [
        need for extra, needs in extras.items() if extra not in left_out for need in needs
    ]
    # Of a lock for several versions of Python a package may have several lines.
    locked: dict[str, list[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)(?:\[\w,-]+\])?==([^\s;]+)", lock, re.MULTILINE):
        locked.setdefault(canonicalize_name(package), []).append(version)
    for need in map(Requirement, wanted):
        versions = locked.get(canonicalize_name(need.name), [])
        assert versions, need
        assert all(need.specifier.contains(version) for version in versions), need
    assert "://" not in lock
    assert "--index" not in lock


def test_every_example_of_settings_in_the_docs_is_valid() -> None:
    blocks = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "images_and_cutouts.md").read_text(), re.DOTALL
    )
    assert len(blocks) >= 5
    for block in blocks:
        parse_settings(yaml.safe_load(block))
