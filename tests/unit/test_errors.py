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
from elodin_spark.errors import EXTRAS, MissingDependencyError, import_extra, missing_extra

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Names of packages on PyPI, where they are not those that are imported.
NAMES = {"skimage": "scikit-image", "tensorflow": "tensorflow-cpu"}


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


def survey_of_tiles(folder: Path) -> object:
    from elodin_spark.datasets import simulate

    return simulate(folder / f"survey-{len(list(folder.iterdir()))}", tiles=1, size_px=128)


def simulated_stamps(folder: Path) -> object:
    from elodin_spark.learning.stamppool import stamp_pool

    return stamp_pool(folder / f"stamps-{len(list(folder.iterdir()))}", 0, 1, 32, 0, 1)


def quantizer(_: Path) -> object:
    from elodin_spark.fingerprints.runtimes.quantize import _load_nncf

    return _load_nncf()


def openvino_runtime(_: Path) -> object:
    from elodin_spark.fingerprints.runtimes.openvino import load_openvino

    load_openvino.cache_clear()
    return load_openvino()


def runtime_that_is_named(_: Path) -> object:
    from elodin_spark.config.settings import FingerprintsSettings
    from elodin_spark.fingerprints.runtimes.selection import choose_runtime

    return choose_runtime(FingerprintsSettings(weights="random:1", runtime="openvino"))


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
    ("galsim", survey_of_tiles),
    ("galsim", simulated_stamps),
    ("nncf", quantizer),
    ("openvino", openvino_runtime),
    ("openvino", runtime_that_is_named),
]


def block(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # importing it raises ImportError


@pytest.mark.parametrize(("package", "use"), NEEDS, ids=lambda value: getattr(value, "__name__", value))
def test_what_needs_a_package_says_which_extra_brings_it(
    package: str, use: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package == "nncf":
        pytest.importorskip("nncf", reason="8-bit integers need nncf, which this environment leaves out")
    use(tmp_path)
    block(monkeypatch, package)
    said = f" needs {package}: pip install 'elodin_spark[{EXTRAS[package]}]'"
    with pytest.raises(MissingDependencyError, match=re.escape(said)):
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


def test_one_of_several_packages_is_asked_for_and_a_broken_one_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = missing_extra(("jax", "torch"), "a network", instead="do without")
    assert str(several) == "a network needs jax or torch: pip install 'elodin_spark[jax]', or do without"
    (tmp_path / "galsim.py").write_text("from os import nothing_of_the_kind")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "galsim", raising=False)
    with pytest.raises(MissingDependencyError, match=r"drawing needs galsim \(cannot import name"):
        import_extra("galsim", "drawing")


def test_what_is_installed_is_imported() -> None:
    assert import_extra("skimage.exposure", "a test").__name__ == "skimage.exposure"
