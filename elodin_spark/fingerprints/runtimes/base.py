"""What every runtime is: uint8 windows in, vectors and scores out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.settings import CELL_PX, Precision
from elodin_spark.fingerprints.backbones import preprocessing_of
from elodin_spark.fingerprints.runtimes.modelfile import ModelFile
from elodin_spark.fingerprints.weights.types import Weights
from elodin_spark.fingerprints.windows import resize_window

Vectors: TypeAlias = NDArray[np.float32]
RuntimeName = Literal["tensorflow", "openvino", "keras"]

#: From uint8 (batch_size, px, px, channels) to the outputs of the network, float32.
Run = Callable[[NDArray[np.uint8]], list[Vectors]]
#: From uint8 (h, w, channels) to the last features, float32 (h / 32, w / 32, vector_length).
RunFeatures = Callable[[NDArray[np.uint8]], Vectors]
#: From vectors (n, vector_length) to scores (n, classes).
RunHead = Callable[[Vectors], Vectors]

#: In float32, the most by which two vectors of one window differ, of the largest component there is.
ROUNDING = 1e-5


@dataclass(frozen=True)
class NetworkSpec:
    """One network, and how it is run.

    Attributes
    ----------
    weights : Weights
        ``weights.path`` is a file on this machine, where the runtime reads it.
    backbone : str
        A name in :data:`~elodin_spark.config.backbones.BACKBONES`.
    input_px : int
        Windows are resized to this side, px.
    batch_size : int
        Windows the network sees at once. Another batch size may change the last bits.
    threads : int
        Of one operation on the CPU.
    runtime : str
    precision : str
        Of the arithmetic; vectors are float32 whatever it is.
    model : ModelFile, optional
        The converted network, for runtimes that read one in place of the weights.
    layer : str, optional
        Whose output is the vector.
    augmentations : {1, 4, 8}
        Ways of looking at each window, see :func:`turned`, whose answers are averaged.
    """

    weights: Weights
    backbone: str
    input_px: int
    batch_size: int
    threads: int
    runtime: RuntimeName = "tensorflow"
    precision: Precision = "f32"
    model: ModelFile | None = None
    layer: str | None = None
    augmentations: int = 1


def turned(batch: NDArray[np.uint8], augmentations: int) -> Iterator[NDArray[np.uint8]]:
    """Square windows as they are; by 4 also in quarter turns; by 8 also all these mirrored.

    Parameters
    ----------
    batch : ndarray of uint8, shape (n, px, px, channels)
    augmentations : {1, 4, 8}
    """
    for mirrored in range(2 if augmentations == 8 else 1):
        seen = batch[:, :, ::-1] if mirrored else batch
        for quarter in range(4 if augmentations > 1 else 1):
            yield np.ascontiguousarray(np.rot90(seen, quarter, (1, 2)))


class Runtime(ABC):
    """A network ready to run, with its weights.

    The batch size is fixed and shorter batches are padded, so a vector depends on its window
    only, not on its company: in OpenVINO to the bit; in TensorFlow and JAX, which on some CPUs add up
    in another order by the place in the batch, to :data:`ROUNDING`. Gray and color batches each have
    a program, made when the first such batch comes. Vectors of windows without structure (all zero,
    say) are ordinary ones: what the network gives for a flat image.

    Parameters
    ----------
    spec : NetworkSpec

    Raises
    ------
    WeightsError
        The file of the network is missing, damaged or not the one the spec describes.
    ConfigError, MissingDependencyError
        The framework is set up otherwise, cannot do this, or is not installed.
    """

    #: How many were built in this process.
    builds: ClassVar[int] = 0

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.preprocessing = preprocessing_of(spec.backbone)
        #: Shape of each output for one window: the vector and, with a head, the scores.
        self.output_shapes = self._load()
        self._programs: dict[int, Run] = {}
        self._features: dict[int, RunFeatures] = {}
        self._head: RunHead | None = None
        Runtime.builds += 1

    @property
    def weights(self) -> Weights:
        """Of the network."""
        return self.spec.weights

    @abstractmethod
    def _load(self) -> list[tuple[int, ...]]:
        """Load the network; the shape of each of its outputs, without the batch."""

    @abstractmethod
    def _compile(self, channels: int) -> Run:
        """Program for batches of `channels` channels, preprocessing included."""

    @abstractmethod
    def _compile_features(self, channels: int) -> RunFeatures:
        """Program from pixels of any size to the features before the pooling."""

    @abstractmethod
    def _compile_head(self) -> RunHead:
        """Program from pooled features to scores, of a network that has a head."""

    def features(self, pixels: NDArray[np.uint8]) -> Vectors:
        """Features of the last layer before the pooling, whose mean is the vector.

        Cell ``i, j`` of a convolutional network of stride 32 is about the pixel ``32 i, 32 j``, and
        at the edges sees what the network pads with, so where `pixels` is cut out of an image at a
        multiple of 32 px its cells are those of the image, away from its edges.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (h, w) or (h, w, 3)
            Sides multiples of 32 px; rows from y0 upwards.

        Returns
        -------
        ndarray of float32, shape (h / 32, w / 32, vector_length)

        Raises
        ------
        ValueError
            The array has another shape or type.
        """
        shape = pixels.shape
        if (
            pixels.dtype != np.uint8
            or len(shape) not in (2, 3)
            or (len(shape) == 3 and shape[2] != 3)
            or 0 in shape
            or shape[0] % CELL_PX
            or shape[1] % CELL_PX
        ):
            raise ValueError(
                f"pixels must be uint8 of shape (h, w) or (h, w, 3), sides multiples of {CELL_PX}, got "
                f"{pixels.dtype} {shape}"
            )
        channels = 1 if len(shape) == 2 else 3
        if channels not in self._features:
            self._features[channels] = self._compile_features(channels)
        found = self._features[channels](np.ascontiguousarray(pixels).reshape(*shape[:2], channels))
        assert found.shape[:2] == (shape[0] // CELL_PX, shape[1] // CELL_PX), "the stride is another"
        return found

    def scores(self, vectors: Vectors) -> Vectors | None:
        """Class probabilities of pooled features, (n, classes); None for weights without a head."""
        if len(self.output_shapes) < 2:
            return None
        if self._head is None:
            self._head = self._compile_head()
        return self._head(vectors)

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[Vectors, Vectors | None]:
        """Fingerprint windows of one kind.

        Parameters
        ----------
        pixels : ndarray of uint8, shape (n, height, width) or (n, height, width, 3)
            Rows from y0 upwards; colors in the order red, green, blue.

        Returns
        -------
        vectors : ndarray of float32, shape (n, vector_length)
        scores : ndarray of float32, shape (n, classes), or None
            Class probabilities; None for weights without a head.

        Raises
        ------
        ValueError
            The array has another shape or type.
        """
        pixels = np.asarray(pixels)
        if (
            pixels.dtype != np.uint8
            or pixels.ndim not in (3, 4)
            or (pixels.ndim == 4 and pixels.shape[3] != 3)
        ):
            raise ValueError(
                f"pixels must be uint8 of shape (n, h, w) or (n, h, w, 3), got {pixels.dtype} {pixels.shape}"
            )
        count, channels = len(pixels), 1 if pixels.ndim == 3 else 3
        outputs = [np.empty((count, *shape), np.float32) for shape in self.output_shapes]
        if count and channels not in self._programs:
            self._programs[channels] = self._compile(channels)
        size, side = self.spec.batch_size, self.spec.input_px
        for start in range(0, count, size):
            chunk = pixels[start : start + size]
            if chunk.shape[:3] == (size, side, side):  # as it comes
                batch = np.ascontiguousarray(chunk).reshape(size, side, side, channels)
            else:
                batch = np.zeros((size, side, side, channels), np.uint8)
                for i, window in enumerate(chunk):
                    batch[i] = resize_window(window, side).reshape(side, side, channels)
            for number, view in enumerate(turned(batch, self.spec.augmentations)):
                # Added at once: a program may give the same memory each time.
                for output, found in zip(outputs, self._programs[channels](view), strict=True):
                    if number:
                        output[start : start + len(chunk)] += found[: len(chunk)]
                    else:
                        output[start : start + len(chunk)] = found[: len(chunk)]
        if self.spec.augmentations > 1:
            for output in outputs:
                output /= self.spec.augmentations
        return outputs[0], outputs[1] if len(outputs) > 1 else None
