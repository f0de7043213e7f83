"""AdamW for a Keras model: Keras' own or, on PyTorch, PyTorch's fused one, which passes over memory once."""

from __future__ import annotations

from typing import Any, Protocol

#: Gradients are shortened to this norm, all together.
_NORM = 5.0


class Optimizer(Protocol):
    """What a training asks of an optimizer."""

    def set_rate(self, rate: float) -> None:
        """Set the rate of learning."""

    def variables(self) -> list[Any]:
        """What it remembers, always in the same order, as tensors of the backend."""


class KerasAdamW:
    """Keras' optimizer, which the model applies by itself.

    Parameters
    ----------
    keras : module
    model : keras.Model
    weight_decay : float
        Of matrices and kernels, not of biases and normalizations.
    """

    def __init__(self, keras: Any, model: Any, weight_decay: float) -> None:
        self._optimizer = keras.optimizers.AdamW(1e-3, weight_decay=weight_decay, global_clipnorm=_NORM)
        self._optimizer.exclude_from_weight_decay([item for item in model.trainable_variables if _flat(item)])
        model.compile(self._optimizer, jit_compile=keras.config.backend() == "jax")
        self._optimizer.build(model.trainable_variables)

    def set_rate(self, rate: float) -> None:
        """Set the rate of learning."""
        self._optimizer.learning_rate.assign(rate)

    def variables(self) -> list[Any]:
        """Moments and the count of steps."""
        return list(self._optimizer.variables)


class TorchAdamW:
    """PyTorch's optimizer; the model's ``train_step`` calls :meth:`apply`.

    Parameters
    ----------
    model : keras.Model
        On the backend PyTorch.
    weight_decay : float
        As of :class:`KerasAdamW`.
    """

    def __init__(self, model: Any, weight_decay: float) -> None:
        import torch

        self._torch = torch
        kernels = [item.value for item in model.trainable_variables if not _flat(item)]
        others = [item.value for item in model.trainable_variables if _flat(item)]
        groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
        for group in self._optimizer.param_groups:
            for held in group["params"]:  # what it would make at its first step
                self._optimizer.state[held] = {
                    "step": torch.zeros((), dtype=torch.float32, device=held.device),
                    "exp_avg": torch.zeros_like(held, memory_format=torch.preserve_format),
                    "exp_avg_sq": torch.zeros_like(held, memory_format=torch.preserve_format),
                }
        model.compile()

    def set_rate(self, rate: float) -> None:
        """Set the rate of learning."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def apply(self, loss: Any) -> None:
        """Take a step down the gradients of a loss."""
        self._optimizer.zero_grad()
        loss.backward()
        held = [item for group in self._optimizer.param_groups for item in group["params"]]
        self._torch.nn.utils.clip_grad_norm_(held, _NORM)
        self._optimizer.step()

    def variables(self) -> list[Any]:
        """Moments and the count of steps."""
        return [
            value
            for group in self._optimizer.param_groups
            for held in group["params"]
            for value in self._optimizer.state[held].values()
        ]


def _flat(variable: Any) -> bool:
    return len(variable.shape) < 2
