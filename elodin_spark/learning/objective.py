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


def alike_loss(ops: Any, features: Any, classes: Any, temperature: float) -> Any:
    """Supervised contrast (Khosla et al. 2020, arXiv:2004.11362, eq. 2) of features as they are compared.

    Parameters
    ----------
    ops : module
        ``keras.ops``.
    features : tensor of float32, shape (n, d)
        Standardized here over the rows that count, and raised to the power 0.5 with their sign, as those of a
        catalog are.
    classes : tensor of int, shape (n,)
        -1 where it is not known: such rows do not count.
    temperature : float

    Returns
    -------
    tensor of float32, shape ()
        Mean, over rows that others share the class of, of the mean cross-entropy of finding these.
    """
    features = ops.cast(features, "float32")  # bfloat16 of some backends
    counted = ops.cast(classes >= 0, "float32")
    rows = counted[:, None]
    total = ops.maximum(ops.sum(counted), 1.0)
    off = features - ops.sum(features * rows, axis=0) / total
    spread = ops.sqrt(ops.sum(off**2 * rows, axis=0) / total + 1e-6)
    off = off / spread
    # The root of what is next to 0 has no end of a slope.
    off = off / ops.sqrt(ops.sqrt(off**2 + 0.01))
    unit = off / ops.sqrt(ops.sum(off**2, axis=1, keepdims=True) + 1e-8)
    itself = ops.eye(features.shape[0])
    likeness = ops.matmul(unit, ops.transpose(unit)) / temperature
    likeness = likeness - 1e9 * (1 - (1 - itself) * counted[None, :])
    scores = ops.log_softmax(likeness, axis=1)
    same = ops.cast(classes[:, None] == classes[None, :], "float32") * rows * counted[None, :] * (1 - itself)
    others = ops.sum(same, axis=1)
    each = -ops.sum(ops.where(same > 0, scores, 0.0), axis=1) / ops.maximum(others, 1.0)
    found = ops.cast(others > 0, "float32")
    return ops.sum(each * found) / ops.maximum(ops.sum(found), 1.0)
