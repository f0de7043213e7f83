"""What a backbone is trained to: one fingerprint for all views of a cutout, and the shapes that are known."""

from __future__ import annotations

from typing import Any


def contrastive_loss(ops: Any, projected: Any, temperature: float) -> Any:
    """NT-Xent of SimCLR (Chen et al. 2020, arXiv:2002.05709, eq. 1).

    Parameters
    ----------
    ops : module
        ``keras.ops``.
    projected : tensor of float32, shape (2 n, d)
        Row i and row i + n are of one cutout.
    temperature : float

    Returns
    -------
    tensor of float32, shape ()
        Mean cross-entropy of finding the other view among all others.
    """
    count = projected.shape[0]
    unit = projected / ops.sqrt(ops.sum(projected**2, axis=1, keepdims=True) + 1e-8)
    likeness = ops.matmul(unit, ops.transpose(unit)) / temperature
    likeness = likeness - 1e9 * ops.eye(count)
    other = ops.roll(ops.arange(count), count // 2)
    return ops.mean(ops.sparse_categorical_crossentropy(other, likeness, from_logits=True))


def kind_loss(ops: Any, scores: Any, kinds: Any) -> Any:
    """Cross-entropy of the kinds of simulated objects; rows of kind -1 do not count.

    Parameters
    ----------
    ops : module
        ``keras.ops``.
    scores : tensor of float32, shape (n, k)
        Logits.
    kinds : tensor of int, shape (n,)
    """
    known = ops.cast(kinds >= 0, "float32")
    each = ops.sparse_categorical_crossentropy(ops.maximum(kinds, 0), scores, from_logits=True)
    return ops.sum(each * known) / ops.maximum(ops.sum(known), 1.0)


def shape_loss(ops: Any, found: Any, shapes: Any, known: Any) -> Any:
    """Huber loss of shape parameters, of those that are known.

    Parameters
    ----------
    ops : module
        ``keras.ops``.
    found, shapes : tensor of float32, shape (n, s)
    known : tensor of float32, shape (n, s)
        1 where `shapes` counts, otherwise 0.
    """
    off = ops.abs(found - shapes)
    near = ops.minimum(off, 0.5)
    return ops.sum((near * (off - 0.5 * near)) * known) / ops.maximum(ops.sum(known), 1.0)
