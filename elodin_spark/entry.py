"""What every command and job does around its work: logging, errors, exit codes."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable

from elodin_spark.errors import ElodinError

#: What the exit codes mean, for help texts.
EXIT_CODES = (
    "0 done, 1 unexpected error, 2 wrong input or settings, 3 too many images refused, "
    "4 a program is missing, 130 stopped"
)


def guarded(work: Callable[[], object]) -> int:
    """Do `work` and return the exit code; errors go to standard error in one line.

    Set ``ELODIN_DEBUG=1`` to see where an error came from.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("elodin_spark").setLevel(logging.INFO)
    try:
        result = work()
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        return _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is not None:  # a usage error, which the command line knows how to show
        show()
        return int(getattr(error, "exit_code", 2))
    if os.environ.get("ELODIN_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, ElodinError):
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    reason = " ".join(str(error).split())[:500]
    print(f"unexpected error: {type(error).__name__}: {reason} (ELODIN_DEBUG=1 shows where)", file=sys.stderr)
    return 1
