"""What a catalog settles when it is begun, and keeps ever after: precision, finish and labels."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from elodin_spark.catalog.storage.store import Store
from elodin_spark.errors import ElodinError
from elodin_spark.fingerprints.labels import settled_labels
from elodin_spark.fingerprints.precision import Gate, settle, windows_wanted
from elodin_spark.fingerprints.runtimes.factory import release_runtimes
from elodin_spark.fingerprints.runtimes.openvino import model_cache
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.config.settings import FingerprintsSettings, Settings
from elodin_spark.config.transform import AUTO_FINISH, AUTO_POWER

log = logging.getLogger(__name__)

#: Folder of the quantized network, in the catalog.
_FOLDER = "network"


def settle_network(
    settings: Settings, weights: Weights, root: str | None
) -> tuple[FingerprintsSettings, Gate | None]:
    """Settle the precision of a new catalog, on cutouts of its archive, its finish and its labels.

    Parameters
    ----------
    settings : Settings
    weights : Weights
    root : str or None
        Archive root.

    Returns
    -------
    fingerprints : FingerprintsSettings
        With precision, finish and labels that are not ``auto`` and, for int8, the quantized network.
    gate : Gate or None
        None where nothing was to be measured.

    Raises
    ------
    ConfigError
        As :func:`~elodin_spark.fingerprints.labels.settled_labels`.
    ElodinError
        As :func:`~elodin_spark.fingerprints.precision.settle`; and where the precision is auto or a
        network has to be quantized, whatever keeps the archive from being read.
    """
    asked = settle_finish(settings.fingerprints, weights)
    wanted = sum(windows_wanted(asked))
    if asked.precision == "f32" or (asked.precision != "auto" and not wanted):
        return asked, None
    from elodin_spark.catalog.build.sample import sample_windows  # which reads images

    log.info("precision %s: measuring on up to %d cutouts of the archive", asked.precision, wanted)
    try:
        windows = sample_windows(settings, root, wanted) if wanted else []
    except ElodinError as error:
        if asked.precision != "bf16":
            raise
        log.warning("precision bf16 is not measured: %s", error)
        return asked, None
    gate = settle(asked, weights, windows)
    release_runtimes()  # the driver needs its memory for indices
    model = asked.int8_model if gate.model is None else gate.model.path
    return asked.model_copy(update={"precision": gate.taken, "int8_model": model}), gate


def keep_network(store: Store, fingerprints: FingerprintsSettings) -> None:
    """Keep the quantized network in the catalog, where any machine that goes on with it finds it."""
    if fingerprints.precision != "int8" or fingerprints.int8_model is None:
        return
    folder = store.path / _FOLDER
    folder.mkdir(exist_ok=True)
    source = Path(fingerprints.int8_model).expanduser()
    for file in (source.with_suffix(".bin"), source):
        shutil.copyfile(file, folder / f"int8{file.suffix}")


def settle_finish(fingerprints: FingerprintsSettings, weights: Weights) -> FingerprintsSettings:
    """Settings with the finish and the labels of a new catalog for ``auto``.

    Raises
    ------
    ConfigError
        As :func:`~elodin_spark.fingerprints.labels.settled_labels`.
    """
    update: dict[str, Any] = {"labels": settled_labels(fingerprints.labels, weights)}
    if fingerprints.finish == "auto":
        update["finish"] = AUTO_FINISH
        if fingerprints.power is None:
            update["power"] = AUTO_POWER
    return fingerprints.model_copy(update=update)


def settled_network(store: Store, settings: Settings) -> Settings:
    """Settings with the precision, finish and labels a catalog was begun with for ``auto``.

    Nothing is measured. What is named stays as it is; int8 takes the quantized network of the catalog.
    """
    asked = settings.fingerprints
    update = {name: held for name, held in store.settled.items() if getattr(asked, name) in ("auto", None)}
    if asked.finish != "auto":
        update.pop("power", None)  # left out beside a finish that is named, it is 1
    if update.get("precision", asked.precision) == "int8" and asked.int8_model is None:
        update["int8_model"] = _network_of(store)
    return settings.model_copy(update={"fingerprints": asked.model_copy(update=update)})


def _network_of(store: Store) -> str | None:
    """The quantized network of a catalog, from its folder or from where it was made; None without one."""
    kept = store.path / _FOLDER / "int8.xml"
    sha256 = store.meta["recipe"]["fingerprints"].get("model_sha256")
    made = model_cache() / f"{sha256}.xml"
    return next((str(file) for file in (kept, made) if file.exists()), None)
