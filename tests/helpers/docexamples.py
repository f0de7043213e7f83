"""Examples in docstrings, run."""

from __future__ import annotations

import doctest
import importlib.util
import io
from typing import Any

#: Those whose examples need neither Spark nor a network.
MODULES = (
    "elodin_spark.config.load",
    "elodin_spark.cutouts.generators",
    "elodin_spark.cutouts.steps",
    "elodin_spark.catalog.export.tensorboard",
    "elodin_spark.catalog.figures",
    "elodin_spark.display.map",
    "elodin_spark.display.neighbors",
    "elodin_spark.display.onimage",
    "elodin_spark.display.quality",
    "elodin_spark.display.sheet",
    "elodin_spark.display.sky",
    "elodin_spark.display.style",
    "elodin_spark.display.timings",
    "elodin_spark.errors",
    "elodin_spark.learning.quality",
    "elodin_spark.config.generators",
    "elodin_spark.config.steps",
)


#: Examples that need a package of an extra.
NEED = {"Catalog.explore": "anywidget"}


def failed_examples(thing: Any, **names: Any) -> list[str]:
    """Run the examples of a module, class or function; what went wrong, an entry each.

    Parameters
    ----------
    thing : module, class or function
    **names
        Known to the examples, beside those of the module.
    """
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    failures = []
    for test in doctest.DocTestFinder().find(thing, getattr(thing, "__name__", "example"), extraglobs=names):
        if (package := NEED.get(test.name)) and importlib.util.find_spec(package) is None:
            continue
        said = io.StringIO()
        if test.examples and runner.run(test, out=said.write).failed:
            failures.append(said.getvalue())
    return failures
