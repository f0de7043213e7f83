"""What is checked before a catalog is made or opened: that settings fit it, and can be run at all."""

from __future__ import annotations

from typing import Any

from elodin_spark.catalog.build.shardedindex import wanted_recipe
from elodin_spark.catalog.storage.store import Store
from elodin_spark.config.load import dump_settings
from elodin_spark.errors import CatalogError, import_extra
from elodin_spark.fingerprints.labels import check_labels
from elodin_spark.fingerprints.runtimes.base import RuntimeName
from elodin_spark.fingerprints.runtimes.selection import choose_runtime, model_for
from elodin_spark.fingerprints.runtimes.network import vector_length
from elodin_spark.fingerprints.weights.resolve import Weights
from elodin_spark.neighbors.files import written_whole
from elodin_spark.provenance import make_recipe, recipe_differences, recipe_id
from elodin_spark.config.settings import Settings


def require_recipe(store: Store, settings: Settings, weights: Weights) -> None:
    """Raise CatalogError where settings are of another recipe than a catalog."""
    runtime = None
    if settings.fingerprints.arithmetic != "f32":
        runtime = choose_runtime(settings.fingerprints, store.meta.get("runtime")).runtime
    # The finish is that of the catalog, once it is fitted: how it is made must be the same.
    recipe = recipe_of(settings, weights, runtime, store.finish.sha256 if store.finish else None)
    if recipe_id(recipe) != store.meta["recipe_id"]:
        different = "; ".join(recipe_differences(store.meta["recipe"], recipe))
        raise CatalogError(
            f"{store.path} was made by another recipe ({different}): vectors of two recipes cannot be "
            "compared. Use those settings, or choose another folder"
        )


def keep_config(store: Store, settings: Settings) -> None:
    """Keep the settings of a run, once no other run writes the catalog."""
    file, text = store.path / "config.yaml", dump_settings(settings)
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return
    with store.lock(), written_whole(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_index(settings: Settings) -> None:
    """Refuse what cannot be done here now, not after hours: an index, or what needs an extra."""
    check_extras(settings)
    network = settings.fingerprints
    wanted_recipe(settings.neighbors, 1, network.components or vector_length(network.backbone, network.layer))


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
    settings: Settings, weights: Weights, runtime: RuntimeName | None, finish_sha256: str | None = None
) -> dict[str, Any]:
    """The recipe that settings, weights and a runtime make up.

    Raises
    ------
    ConfigError
        Labels are to be classes, and the weights have no head.
    """
    check_labels(settings.fingerprints.labels, weights)
    units = settings.fingerprints.labels == "units" and weights.classes is not None
    quantized = None
    if settings.fingerprints.arithmetic == "int8" and runtime is not None:
        model = model_for(settings.fingerprints, runtime, weights)
        quantized = None if model is None else model.sha256
    return make_recipe(settings, weights.name, weights.sha256, runtime, quantized, finish_sha256, units)


def refuse_remote(path: str) -> None:
    """Refuse a catalog on an object store."""
    if "://" in path:
        raise CatalogError(
            f"{path}: a catalog lives on a file system that driver and executors mount (local disk, NFS, "
            "Lustre, CephFS); object stores are not supported yet"
        )
