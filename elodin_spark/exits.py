"""What every command and job does around its work: logging, errors, exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from elodin_spark.errors import ElodinError, resource_error
from elodin_spark.redaction import without_secrets
from elodin_spark.terminal import plain

#: What the exit codes mean, for help texts.
EXIT_CODES = (
    "0 done, 1 unexpected error, 2 wrong input or settings, 3 too many images refused, "
    "4 a program is missing, 130 stopped"
)

STOPPED = "stopped; the same command goes on from here"


def stop_on_interrupt() -> None:
    """End this process at Ctrl-C, whatever it does, with one line and code 130.

    For programs of their own: everything on disk is such that they may end at any time. A thread waits for
    the signal, so that a call of compiled code that lasts minutes is ended too, and neither Py4J nor PySpark,
    which sets a handler of its own, get to report that their connection broke.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(signal.SIGINT, _wait_for_end)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait() -> None:
        while signal.SIGINT not in os.read(reading, 512):
            pass
        line = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""  # below a bar of progress
        os.write(2, f"{line}{STOPPED}\n".encode())
        os._exit(130)

    threading.Thread(target=wait, name="stop-on-interrupt", daemon=True).start()


def _wait_for_end(*_: object) -> None:
    """The handler: the thread that was woken ends the process, and nothing more is to be printed."""
    while True:
        signal.pause()


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Put :func:`stop_on_interrupt` in force again after what sets a handler of its own, as PySpark does."""
    mine = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if mine and before is _wait_for_end:
            signal.signal(signal.SIGINT, before)


def guarded(work: Callable[[], object]) -> int:
    """Do `work` and return the exit code; errors go to standard error in one line.

    Set ``ELODIN_DEBUG=1`` to see where an error came from.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        if type(handler.formatter) is logging.Formatter:
            handler.setFormatter(_Plain("%(message)s"))
    logging.getLogger("elodin_spark").setLevel(logging.INFO)
    try:
        result = work()
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130
    except Exception as error:
        return _explain(error)
    return result if isinstance(result, int) else 0


class _Plain(logging.Formatter):
    """Names of files and words of headers cannot move the cursor."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(without_secrets(super().format(record)), lines=True)


def _explain(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is not None:  # a usage error, which the command line knows how to show
        show()
        return int(getattr(error, "exit_code", 2))
    if os.environ.get("ELODIN_DEBUG"):
        print(without_secrets("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    error = resource_error(error) or error
    if isinstance(error, ElodinError):
        print(f"error: {plain(str(error), lines=True)}", file=sys.stderr)
        return error.exit_code
    reason = " ".join(without_secrets(str(error)).split())[:500]
    reason = plain(reason)
    print(f"unexpected error: {type(error).__name__}: {reason} (ELODIN_DEBUG=1 shows where)", file=sys.stderr)
    return 1


class _NoPandas:
    """Says that there is no pandas, as long as it is asked."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """What ``sys.meta_path`` wants."""
        if name == "pandas":
            raise ImportError(name)


def without_pandas() -> None:
    """Let pyarrow find no pandas, which it would import as soon as it makes an array, for seconds.

    For commands that need none. What asks pyarrow for a DataFrame afterwards still gets it.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        import pyarrow as pa
        import pyarrow.dataset

        pa.array([0])  # looks for pandas, once
    finally:
        sys.meta_path.remove(_NoPandas)
