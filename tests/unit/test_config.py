"""Settings are validated before anything starts, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from elodin_spark.config import dump_settings, load_config, parse_settings
from elodin_spark.errors import ConfigError
from elodin_spark.settings import STEPS, Blobs, Crop, SlidingWindow, Step


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("images: {paths: /data}\ncutouts: {generator: {kind: blobs, sigma: 2}}\n")
    return path


def test_one_path_is_a_list_of_one_and_defaults_are_filled_in(file):
    settings = load_config(file)
    assert settings.images.paths == ("/data",)
    assert settings.cutouts.generator == Blobs(sigma=2)
    assert settings.fingerprints.top_labels == 30


def test_settings_survive_being_written_and_read(file):
    steps = [{"type": "Crop", "parameters": {"output_range": [15, -15, 15, -15]}}, {"type": "GrayScale"}]
    settings = parse_settings({"images": {"paths": ["/a", "/b"], "steps": steps}, "seed": 3})
    file.write_text(dump_settings(settings))
    assert load_config(file) == settings
    assert settings.images.steps[0].model() == Crop(output_range=(15, -15, 15, -15))


def test_overrides_are_yaml_and_apply_in_order(file):
    settings = load_config(
        file,
        ["seed=1", "seed=2", "cutouts.generator={kind: sliding_window, size: 64, step: 8}", "images.hdu=SCI"],
    )
    assert settings.seed == 2
    assert settings.cutouts.generator == SlidingWindow(size=64, step=8)
    assert settings.images.hdu == "SCI"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cutouts.generator.sigmaa=3", "did you mean 'sigma'"),
        ("cutout.steps=[]", "did you mean 'cutouts'"),
        ("fingerprints.weight=x", "did you mean 'weights'"),
        ("cutouts.generator.sigma=-1", "greater than 0"),
        ("cutouts.generator={kind: sliding_window, size: 10, step: 20}", "pixels between windows are lost"),
        ("cutouts.generator={kind: windows}", "sliding_window"),
        ("cutouts.steps=[{type: Sharpen}]", "unknown step 'Sharpen'"),
        ("cutouts.steps=[{type: Resize, parameters: {size: 3}}]", "size"),
        ("images.steps=[{type: RescaleIntensity, parameters: {in_range: [98, 2]}}]", "percentiles"),
        ("seed", "section.key=value"),
        ("seed=[1", "not YAML"),
        ("seed.deep=1", "not a section"),
        ("neighbors.metrics=[cosinus]", "cosine"),
        ("cutouts.thumbnail_px=8", "0 for no thumbnails"),
    ],
)
def test_a_mistake_is_named(file, override, message):
    overrides = ["seed=1", override] if override == "seed.deep=1" else [override]
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")) as caught:
        load_config(file, overrides)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "- a\n", "images: [", "images: {}\n"])
def test_a_file_that_is_no_configuration_is_refused_by_name(file, text):
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_config(file)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration file at .*gone\.yaml"):
        load_config(tmp_path / "gone.yaml")


@pytest.mark.parametrize("name", STEPS)
def test_every_step_has_defaults_and_takes_no_unknown_parameter(name):
    assert Step(type=name).model() == STEPS[name]()
    with pytest.raises(ValueError, match="nonsense"):
        Step(type=name, parameters={"nonsense": 1})
