"""What is missing is named, with the extra of pyproject.toml that brings it."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ROOT

from elodin_spark.config.load import parse_settings
from elodin_spark.errors import EXTRAS, MissingDependencyError, import_extra

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Names of packages on PyPI, where they are not those that are imported.
NAMES = {"skimage": "scikit-image"}


def sources(_: Path) -> object:
    from elodin_spark.cutouts.sources import detect_sources

    return detect_sources(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32))


def texture(_: Path) -> object:
    from elodin_spark.cutouts.texture import texture

    return texture(np.arange(64, dtype=np.uint8).reshape(8, 8), "haralick")


def equalized(_: Path) -> object:
    from elodin_spark.cutouts.stretch import equalize

    return equalize(np.arange(64, dtype=np.float32).reshape(8, 8))


def equalized_in_tiles(_: Path) -> object:
    from elodin_spark.cutouts.stretch import equalize_adaptive

    return equalize_adaptive(np.arange(4096, dtype=np.float32).reshape(64, 64))


def tiff(folder: Path) -> object:
    import cv2

    from elodin_spark.images.raster import describe_raster

    cv2.imwrite(str(folder / "a.tif"), np.zeros((8, 8), np.uint8))
    return describe_raster(str(folder / "a.tif"))


def press_image(_: Path) -> object:
    from elodin_spark.images.avm import avm_header

    attributes = (
        'xmlns:avm="http://www.communicatingastronomy.org/avm/1.0/" avm:Spatial.CoordinateFrame="ICRS"'
    )
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    packet = f'<rdf:RDF xmlns:rdf="{rdf}"><rdf:Description {attributes}/></rdf:RDF>'
    return avm_header(packet.encode(), 8, 8)


def coverage_map(folder: Path) -> object:
    from elodin_spark.neighbors.regions import within_moc

    (folder / "moc.json").write_text('{"0": [1]}')
    return within_moc(folder / "moc.json", np.zeros(1), np.zeros(1))


def aligned(_: Path) -> object:
    from astropy.wcs import WCS

    from elodin_spark.images.align import Grid, align
    from elodin_spark.images.sky import header_text

    def grid(x: float) -> Grid:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150, 2]
        wcs.wcs.crpix, wcs.wcs.cdelt = [x, 16], [-1e-4, 1e-4]
        return Grid(header_text(wcs.to_header()), 32, 32)

    alignment, box = align(grid(16), grid(16.5)), (0, 0, 32, 32)
    pixels = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    return alignment.resample(pixels, box, box, 0.0)


#: What needs a package, by its name.
NEEDS: list[tuple[str, Callable[[Path], object]]] = [
    ("sep", sources),
    ("mahotas", texture),
    ("skimage", equalized),
    ("skimage", equalized_in_tiles),
    ("tifffile", tiff),
    ("pyavm", press_image),
    ("mocpy", coverage_map),
    ("reproject", aligned),
]


def block(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # importing it raises ImportError


@pytest.mark.parametrize(("package", "use"), NEEDS, ids=lambda value: getattr(value, "__name__", value))
def test_what_needs_a_package_says_which_extra_brings_it(
    package: str, use: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(tmp_path)
    block(monkeypatch, package)
    with pytest.raises(MissingDependencyError, match=re.escape(f"'elodin_spark[{EXTRAS[package]}]'")):
        use(tmp_path)


@pytest.mark.parametrize(
    ("package", "settings"),
    [
        ("sep", {"cutouts": {"generator": {"kind": "sources", "size": 64}}}),
        ("mahotas", {"cutouts": {"texture": ["haralick"]}}),
        ("skimage", {"cutouts": {"steps": [{"type": "HistogramEqualization"}]}}),
        ("skimage", {"images": {"paths": "/data", "steps": [{"type": "AdaptiveHistogramEqualization"}]}}),
    ],
)
def test_a_catalog_is_not_begun_without_what_its_settings_need(
    package: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from elodin_spark.catalog.build.resolve import check_extras

    parsed = parse_settings({"images": {"paths": "/data"}} | settings)
    check_extras(parsed)
    block(monkeypatch, package)
    with pytest.raises(MissingDependencyError, match=EXTRAS[package]):
        check_extras(parsed)
    check_extras(parse_settings({"images": {"paths": "/data"}}))


def test_each_extra_brings_its_packages_and_the_core_none_of_them() -> None:
    core = [re.split("[>=<]", each)[0] for each in PROJECT["dependencies"]]
    for package, extra in EXTRAS.items():
        name = NAMES.get(package, package)
        brought = [re.split("[>=<]", each)[0] for each in PROJECT["optional-dependencies"][extra]]
        assert name in brought
        assert name not in core


def test_what_is_installed_is_imported() -> None:
    assert import_extra("skimage.exposure", "a test").__name__ == "skimage.exposure"
