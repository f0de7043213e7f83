"""The weights that come with the package, under the names ``survey`` and ``imagenet-lite``.

Beside each file of weights in ``elodin_spark/weights`` lies a JSON file of the same name: what they are, and
the checksum that they must have. A package without that file does not have the weights, and says so.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, ValidationError

from elodin_spark.config.backbones import get_backbone
from elodin_spark.config.base import Model
from elodin_spark.errors import WeightsError

#: What ``fingerprints.weights`` calls them.
SURVEY, LITE = "survey", "imagenet-lite"
#: By that name, the name of both files without what follows the dot. The first of a backbone is its default.
STEMS = {SURVEY: "survey-resnet50", LITE: "imagenet-efficientnetlite0"}
#: Where neither a backbone is named nor weights of the package.
DEFAULT_BACKBONE = "resnet50"
#: The augmentations of the default weights where others are joined to them, and the factor of these: see
#: docs/model-card.md.
JOINED_AUGMENTATIONS: Literal[4] = 4
JOINED_FACTOR = 0.6

#: Where all lie. On executors the JSON files alone: the driver ships the weights by their hash.
FOLDER = files("elodin_spark") / "weights"


class ShippedWeights(Model):
    """What the JSON file says.

    Attributes
    ----------
    file : str
        Name of the weights file beside it, in the format of
        :mod:`elodin_spark.fingerprints.weights.packed`.
    size_bytes : int
    sha256 : str
        Of that file.
    arrays_sha256 : str
        Of the arrays in it.
    backbone : str
        The default of ``fingerprints.backbone``.
    input_px : int
        The default of ``fingerprints.input_px``: the side of images that makes the better vectors, px.
    encoding : str
        How kernels are stored.
    layer : str, optional
        Whose output makes the better vectors, if it is not the last: the default of ``fingerprints.layer``
        where windows are seen one by one.
    augmentations : {1, 4, 8}
        The default of ``fingerprints.augmentations``, likewise.
    card : dict
        Where the weights come from, and how good they are: see docs/model-card.md.
    """

    file: str
    size_bytes: int = Field(ge=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    arrays_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    backbone: str
    input_px: int = Field(ge=32, le=1024)
    encoding: str
    layer: str | None = None
    augmentations: Literal[1, 4, 8] = 1
    card: dict[str, Any] = Field(default_factory=dict)


def shipped_weights(name: str = SURVEY) -> ShippedWeights | None:
    """What comes with this package under a name of :data:`STEMS`; None where nothing does.

    Raises
    ------
    WeightsError
        The JSON file is damaged.
    """
    path = FOLDER / f"{STEMS[name]}.json"
    if not path.is_file():
        return None
    try:
        return ShippedWeights(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path}, which describes the weights of the package, is damaged ({reason}): install "
            "elodin_spark again"
        ) from None


def own_network(weights: str | None, backbone: str | None, mode: str = "window") -> dict[str, Any]:
    """``weights``, ``backbone``, ``input_px``, ``layer``, ``augmentations`` of settings that leave them out.

    Backbone: that of the weights, where these come with the package, else ``resnet50``. Weights: the first in
    :data:`STEMS` that come with the package and are of the backbone, else ``imagenet``. Size, layer and
    augmentations: what the weights of the package want, the latter two in mode ``window``; of others the size
    that the backbone was made for, the last layer, and 1.

    Parameters
    ----------
    weights, backbone : str or None
        As given.
    mode : str

    Returns
    -------
    dict
        ``weights``, ``backbone``, ``input_px``, ``augmentations`` and, where there is one, ``layer``.

    Raises
    ------
    ConfigError
        There is no such backbone.
    WeightsError
        The JSON file of weights of the package is damaged.
    """
    name, shipped = _shipped_of(weights, backbone)
    entry = get_backbone(backbone or (shipped.backbone if shipped else DEFAULT_BACKBONE))
    if shipped is None or shipped.backbone != entry.name:
        plain = {"weights": weights or "imagenet", "backbone": entry.name}
        return {**plain, "input_px": entry.input_px, "augmentations": 1}
    own = {"weights": name, "backbone": entry.name, "input_px": shipped.input_px, "augmentations": 1}
    if mode == "dense":  # sees no windows
        return own
    layer = {} if shipped.layer is None else {"layer": shipped.layer}
    return {**own, "augmentations": shipped.augmentations, **layer}


def default_networks() -> dict[str, Any]:
    """``networks`` and ``augmentations`` of settings that name neither weights nor a backbone.

    Returns
    -------
    dict
        Empty where the package comes without one of the two.

    Raises
    ------
    WeightsError
        The JSON file of weights of the package is damaged.
    """
    if shipped_weights(SURVEY) is None or shipped_weights(LITE) is None:
        return {}
    return {"networks": ({"weights": LITE, "factor": JOINED_FACTOR},), "augmentations": JOINED_AUGMENTATIONS}


def _shipped_of(weights: str | None, backbone: str | None) -> tuple[str | None, ShippedWeights | None]:
    """The weights of the package that are named, or that are the default of the backbone."""
    if weights is not None:
        return weights, shipped_weights(weights) if weights in STEMS else None
    wanted = get_backbone(backbone or DEFAULT_BACKBONE).name
    for name in STEMS:
        if (shipped := shipped_weights(name)) is not None and shipped.backbone == wanted:
            return name, shipped
    return None, None
