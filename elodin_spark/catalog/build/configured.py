"""Catalogs as configuration files name them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from elodin_spark.catalog.catalog import Catalog
from elodin_spark.catalog.build.run import RUN_STAGES, RunReport, RunStage
from elodin_spark.config.load import load_config
from elodin_spark.errors import ConfigError
from elodin_spark.config.settings import Settings


def run_config(
    config: str | Path,
    overrides: Iterable[str] = (),
    stages: Sequence[RunStage] = RUN_STAGES,
    *,
    retrain: bool = False,
) -> RunReport:
    """Run a configuration file: make its catalog, or take up what a run before left.

    Parameters
    ----------
    config : str or Path
        YAML with at least `catalog` and `images.paths`.
    overrides : iterable of str
        ``section.key=value``.
    stages : sequence of str
        See :data:`~elodin_spark.catalog.build.run.RUN_STAGES`.
    retrain : bool, optional
        See :func:`~elodin_spark.catalog.build.run.run_catalog`.

    Returns
    -------
    RunReport
    """
    settings = load_config(config, overrides)
    if settings.catalog is None:
        raise ConfigError(f"{config} names no catalog; add 'catalog: FOLDER' or --set catalog=FOLDER")
    return open_or_create(settings.catalog, settings).run(stages, retrain=retrain)


def open_or_create(path: str | Path, settings: Settings) -> Catalog:
    """Open the catalog at `path`, or make it."""
    exists = (Path(path) / "catalog.json").exists()
    return Catalog.open(path, settings) if exists else Catalog.create(path, settings)
