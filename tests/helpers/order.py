"""Which tests are for every day, and which test files are begun first."""

from __future__ import annotations

#: Beside the tests of ``tests/unit``: one of each kind, the first of which does what a user does first.
EVERY_DAY = (
    "e2e/test_first_day.py",
    "e2e/test_make.py",
    "spark/test_engines.py",
    "spark/test_verbs.py",
)
#: Files of ``tests/unit`` that build many networks, or start many processes: minutes each.
SLOW_UNITS = (
    "unit/fingerprints/test_backbones.py",
    "unit/fingerprints/runtimes/test_selection.py",
    "unit/fingerprints/test_dense.py",
    "unit/fingerprints/test_devices.py",
    "unit/fingerprints/test_precision_gate.py",
    "unit/fingerprints/runtimes/test_reduced.py",
    "unit/fingerprints/runtimes/test_network.py",
    "unit/fingerprints/weights/test_imagenet.py",
    "unit/fingerprints/weights/test_random.py",
    "unit/fingerprints/weights/test_resolve.py",
    "unit/images/test_hostile_files.py",
    "unit/learning/test_pretrain.py",
    "unit/fingerprints/weights/test_shipped.py",
)


def is_slow(file: str) -> bool:
    """Whether ``make test`` leaves a file, named from the folder ``tests``, to ``make test-slow``."""
    return file in SLOW_UNITS or not (file.startswith("unit/") or file in EVERY_DAY)


#: Files that take longest, longest first: begun last, one of them would keep a single process busy at the
#: end. Each is dealt whole to a process (``--dist=loadfile``), in this order (``--no-loadscope-reorder``).
SLOW_FIRST = (
    "e2e/test_first_day.py",
    "e2e/test_first_day_killed.py",
    "spark/test_other_defaults.py",
    "e2e/test_readme.py",
    "spark/test_sharded_index.py",
    "spark/test_upkeep.py",
    "e2e/test_killed.py",
    "spark/test_precision.py",
    "spark/test_neighbors_job.py",
    "unit/fingerprints/test_precision_gate.py",
    "e2e/test_cli.py",
    "e2e/test_notebook.py",
    "cluster/test_standalone.py",
    "cluster/test_gpus.py",
    "spark/test_catalog.py",
    "spark/test_surveys.py",
    "spark/test_components.py",
    "spark/test_engines.py",
    "spark/test_plans_and_runs.py",
    "spark/test_image_queries.py",
    "unit/images/test_hostile_files.py",
    "unit/fingerprints/weights/test_resolve.py",
    "unit/fingerprints/runtimes/test_reduced.py",
    "spark/test_udf.py",
    "unit/fingerprints/test_backbones.py",
    "unit/fingerprints/runtimes/test_network.py",
    "unit/fingerprints/weights/test_shipped.py",
    "unit/fingerprints/test_dense.py",
    "unit/fingerprints/runtimes/test_selection.py",
    "spark/test_noise_floor.py",
    "spark/test_datasource.py",
    "e2e/test_benchmarks.py",
    "e2e/test_benchmarks_fingerprint.py",
)
