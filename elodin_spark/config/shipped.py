"""The weights that come with the package, under the name ``survey``.

Beside the weights in ``elodin_spark/weights`` lies a JSON file of the same name: what they are, and the
checksum that they must have. A package without that file has no weights of its own, and says so.
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
SURVEY = "survey"
#: Name of both files, without what follows the dot.
STEM = "survey-resnet50"

#: Where both lie. On executors the JSON file alone: the driver ships the weights by their hash.
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
    input_px : int
        Side of the images it was trained with, px: the default of ``fingerprints.input_px``.
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


def shipped_weights() -> ShippedWeights | None:
    """What comes with this package; None where nothing does.

    Raises
    ------
    WeightsError
        The JSON file is damaged.
    """
    path = FOLDER / f"{STEM}.json"
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


def own_network(weights: str | None, backbone: str, mode: str = "window") -> dict[str, Any]:
    """``weights``, ``input_px``, ``layer`` and ``augmentations`` of settings that leave them out.

    Weights: ``survey`` where those come with the package and are of the backbone, else ``imagenet``. The
    size: the one that the weights of the package were trained at, or that the backbone was made for. Layer
    and augmentations: what the weights of the package want, in mode ``window``; of others the last, and 1.

    Parameters
    ----------
    weights : str or None
        As given.
    backbone, mode : str

    Returns
    -------
    dict
        ``weights``, ``input_px``, ``augmentations`` and, where there is one, ``layer``.

    Raises
    ------
    ConfigError
        There is no such backbone.
    """
    entry, shipped = get_backbone(backbone), shipped_weights()
    if shipped is None or shipped.backbone != entry.name:
        return {"weights": weights or "imagenet", "input_px": entry.input_px, "augmentations": 1}
    if weights in (None, SURVEY):
        own: dict[str, Any] = {"weights": SURVEY, "input_px": shipped.input_px, "augmentations": 1}
        if mode == "dense":  # sees no windows
            return own
        layer = {} if shipped.layer is None else {"layer": shipped.layer}
        return {**own, "augmentations": shipped.augmentations, **layer}
    return {"weights": weights, "input_px": entry.input_px, "augmentations": 1}
