"""Further networks in the settings: what is refused, and by which name."""

from __future__ import annotations

from typing import Any

import pytest

from elodin_spark.config.load import parse_settings
from elodin_spark.config.mistakes import of_network
from elodin_spark.errors import ConfigError, WeightsError

WINDOWS = {"generator": {"kind": "sliding_window", "size": 224, "step": 96, "edge": "drop"}}


def given(**fingerprints: Any) -> Any:
    sections = {"images": {"paths": "/data"}, "cutouts": WINDOWS, "fingerprints": fingerprints}
    return parse_settings(sections).fingerprints


def test_two_networks_are_joined_where_none_is_named() -> None:
    found = given()
    assert [(part.weights, part.augmentations) for part in found.parts] == [
        ("survey", 4),
        ("imagenet-lite", 4),
    ]
    assert found.factors == (1.0, 0.6)
    assert given(transform="standardize").networks == given(networks=None).networks == found.networks
    assert given(augmentations=1).parts[0].augmentations == 1
    assert given(augmentations=1).networks == found.networks


@pytest.mark.parametrize(
    "named",
    [
        {"weights": "survey"},
        {"backbone": "resnet50"},
        {"networks": []},
        {"mode": "dense"},
        {"transform": "none"},
        {"transform": "whiten"},
    ],
)
def test_nothing_is_joined_to_what_is_named(named: dict[str, Any]) -> None:
    found = given(**named)
    assert (found.weights, found.networks) == ("survey", ())
    assert found.augmentations == (1 if "mode" in named else 8)


def test_each_network_has_the_defaults_of_its_weights() -> None:
    found = given(networks=[{"weights": "imagenet-lite", "factor": 0.7}])
    assert [part.weights for part in found.parts] == ["survey", "imagenet-lite"]
    assert [(part.backbone, part.input_px, part.augmentations) for part in found.parts] == [
        ("resnet50", 64, 8),
        ("efficientnetlite0", 128, 4),
    ]
    assert found.factors == (1.0, 0.7)


@pytest.mark.parametrize(
    ("networks", "more", "said"),
    [
        ([{"factor": 0.5}], {}, r"'fingerprints\.networks\.0\.weights' is missing"),
        ([{"weights": ["a"]}], {}, r"'fingerprints\.networks\.0\.weights': Input should be a valid string"),
        ([{"weights": "random:1", "facter": 1}], {}, r"'fingerprints\.networks\.0\.facter'.*\.0\.factor'"),
        ([{"weight": "random:1"}], {}, r"'fingerprints\.networks\.0\.weight'.*\.0\.weights'"),
        (
            [{"weights": "random:1", "factor": 0}],
            {},
            r"networks\.0\.factor': .*greater than or equal to 0\.01",
        ),
        (
            "survey",
            {},
            r"networks': Input should be a list of networks, .*\[{weights: imagenet-lite, factor: 0\.6}\]",
        ),
        (["survey"], {}, "networks': Input should be a list of networks, each a section"),
        ({"weights": "survey"}, {}, "networks': Input should be a list of networks"),
        ([{"weights": f"random:{seed}"} for seed in range(5)], {}, "networks': .* at most 4 "),
        ([{"weights": "survey"}], {}, "named twice"),
        ([], {"mode": "dense", "copies": 9}, "mode dense sees no windows that could be copied"),
        ([{"weights": "imagenet-lite"}], {"mode": "dense"}, "mode dense runs one network"),
        ([{"weights": "imagenet-lite"}], {"transform": "none"}, "joined by standardizing"),
        ([{"weights": "imagenet-lite", "int8_model": "x.xml"}], {}, "for precision int8 or auto"),
    ],
)
def test_what_cannot_be_joined_is_refused_by_name(
    networks: list[dict[str, Any]], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        given(networks=networks, **more)


def test_what_is_wrong_with_a_network_is_told_by_its_own_settings() -> None:
    said = "fingerprints.layer: there is no such layer; see fingerprints.runtime or fingerprints.weights"
    for number, right in [
        (0, said),
        (
            2,
            "fingerprints.networks.1.layer: there is no such layer; see fingerprints.runtime or "
            "fingerprints.networks.1.weights",
        ),
    ]:
        with pytest.raises(WeightsError) as caught, of_network(number), of_network(number):
            raise WeightsError(said)
        assert str(caught.value) == right
    with pytest.raises(ConfigError, match=r"^fingerprints\.networks\.0: too large$"), of_network(1):
        raise ConfigError("too large")


def test_weights_that_are_no_text_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'fingerprints\.weights': Input should be a valid string"):
        given(weights=["a"])
