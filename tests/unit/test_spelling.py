"""Pages, docstrings, messages and names are in American English."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

FOLDERS = ("elodin_spark", "docs", "tests", "jobs", "conf", "benchmarks", "notebooks", ".github")
FILES = sorted(
    file
    for folder in FOLDERS
    for file in (ROOT / folder).rglob("*")
    if file.suffix in (".md", ".py", ".yaml", ".yml", ".ipynb", ".conf", ".sh")
    and "_build" not in file.parts
    and file != Path(__file__).resolve()
)
FILES += sorted(ROOT.glob("*.md"))
BRITISH = re.compile(
    r"colour|centre|centring|grey|neighbour|artefact|labell(?:ed|ing)|catalogue|licence|behaviour|honour|favour"
    r"|modell(?:ed|ing)|cancelled|judgement|fibre|analyse"
    r"|(?:normal|standard|serial|initial|recogn|organ|optim|minim|maxim|summar|visual|general)is(?:e|ing|ation)",
    re.IGNORECASE,
)
#: A name of another library, and a misspelt command that a test types.
KEPT = ("astropy_healpix.neighbours", 'refused("neighbours"')


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_file_and_its_name_are_in_american_english(file: Path) -> None:
    text = f"{file.name}\n{file.read_text(encoding='utf-8')}"
    for kept in KEPT:
        text = text.replace(kept, "")
    assert BRITISH.findall(text) == []


def test_a_british_word_is_seen() -> None:
    assert BRITISH.findall("Colours, a centre, normalised, a fingerprint") == [
        "Colour",
        "centre",
        "normalise",
    ]
