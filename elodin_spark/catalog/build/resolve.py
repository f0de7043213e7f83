"""What a catalog settles when it is begun and keeps ever after, and whether settings fit it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elodin_spark.catalog.build.shardedindex import wanted_index_config
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.mistakes import of_network
from elodin_spark.config.settings import FingerprintsSettings, Settings
from elodin_spark.config.transform import APART, AUTO_COPIES, AUTO_POWER, AUTO_TRANSFORM
from elodin_spark.errors import CatalogError, ElodinError, import_extra
from elodin_spark.fingerprints.labels import check_labels, settled_labels
from elodin_spark.fingerprints.precision import Gate, settle, windows_wanted
from elodin_spark.fingerprints.resolve import ResolvedNetwork, resolve_network
from elodin_spark.fingerprints.runtimes.base import RuntimeName
from elodin_spark.fingerprints.runtimes.factory import release_runtimes
from elodin_spark.fingerprints.runtimes.network import settings_vector_length
from elodin_spark.fingerprints.runtimes.openvino import model_cache
from elodin_spark.fingerprints.runtimes.selection import choose_runtime, model_for
from elodin_spark.fingerprints.weights.resolve import resolve_settings
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.images.listing import ImageFile, list_archive
from elodin_spark.progress import step
from elodin_spark.provenance import make_recipe, recipe_differences, recipe_id, without_runtime

log = logging.getLogger(__name__)

#: Folder of the quantized network, in the catalog.
_FOLDER = "network"


def begin(path: str | Path, settings: Settings) -> tuple[Store, Settings, Weights, list[ImageFile]]:
    """Settle what a new catalog leaves open, and make its folder; raises as ``Catalog.create``.

    Returns
    -------
    tuple
        The store, the settings, settled, the weights, and the archive, as it was listed to find its root.
    """
    _refuse_remote(str(path))
    Store.require_empty(path)
    images = settings.images
    with step("listing the files"):
        root, files = list_archive(images.paths, images.root, images.storage)
    settings = settings.model_copy(update={"catalog": str(path)})
    with step("reading the weights"):
        weights = resolve_settings(settings.fingerprints)
    check_index(settings)
    with step("settling the precision of the network"):
        network, gate = settle_network(settings, weights, files)
    settled = settings.model_copy(update={"fingerprints": network})
    runtime = choose_runtime(network).runtime
    recipe = recipe_of(settled, weights, runtime)
    measured = None if gate is None else gate.record()
    store = Store.create(path, settings, recipe, weights, root, runtime, measured)
    with store.lock():
        _keep_network(store, network)
    return store, settled, weights, files


def to_begin(path: str | Path, settings: Settings) -> bool:
    """Whether a catalog is to be begun for a run: there is none, or one without a cutout that does not fit.

    Parameters
    ----------
    path : str or Path
    settings : Settings
        Of the run.

    Raises
    ------
    CatalogError
        The catalog is damaged.
    """
    if not (Path(path) / "catalog.json").exists():
        return True
    store = Store(path)
    if not store.empty:
        return False
    try:
        root, _ = list_archive(settings.images.paths, settings.images.root, settings.images.storage)
        require_recipe(store, settled_network(store, settings), resolve_settings(settings.fingerprints))
    except ElodinError as error:  # what is wrong with the settings is told as it is begun
        log.info("%s holds no cutout and is begun anew: %s", store.path, error)
        return True
    return bool(root != store.meta["root"])


def network_of(store: Store, settings: Settings, weights: Weights) -> ResolvedNetwork:
    """The network of a catalog, to make fingerprints for it.

    Raises
    ------
    CatalogError
        The settings are of another recipe.
    """
    require_recipe(store, settings, weights)
    with step("preparing the network"):
        return resolve_network(settings.fingerprints, weights, store.meta.get("runtime"))


def settle_network(
    settings: Settings, weights: Weights, files: Sequence[ImageFile]
) -> tuple[FingerprintsSettings, Gate | None]:
    """Settle the precision of a new catalog, on cutouts of its archive, its transform and its labels.

    Parameters
    ----------
    settings : Settings
    weights : Weights
    files : sequence of ImageFile
        The archive.

    Returns
    -------
    fingerprints : FingerprintsSettings
        With precision, transform and labels that are not ``auto`` and, for int8, the quantized network.
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
    asked = settle_transform(settings.fingerprints, weights)
    wanted = sum(windows_wanted(asked))
    if asked.precision == "f32" or (asked.precision != "auto" and not wanted):
        return asked, None
    from elodin_spark.catalog.build.sample import sample_windows  # which reads images

    if wanted:
        log.info("precision %s: measuring on up to %d cutouts of the archive", asked.precision, wanted)
    try:
        windows = sample_windows(settings, files, wanted) if wanted else []
    except ElodinError as error:
        if asked.precision != "bf16":
            raise
        log.warning("precision bf16 is not measured: %s", error)
        return asked, None
    gate = settle(asked, weights, windows)
    release_runtimes()  # the driver needs its memory for indices
    if gate.models:
        asked = asked.with_int8_models([model.path for model in gate.models])
    return asked.model_copy(update={"precision": gate.taken}), gate


def _keep_network(store: Store, fingerprints: FingerprintsSettings) -> None:
    """Keep the quantized network in the catalog, where any machine that goes on with it finds it."""
    folder = store.path / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a catalog that was begun before
    if fingerprints.precision != "int8" or fingerprints.int8_model is None:
        return
    folder.mkdir()
    for number, part in enumerate(fingerprints.parts):
        assert part.int8_model is not None
        source = Path(part.int8_model).expanduser()
        for file in (source.with_suffix(".bin"), source):
            shutil.copyfile(file, folder / f"{_int8_name(number)}{file.suffix}")


def _int8_name(number: int) -> str:
    """Name of the file of a quantized network, without what follows the dot; 0: the first."""
    return "int8" if number == 0 else f"int8-{number}"


def settle_transform(fingerprints: FingerprintsSettings, weights: Weights) -> FingerprintsSettings:
    """Settings with the transform and the labels of a new catalog for ``auto``.

    Raises
    ------
    ConfigError
        As :func:`~elodin_spark.fingerprints.labels.settled_labels`.
    """
    update: dict[str, Any] = {"labels": settled_labels(fingerprints.labels, weights)}
    if fingerprints.transform == "auto":
        update["transform"] = AUTO_TRANSFORM
        if fingerprints.power is None:
            update["power"] = AUTO_POWER
        if fingerprints.copies is None:
            update["copies"] = AUTO_COPIES if fingerprints.mode == "window" else 0
    return fingerprints.model_copy(update=update)


def settled_network(store: Store, settings: Settings) -> Settings:
    """Settings with the precision, transform and labels a catalog was begun with for ``auto``.

    Nothing is measured. What is named stays as it is; int8 takes the quantized network of the catalog.
    """
    asked = settings.fingerprints
    if asked.transform == "auto" and store.settled["transform"] in APART and asked.joined_by_default:
        asked = asked.alone()  # as it was where the transform was named
    update = {name: held for name, held in store.settled.items() if getattr(asked, name) in ("auto", None)}
    if asked.transform != "auto":
        for name in ("power", "copies"):  # left out beside a transform that is named, they are 1 and none
            update.pop(name, None)
    settled = asked.model_copy(update=update)
    if settled.precision == "int8":
        settled = settled.with_int8_models(
            [part.int8_model or _network_of(store, number) for number, part in enumerate(asked.parts)]
        )
    return settings.model_copy(update={"fingerprints": settled})


def _network_of(store: Store, number: int) -> str | None:
    """A quantized network of a catalog, from its folder or from where it was made; None without one."""
    kept = store.path / _FOLDER / f"{_int8_name(number)}.xml"
    recipe = store.meta["recipe"]["fingerprints"]
    of_it = [recipe, *recipe.get("networks", ())]
    sha256 = of_it[number].get("model_sha256") if number < len(of_it) else None
    made = model_cache() / f"{sha256}.xml"
    return next((str(file) for file in (kept, made) if file.exists()), None)


def require_recipe(store: Store, settings: Settings, weights: Weights) -> None:
    """Raise CatalogError where settings are of another recipe than a catalog.

    What the settings themselves say is compared first: where that differs, it is no matter whether a
    network is quantized for them, or a runtime installed.
    """
    # The transform is that of the catalog, once it is fitted: how it is made must be the same.
    transform = store.transform.sha256 if store.transform else None
    held, asked = store.meta["recipe"], _recipe(settings, weights, "", [""] * len(weights.parts), transform)
    _require_same(store, without_runtime(held), without_runtime(asked))
    runtime = None
    if settings.fingerprints.arithmetic != "f32":
        runtime = choose_runtime(settings.fingerprints, store.meta.get("runtime")).runtime
    _require_same(store, held, recipe_of(settings, weights, runtime, transform))


def _require_same(store: Store, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    if recipe_id(ours) != recipe_id(theirs):
        different = "; ".join(recipe_differences(ours, theirs))
        anew = ", or begin it anew with Catalog.create, for it holds no cutout" if store.empty else ""
        raise CatalogError(
            f"{store.path} was made by another recipe ({different}): vectors of two recipes cannot be "
            f"compared. Use those settings, or choose another folder{anew}"
        )


def check_index(settings: Settings) -> None:
    """Refuse what cannot be done here now, not after hours: an index, or what needs an extra."""
    check_extras(settings)
    network = settings.fingerprints
    wanted_index_config(settings.neighbors, 1, network.components or settings_vector_length(network))


def check_extras(settings: Settings) -> None:
    """Refuse settings that need a package which is not installed."""
    if settings.cutouts.generator.kind == "sources":
        import_extra("sep", "cutouts.generator sources")
    if settings.cutouts.texture:
        import_extra("mahotas", "cutouts.texture")
    for where, steps in {"images": settings.images.steps, "cutouts": settings.cutouts.steps}.items():
        if any("Equalization" in getattr(each, "type", "") for each in steps):
            import_extra("skimage.exposure", f"{where}.steps: histogram equalization")


def recipe_of(
    settings: Settings, weights: Weights, runtime: RuntimeName | None, transform_sha256: str | None = None
) -> dict[str, Any]:
    """The recipe that settings, weights and a runtime make up.

    Raises
    ------
    ConfigError
        Labels are to be classes, and the weights have no head.
    """
    check_labels(settings.fingerprints.labels, weights)
    quantized: list[str | None] = []
    for number, (part, some) in enumerate(zip(settings.fingerprints.parts, weights.parts, strict=True)):
        model = None
        if part.arithmetic == "int8" and runtime is not None:
            with of_network(number):
                model = model_for(part, runtime, some)
        quantized.append(None if model is None else model.sha256)
    return _recipe(settings, weights, runtime, quantized, transform_sha256)


def _recipe(
    settings: Settings,
    weights: Weights,
    runtime: str | None,
    quantized: Sequence[str | None],
    transform_sha256: str | None,
) -> dict[str, Any]:
    """The recipe, the hashes of the quantized networks given."""
    units = settings.fingerprints.labels == "units" and weights.labeled.classes is not None
    joined = [
        (some.name, some.sha256, model) for some, model in zip(weights.joined, quantized[1:], strict=True)
    ]
    return make_recipe(
        settings, weights.name, weights.sha256, runtime, quantized[0], transform_sha256, units, joined
    )


def _refuse_remote(path: str) -> None:
    """Refuse a catalog on an object store."""
    if "://" in path:
        raise CatalogError(
            f"{path}: a catalog lives on a file system that driver and executors mount (local disk, NFS, "
            "Lustre, CephFS); object stores are not supported yet"
        )
