"""The network of a self-supervised training: a backbone, a projection, and heads for what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elodin_spark.config.pretrain import PretrainSettings
from elodin_spark.errors import ConfigError
from elodin_spark.fingerprints.backbones import build_model, named_weights, preprocessing_of
from elodin_spark.fingerprints.runtimes.framework import load_keras
from elodin_spark.learning.batches import ViewBatch
from elodin_spark.learning.objective import alike_loss, contrastive_loss, kind_loss, shape_loss
from elodin_spark.learning.optimizers import KerasAdamW, Optimizer, TorchAdamW
from elodin_spark.learning.profiles import PROFILE_LENGTH

Weights = dict[str, NDArray[np.float32]]

BACKBONE = "resnet50"
#: Of the contrast of labeled ones, whose vectors have no projection before.
ALIKE_TEMPERATURE = 0.1


class PretrainModel:
    """A backbone in training.

    Parameters
    ----------
    settings : PretrainSettings
    kinds, shapes : int
        Kinds of simulated objects, and their shape parameters.
    rate : callable
        From a step to the learning rate.
    classes, attributes : int
        Of labeled cutouts; 0 where there are none.
    threads : int, optional
        Of one operation; all cores otherwise.

    Attributes
    ----------
    backend : str
        Of Keras.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        kinds: int,
        shapes: int,
        rate: Callable[[int], float],
        classes: int = 0,
        attributes: int = 0,
        threads: int | None = None,
    ) -> None:
        keras = load_keras(threads)
        self.settings, self._rate, self._keras = settings, rate, keras
        self.backend = str(keras.config.backend())
        keras.utils.set_random_seed(settings.seed)
        self._backbone, self._weights, self._load, self._averaged = _backbone(keras, settings)
        self._preprocess = preprocessing_of(BACKBONE)
        layers = keras.layers
        images = keras.Input((None, None, 3), dtype="float32")
        features = self._backbone(images)
        hidden = layers.ReLU()(layers.BatchNormalization()(layers.Dense(1024, use_bias=False)(features)))
        outputs = {
            "projected": layers.Dense(128, name="projected")(hidden),
            "kind": layers.Dense(kinds, name="kind")(features),
            "shape": layers.Dense(shapes, name="shape")(features),
            "profile": layers.Dense(PROFILE_LENGTH, name="profile")(features),
        }
        if classes:
            outputs["features"] = features
            outputs["class"] = layers.Dense(classes, name="class")(features)
        if attributes:
            outputs["attributes"] = layers.Dense(attributes, name="attributes")(features)
        self._model = _learner(keras)(settings, images, outputs)
        self._optimizer: Optimizer
        if self.backend == "torch":
            self._optimizer = self._model.stepper = TorchAdamW(self._model, settings.weight_decay)
        else:
            self._optimizer = KerasAdamW(keras, self._model, settings.weight_decay)
        self._teacher: list[NDArray[np.float32]] = []
        self._begin_teacher()

    def step(self, batch: ViewBatch) -> dict[str, float]:
        """Take one step.

        Parameters
        ----------
        batch : ViewBatch

        Returns
        -------
        dict of str to float
            The losses: ``loss``, ``contrast``, ``kind``, ``shape``, ``profile``; of labeled ones ``class``,
            ``attributes`` and ``alike``.
        """
        self._optimizer.set_rate(self._rate(batch.step))
        known = np.isfinite(batch.shapes)
        targets = {
            "kind": batch.kinds.astype(np.int32),
            "shape": np.where(known, batch.shapes, 0).astype(np.float32),
            "known": known.astype(np.float32),
            "profile": batch.profiles,
        }
        told = np.isfinite(batch.attributes)
        targets |= {
            "class": batch.classes.astype(np.int32),
            "attributes": np.where(told, batch.attributes, 0).astype(np.float32),
            "told": told.astype(np.float32),
        }
        self._model.reset_metrics()
        losses = self._model.train_on_batch(self._preprocess(batch.views), targets, return_dict=True)
        decay = self.settings.teacher_decay
        for held, item in zip(self._teacher, self._averaged, strict=False):
            held += (1 - decay) * (self._numpy(item) - held)
        return {name: float(value) for name, value in losses.items()}

    def features(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Fingerprints of windows by the teacher, or the network where there is none, shape (n, 2048)."""
        with self._as_teacher():
            found = [
                self._keras.ops.convert_to_numpy(self._backbone(self._preprocess(some), training=False))
                for some in np.array_split(windows, max(1, len(windows) // 128))
            ]
        return np.concatenate(found)

    def weights(self) -> Weights:
        """Of the teacher, or the backbone where there is none, by Keras' paths."""
        with self._as_teacher():
            return self._weights()

    def load_weights(self, weights: Weights) -> None:
        """Begin with a backbone that was trained before, by Keras' paths."""
        self._load(weights)
        self._begin_teacher()

    def state(self) -> dict[str, NDArray[Any]]:
        """All that a training needs to go on: backbone, teacher, heads and optimizer."""
        found: dict[str, NDArray[Any]] = {f"backbone/{name}": item for name, item in self._weights().items()}
        found |= {f"teacher/{i}": held for i, held in enumerate(self._teacher)}
        found |= {f"head/{i}": self._numpy(item) for i, item in enumerate(self._head_variables())}
        found |= {f"optimizer/{i}": self._numpy(item) for i, item in enumerate(self._optimizer.variables())}
        return found

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what :meth:`state` gave.

        Raises
        ------
        ConfigError
            It is of another network.
        """
        prefix = "backbone/"
        self._load({name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)})
        groups = {
            "teacher": self._teacher,
            "head": self._head_variables(),
            "optimizer": self._optimizer.variables(),
        }
        for group, items in groups.items():
            for i, item in enumerate(items):
                value = state.get(f"{group}/{i}")
                if value is None or tuple(value.shape) != tuple(item.shape):
                    raise ConfigError(f"the checkpoint is of another network: {group}/{i} does not fit")
                _assign(item, value)

    def _numpy(self, item: Any) -> NDArray[Any]:
        return np.asarray(self._keras.ops.convert_to_numpy(item))

    def _begin_teacher(self) -> None:
        if self.settings.teacher_decay:
            self._teacher = [self._numpy(item).copy() for item in self._averaged]

    @contextmanager
    def _as_teacher(self) -> Iterator[None]:
        """The backbone has the weights of the teacher for a while."""
        if not self._teacher:
            yield
            return
        own = [self._numpy(item).copy() for item in self._averaged]
        try:
            for item, value in zip(self._averaged, self._teacher, strict=True):
                _assign(item, value)
            yield
        finally:
            for item, value in zip(self._averaged, own, strict=True):
                _assign(item, value)

    def _head_variables(self) -> list[Any]:
        own = {id(item) for item in self._backbone.variables}
        return [item for item in self._model.variables if id(item) not in own and "seed" not in item.path]


def _assign(item: Any, value: NDArray[Any]) -> None:
    if isinstance(item, np.ndarray):
        item[...] = value
    elif hasattr(item, "assign"):
        item.assign(value)
    else:  # a tensor of PyTorch
        item.copy_(item.new_tensor(value))


def _backbone(
    keras: Any, settings: PretrainSettings
) -> tuple[Any, Callable[[], Weights], Callable[[Weights], None], list[Any]]:
    """Layer of the network, how its weights are read and set by the paths of Keras, and all of them."""
    in_bf16 = settings.precision == "bf16"
    if keras.config.backend() == "torch":
        import torch

        from elodin_spark.learning.torchresnet import ResNet50

        device = "cuda" if torch.cuda.is_available() else "cpu"
        module = ResNet50(in_bf16, settings.frozen).to(device)
        layer = keras.layers.TorchModuleWrapper(module, name=BACKBONE, output_shape=(None, 2048))
        held = [*module.parameters(), *(item for item in module.buffers() if item.is_floating_point())]
        return layer, module.weights, module.load, [item.detach() for item in held]
    model = build_model(BACKBONE, None)
    if in_bf16:

        def changed(layer: Any) -> Any:
            return layer.__class__.from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})

        model = keras.models.clone_model(model, clone_function=changed)
    stages = tuple(f"conv{stage}_" for stage in range(1, settings.frozen + 1))
    for layer in model.layers:
        # A normalization that is not trained keeps its statistics, too.
        layer.trainable = not (stages and layer.name.startswith(stages))
    named = named_weights(model)

    def read() -> Weights:
        return {
            name: np.asarray(keras.ops.convert_to_numpy(item), np.float32) for name, item in named.items()
        }

    def load(weights: Weights) -> None:
        for name, item in named.items():
            item.assign(weights[name])

    return model, read, load, list(named.values())


def _learner(keras: Any) -> Callable[[PretrainSettings, Any, dict[str, Any]], Any]:
    class Learner(keras.Model):  # type: ignore[misc]
        def __init__(self, settings: PretrainSettings, inputs: Any, outputs: Any) -> None:
            super().__init__(inputs, outputs)
            self.settings = settings
            self.stepper: TorchAdamW | None = None
            names = ["contrast", "kind", "shape", "profile"]
            names += [name for name in ("class", "attributes") if name in outputs]
            names += ["alike"] if "class" in outputs else []
            self.parts = {name: keras.metrics.Mean(name) for name in names}

        def compute_loss(
            self,
            x: Any = None,
            y: Any = None,
            y_pred: Any = None,
            sample_weight: Any = None,
            training: bool = True,
        ) -> Any:
            ops, settings = keras.ops, self.settings
            y = {name: ops.convert_to_tensor(value) for name, value in y.items()}
            found = {name: ops.cast(value, "float32") for name, value in y_pred.items()}
            parts = {
                "contrast": contrastive_loss(ops, found["projected"], settings.temperature),
                "kind": kind_loss(ops, found["kind"], y["kind"]),
                "shape": shape_loss(ops, found["shape"], y["shape"], y["known"]),
                "profile": shape_loss(ops, found["profile"], y["profile"], ops.ones_like(y["profile"])),
            }
            if "class" in found:
                parts["class"] = kind_loss(ops, found["class"], y["class"])
                parts["alike"] = alike_loss(ops, found["features"], y["class"], ALIKE_TEMPERATURE)
            if "attributes" in found:
                parts["attributes"] = shape_loss(ops, found["attributes"], y["attributes"], y["told"])
            for name, value in parts.items():
                self.parts[name].update_state(value)
            # Huber losses of parameters of unit spread are a tenth of a cross-entropy.
            known = settings.shapes * (parts["kind"] + 5.0 * parts["shape"])
            told = parts.get("class", 0.0) + 5.0 * parts.get("attributes", 0.0)
            return (
                settings.contrast * parts["contrast"]
                + known
                + settings.profile * 5.0 * parts["profile"]
                + settings.labels * told
                + settings.alike * parts.get("alike", 0.0)
            )

        def train_step(self, data: Any) -> Any:
            if self.stepper is None:
                return super().train_step(data)
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            loss = self.compute_loss(x, y, self(x, training=True))
            self.stepper.apply(loss)
            self._loss_tracker.update_state(loss)
            return self.get_metrics_result()

        @property
        def metrics(self) -> list[Any]:
            return [*super().metrics, *self.parts.values()]

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
            return self.get_metrics_result()

    return Learner  # type: ignore[return-value]
