"""The network at work, behind one interface: :func:`get_runtime` gives a callable.

One file for each framework, imported when it is chosen: TensorFlow, OpenVINO, and Keras on JAX
or PyTorch. All are fed the same Keras network.
"""

from elodin_spark.fingerprints.runtimes.base import NetworkSpec, Runtime
from elodin_spark.fingerprints.runtimes.factory import get_runtime

__all__ = ["NetworkSpec", "Runtime", "get_runtime"]
