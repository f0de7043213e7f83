"""Starting Keras on one of its backends, quietly, with the same arithmetic on all of them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from elodin_spark.errors import ConfigError, missing_extra

#: In the order they are taken where KERAS_BACKEND does not name one.
BACKENDS = ("tensorflow", "jax", "torch")


def installed(name: str) -> bool:
    """Whether a package can be imported, without importing it."""
    try:
        return find_spec(name) is not None
    except ValueError:  # imported already, or kept from being imported
        return sys.modules.get(name) is not None


def load_keras(threads: int | None = None, backends: Sequence[str] = BACKENDS) -> Any:
    """Import Keras.

    Parameters
    ----------
    threads : int, optional
        Threads of one operation. It is a setting of the process that the backend fixes on
        first use: where it is already running, it stays as it was.
    backends : sequence of str
        Those that will do. The one that Keras runs on already or ``KERAS_BACKEND`` names must
        be among them; without either, the first that is installed is taken.

    Returns
    -------
    module
        ``keras``.

    Raises
    ------
    MissingDependencyError
        Keras or each of the backends is not installed.
    ConfigError
        Keras is set to another backend, image layout or precision.
    """
    backend = _choose_backend(backends)
    # The environment outranks ~/.keras/keras.json; neither is read again once Keras is imported.
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _quiet_start():
            _CONFIGURE[backend](threads)
            import keras
    except ImportError as error:
        lacking = "keras" if error.name == "keras" else backend
        raise missing_extra(lacking, "a network of Keras", error=error) from error
    if keras.config.backend() != backend:
        raise ConfigError(
            f"Keras was imported with backend {keras.config.backend()!r}: "
            f"set KERAS_BACKEND={' or '.join(backends)} before Python starts"
        )
    state = (keras.config.image_data_format(), keras.config.floatx(), keras.config.dtype_policy().name)
    if state != ("channels_last", "float32", "float32"):
        raise ConfigError(
            f"Keras is set to {', '.join(state)}, but fingerprints need channels_last and float32: "
            "correct keras.json in its home folder (~/.keras) or the calls that changed it"
        )
    return keras


def load_tensorflow() -> Any:
    """Import TensorFlow for what it has beside networks: its datasets.

    Returns
    -------
    module
        ``tensorflow``.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _quiet_start():
            _configure_tensorflow(None)
            import tensorflow as tf
    except ImportError as error:
        instead = "iterate over the feed itself"
        raise missing_extra("tensorflow", "a tf.data.Dataset", instead=instead, error=error) from error
    return tf


def _choose_backend(backends: Sequence[str]) -> str:
    running = sys.modules.get("keras")
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen is None and running is not None:
        chosen = str(running.config.backend())
    if chosen is None:
        found = [backend for backend in backends if installed(backend)]
        if not found:
            raise missing_extra(backends, "a network of Keras")
        return found[0]
    if chosen not in backends:
        raise ConfigError(
            f"KERAS_BACKEND is {chosen!r}, but this needs {' or '.join(backends)}: "
            f"unset it, or set KERAS_BACKEND={backends[0]}, before Python starts"
        )
    return chosen


@contextmanager
def fresh_names() -> Iterator[None]:
    """Let Keras number the layers that have no name of their own from the start, in here.

    It numbers them through the process, and weights are known by the names of their layers: a
    network must have the same ones however many were built before it.
    """
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Hold back what TensorFlow writes to standard error while it starts, unless it fails.

    Its C++ side announces itself there whatever TF_CPP_MIN_LOG_LEVEL says, once per worker.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # no standard error to hold back
        yield
        return
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


# Same vector on a GPU as on a CPU: TF32, which GPUs use for float32 unless told otherwise,
# keeps 10 of its 23 bits. And several workers may share a device: none may take all of its
# memory at once.


def _configure_tensorflow(threads: int | None) -> None:
    import tensorflow as tf

    tf.config.list_physical_devices()
    try:
        if threads is not None and tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            if not tf.config.experimental.get_memory_growth(gpu):
                tf.config.experimental.set_memory_growth(gpu, True)
    except (RuntimeError, ValueError):
        # TensorFlow runs already, with the settings of whoever started it: slower or faster,
        # never another answer.
        pass
    tf.config.experimental.enable_tensor_float_32_execution(False)


def _configure_jax(threads: int | None) -> None:
    if "jax" not in sys.modules:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if threads == 1:
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")


def _configure_torch(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


_CONFIGURE = {"tensorflow": _configure_tensorflow, "jax": _configure_jax, "torch": _configure_torch}
