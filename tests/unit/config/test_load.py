"""Settings are validated before anything starts, and mistakes are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from elodin_spark.config.base import models_in, parts_of
from elodin_spark.config.load import dump_settings, load_config, parse_settings
from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.config.quality import FractionRule
from elodin_spark.config.settings import STEPS, Blobs, Crop, Settings, SlidingWindow, Sources, Step
from elodin_spark.config.yamltext import (
    DEEPEST,
    MOST_ALIASED,
    MOST_BYTES,
    read_value,
    read_yaml,
    write_yaml,
)
from elodin_spark.errors import ConfigError


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
        ("cutouts.generator.sigmaa=3", "did you mean 'cutouts.generator.sigma'"),
        ("cutout.steps=[]", "did you mean 'cutouts'"),
        ("fingerprints.weight=x", "did you mean 'fingerprints.weights'"),
        ("cutouts.generator.sigma=-1", "greater than 0"),
        ("cutouts.generator={kind: sliding_window, size: 10, step: 20}", "pixels between windows are lost"),
        ("cutouts.generator={kind: windows}", "sliding_window"),
        ("cutouts.steps=[{type: Sharpen}]", "unknown step 'Sharpen'"),
        ("cutouts.steps=[{type: Resize, parameters: {size: 3}}]", "size"),
        ("images.steps=[{type: RescaleIntensity, parameters: {in_range: [98, 2]}}]", "percentiles"),
        ("seed", "section.key=value"),
        ("seed=[1", "--set seed: the value begins like a list"),
        ("seed.deep=1", "not a section"),
        ("neighbors.metrics=[cosinus]", "cosine"),
        ("neighbors.metrics=l2", "'neighbors.metrics': Input should be a list, such as [a, b]"),
        ("cutouts.generator=full_image", "generator': Input should be a section, such as {name: value}"),
        ("images.steps={a: 1}", "Input should be 'auto' or Input should be a list"),
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


# ---- the text -------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# a comment\n", "is empty"),
        ("- a\n", "holds a list"),
        ("images\n", "holds a text"),
        ("3\n", "holds 3"),
        ("seed: 1\nimages: {paths: /a}\nseed: 2\n", "line 3 gives 'seed' again, after line 1"),
        ("images:\n  paths: /a\n  paths: /b\n", "line 3 gives 'paths' again, after line 2"),
        ("images: {paths: /a, paths: /b}\n", "line 1 gives 'paths' again"),
        ("spark: {conf: {a.b: 1, a.b: 2}}\n", "line 1 gives 'a.b' again"),
        ("1: x\n", "line 1 has '1' for a name"),
        ("true: x\n", "line 1 has 'true' for a name"),
        ("a:\n  ~: x\n", "line 2 has '~' for a name"),
        ("[a]: x\n", "line 1 has a list or a section for a name"),
        ("images:\n\tpaths: /a\n", "line 2 is indented with a tab"),
        ("images: [\n", "line 2 is not valid YAML"),
        ("seed: 1\n---\nseed: 2\n", "line 2 begins a second document"),
        ("a: !!python/object/apply:os.system [id]\n", "line 1 has the tag"),
        ("a: " + "[" * (DEEPEST + 1), f"nested more than {DEEPEST} levels"),
        ("a: " + "[" * 100_000, f"nested more than {DEEPEST} levels"),
        ("a: &a [*a]\n", "line 1 holds itself by an alias"),
        (LAUGHS, f"more than {MOST_ALIASED:,} values by aliases"),
        ("seed: " + "9" * 10_000, "more digits"),
        ("a: \0\n", "is no text"),
        (b"a: \xff\n", "is not text in UTF-8 (byte 3)"),
        (b" " * (MOST_BYTES + 1), "more than 16 MiB"),
    ],
)
def test_a_text_that_is_no_settings_is_refused_in_one_line(file, content, message):
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_text(file, encoding):
    file.write_bytes("images: {paths: /Größe}\n".encode(encoding))
    assert load_config(file).images.paths == ("/Größe",)


def test_aliases_and_merged_sections_that_end_are_read():
    read = read_yaml("base: &base {x: 1, z: 0}\nhere: {<<: *base, x: 2}\nlist: [*base, *base]\n")
    assert read["here"] == {"x": 2, "z": 0}
    assert read["list"] == [{"x": 1, "z": 0}] * 2


#: What YAML 1.2 says of plain words (section 10.3.2), and of what YAML 1.1 alone takes for something else.
WORDS = {
    **{
        "no": "no",
        "Yes": "Yes",
        "on": "on",
        "1:30": "1:30",
        "2020-01-01": "2020-01-01",
        "1_0": "1_0",
        "=": "=",
    },
    **{"010": 10, "0o17": 15, "0x1f": 31, "-3": -3, "1e-3": 0.001, ".5": 0.5, "1.": 1.0, "-2.5E+3": -2500.0},
    **{"true": True, "FALSE": False, "~": None, "null": None},
}


@pytest.mark.parametrize("word", WORDS)
def test_plain_words_mean_what_they_say_in_a_file_and_on_the_command_line(word):
    wanted = WORDS[word]
    for read in (read_yaml(f"a: {word}\n")["a"], read_value(word)):
        assert read == wanted
        assert type(read) is type(wanted)
    assert read_yaml(write_yaml({"a": word})) == {"a": word}, "a text stays one"
    assert read_yaml(write_yaml({"a": wanted})) == {"a": wanted}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "/data/a #b",
            "#a",
            "a: b",
            "@list.txt",
            "*.fits",
            "&a",
            "!a",
            "%20",
            "|",
            "> a",
            "- a",
            "? a",
            "a,b",
        ),
        *("/a/[b]/c.fits", "/a/{b}", "`a`", "a 'b'", "C:\\a", "--", "a\nb"),
    ],
)
def test_a_value_of_the_command_line_is_kept_whole(file, text):
    assert load_config(file, [f"images.root={text}"]).images.root == text


@pytest.mark.parametrize("text", ["[a] #b", "{a: 1} # b", "'a' #b", '"a" b', "[a]/b", "[a #b]", "'a"])
def test_a_value_of_which_a_part_would_be_lost_is_refused(file, text):
    with pytest.raises(ConfigError, match=r"--set images\.root: the value .* quotes") as caught:
        load_config(file, [f"images.root={text}"])
    assert "\n" not in str(caught.value)


def test_free_names_keep_their_dots(file):
    settings = load_config(
        file,
        [
            "spark.conf.spark.executor.memory=4g",
            "spark.conf={spark.a: 1}",
            "spark.conf.spark.sql.shuffle.partitions=7",
            "images.storage.client_kwargs.endpoint_url=http://localhost:1",
            "cutouts.quality.bits.TRAIL.reject_above=0.1",
        ],
    )
    assert settings.spark.conf == {"spark.a": 1, "spark.sql.shuffle.partitions": 7}
    assert settings.images.storage == {"client_kwargs": {"endpoint_url": "http://localhost:1"}}
    assert settings.cutouts.quality.bits == {"TRAIL": FractionRule(reject_above=0.1)}


# ---- the values -----------------------------------------------------------------------------


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        for below in models_in(field.annotation):
            yield prefix + name
            yield from sections(below, f"{prefix}{name}.")


def nested(path: str, value: object) -> dict[str, Any]:
    values: Any = value
    for name in reversed(path.split(".")):
        values = {name: values}
    return values


@pytest.mark.parametrize("section", sorted({s for s in sections(Settings) if "color" not in s} - {"images"}))
def test_a_section_with_nothing_below_it_is_its_defaults(section):
    assert parse_settings({"images": {"paths": "/a"}} | nested(section, None)) == parse_settings(
        {"images": {"paths": "/a"}}
    )


def test_a_needed_setting_without_a_value_is_named():
    for values, message in [
        ({"images": None}, "'images.paths' is missing"),
        ({"images": {"paths": None}}, "'images.paths': it has no value"),
        ({"images": {"paths": "/a"}, "seed": None}, "'seed': it has no value"),
    ]:
        with pytest.raises(ConfigError, match=message):
            parse_settings(values)


def test_a_generator_without_its_kind_is_the_default_one(file):
    file.write_text("images: {paths: /a}\n")
    assert load_config(file, ["cutouts.generator.step=64"]).cutouts.generator == SlidingWindow(step=64)
    assert load_config(file, ["cutouts.generator.kind=sources"]).cutouts.generator == Sources()


@pytest.mark.parametrize(
    "setting", ["seed", "fingerprints.threads", "neighbors.recall", "images.hdu", "run.max_failures"]
)
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers(setting, value):
    with pytest.raises(ConfigError, match=f"'{setting}': true and false"):
        parse_settings({"images": {"paths": "/a"}} | nested(setting, value) | {})


PAIRS = ((float, float), (int, int), (int, int, int, int), (float, float, float, float))


def models_below(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for field in model.model_fields.values():
        for below in models_in(field.annotation):
            found |= models_below(below)
    return found


RANGES = {
    "images.mjd": [59100, 59000],
    "cutouts.quality.nodata": {"fill_above": 0.5, "reject_above": 0.2},
    "cutouts.quality.masked": {"fill_above": 0.5, "reject_above": 0.2},
    "cutouts.quality.saturated": {"fill_above": 0.5, "reject_above": 0.2},
    "cutouts.quality.bits": {"TRAIL": {"fill_above": 0.5, "reject_above": 0.2}},
    "images.steps": [{"type": "RescaleIntensity", "parameters": {"in_range": [98, 2]}}],
    "cutouts.steps": [{"type": "Crop", "parameters": {"output_range": [20, 10, 0, 5]}}],
}


@pytest.mark.parametrize("setting", RANGES)
def test_a_range_that_ends_before_it_begins_is_refused(setting):
    section, _, name = setting.rpartition(".")
    values: Any = {"images": {"paths": "/a"}}
    below = values
    for part in section.split("."):
        below = below.setdefault(part, {})
    below[name] = RANGES[setting]
    with pytest.raises(ConfigError, match=f"'{setting}"):
        parse_settings(values)


def test_every_pair_of_numbers_in_the_settings_is_a_known_range():
    """A new one is added to RANGES, or is no range."""
    pairs = [
        (model.__name__, name)
        for model in {*STEPS.values(), *models_below(Settings), *models_below(PretrainSettings)}
        for name, field in model.model_fields.items()
        if any(get_origin(part) is tuple and get_args(part) in PAIRS for part in parts_of(field.annotation))
    ]
    assert sorted(pairs) == [
        ("Crop", "output_range"),
        ("ImagesSettings", "mjd"),
        ("RescaleIntensity", "in_range"),
    ]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("cutouts.generator.sigmaa=1", "'cutouts.generator.sigmaa': did you mean 'cutouts.generator.sigma'?"),
        ("cutouts.generator.step=8", "'cutouts.generator.step': it goes with kind: sliding_window"),
        ("step=8", "'step': did you mean 'cutouts.generator.step'?"),
        ("generator.step=8", "'generator': did you mean 'cutouts.generator'?"),
        ("Seed=8", "'Seed': did you mean 'seed'?"),
        ("fingerprints.batch-size=8", "did you mean 'fingerprints.batch_size'?"),
        ("cutouts.quality.nodata.fill=1", "did you mean 'cutouts.quality.nodata.fill_above'?"),
        ("cutouts.quality.bits.SAT.fill=1", "did you mean 'cutouts.quality.bits.SAT.fill_above'?"),
        ("spark.config.a=1", "'spark.config': did you mean 'spark.conf'?"),
        ("cutouts.steps=[{type: Resize, parameters: {size: 3}}]", "did you mean 'parameters.output_size'?"),
        ("cutouts.generator.kind=window", "'cutouts.generator': unknown kind 'window': one of"),
        ("neighbors.k=zero", "'neighbors.k': Input should be a valid integer"),
        ("images.steps=[{type: Resize, parameters: {output_size: 0}}]", "'images.steps.0': of Resize"),
        ("nonsense=1", "one of catalog, cutouts"),
    ],
)
def test_a_misspelt_setting_is_named_as_it_was_typed(file, typed, message):
    with pytest.raises(ConfigError) as caught:
        load_config(file, [typed])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "literal" not in str(caught.value), "what a union tried"
    assert "tuple" not in str(caught.value)


def test_values_of_sections_with_secrets_are_not_shown(file):
    for typed in ("images.storage=s3cret", "images.storage=[s3cret", "fingerprints.weights_storage=s3cret"):
        with pytest.raises(ConfigError) as caught:
            load_config(file, [typed])
        assert "s3cret" not in str(caught.value)
