"""The runtime of a network: its class chosen by name, built once in a process."""

from __future__ import annotations

import threading
from collections import OrderedDict

from elodin_spark.fingerprints.devices import chosen_device
from elodin_spark.fingerprints.runtimes.base import NetworkSpec, Runtime, RuntimeName


def _runtime_class(name: RuntimeName) -> type[Runtime]:
    # Imported where it is chosen: the others' frameworks may not be installed.
    if name == "openvino":
        from elodin_spark.fingerprints.runtimes.openvino import OpenVINORuntime

        return OpenVINORuntime
    if name == "keras":
        from elodin_spark.fingerprints.runtimes.keras import KerasRuntime

        return KerasRuntime
    from elodin_spark.fingerprints.runtimes.tensorflow import TensorFlowRuntime

    return TensorFlowRuntime


_MOST_CACHED = 4
_cache: OrderedDict[tuple[object, ...], Runtime] = OrderedDict()
_cache_lock = threading.Lock()


def release_runtimes() -> None:
    """Let go of the networks of this process, for one that will need none for a while."""
    with _cache_lock:
        _cache.clear()


def get_runtime(spec: NetworkSpec) -> Runtime:
    """:class:`Runtime` of this process for `spec`, built when first asked for.

    It outlives the caller: a Python worker that serves many Spark tasks builds its network
    once. The four used last are kept. Errors are those of :class:`Runtime`.
    """
    key = (
        spec.weights.sha256,
        spec.backbone,
        spec.input_px,
        spec.batch_size,
        spec.threads,
        spec.runtime,
        spec.precision,
        spec.model and spec.model.sha256,
        spec.layer,
        spec.augmentations,
        chosen_device(),
    )
    with _cache_lock:
        if key not in _cache:
            _cache[key] = _runtime_class(spec.runtime)(spec)
            while len(_cache) > _MOST_CACHED:
                _cache.popitem(last=False)
        _cache.move_to_end(key)
        return _cache[key]
