"""How Sphinx builds these pages: ``make docs`` writes docs/_build/html.

The pages are plain Markdown that can be read where the files lie. Those beside this folder (README.md and
others of the root) are pages of their own here, and links to files that are no pages are downloads.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import list_settings  # noqa: E402

import elodin_spark  # noqa: E402
from elodin_spark.config.base import models_in  # noqa: E402

project = "elodin_spark"
author = "The elodin_spark developers"
copyright = author
version = release = elodin_spark.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
root_doc = "index"
pygments_style = "friendly"

myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words
autosummary_generate = False
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "elodin_spark"
html_show_copyright = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_depth": 3,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["sphinx-version"],
    "footer_end": [],
}

#: Pages here of files of the root.
OF_ROOT = {
    "start": "README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "conduct": "CODE_OF_CONDUCT.md",
    "security": "SECURITY.md",
}
PAGE_OF = {file: f"{page}.md" for page, file in OF_ROOT.items()}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+://|mailto:|#)([^)\s#]+)")


def page_of_root(file: str) -> str:
    """The text of a file of the root, with links that lead on from this folder."""

    def moved(link: re.Match[str]) -> str:
        path = link[1]
        return PAGE_OF.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}")

    return _LINK.sub(moved, (ROOT / file).read_text(encoding="utf-8"))


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    if page in OF_ROOT:
        source[0] = page_of_root(OF_ROOT[page])
    else:
        source[0] = _LINK.sub(lambda link: PAGE_OF.get(link[1].removeprefix("../"), link[1]), source[0])


def settings_of(model: type[BaseModel]) -> list[str]:
    """The section Parameters of the docstring of a settings model, from its fields."""
    lines = ["", "Parameters", "----------"]
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        sections = models_in(field.annotation)
        if len(sections) == 1:
            kind = f":class:`~{sections[0].__module__}.{sections[0].__qualname__}`"
        else:
            shown = _rst(list_settings.shown(field)) or "empty"
            kind = (
                f"{_rst(list_settings.values(field))}{', ' if shown == 'required' else ', default '}{shown}"
            )
        lines += [f"{name} : {kind}", f"    {_rst(field.description or '')}"]
    return lines if len(lines) > 3 else []


def _rst(markdown: str) -> str:
    return re.sub(r"`([^`]*)`", r"``\1``", markdown).replace("|", r"\|")


def _document(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if isinstance(obj, type) and issubclass(obj, BaseModel) and "Parameters" not in lines:
        lines += settings_of(obj)


def _public(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement) -> Any:
    """Lead from the home of a public name, as docstrings give it, to the name that is documented."""
    for name in elodin_spark.__all__:
        home = f"{getattr(elodin_spark, name).__module__}.{name}"
        target = node.get("reftarget", "")
        if target == home or target.startswith(f"{home}."):
            found = f"elodin_spark.{name}{target.removeprefix(home)}"
            python = env.domains["py"]
            return python.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], found, node, shown)
    return None


def _sign(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, None] | None:
    if isinstance(obj, type) and issubclass(obj, BaseModel):
        fields = (field for field in obj.model_fields if field != "kind")
        return f"({', '.join(['*', *fields])})" if set(obj.model_fields) - {"kind"} else "()", None
    return None


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", _read)
    app.connect("missing-reference", _public)
    # Before numpydoc, which reads what is added here.
    app.connect("autodoc-process-docstring", _document, priority=100)
    app.connect("autodoc-process-signature", _sign, priority=100)
