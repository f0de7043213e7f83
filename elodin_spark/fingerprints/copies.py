"""Copies of cutouts that a good fingerprint takes for the same: turned, noisy, blurred, shifted, lit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

#: uint8, shape (height, width) or (height, width, 3).
Picture = NDArray[Any]

#: Standard deviation of the noise of a copy, of 255 gray levels.
NOISE_LEVELS = 8.0
#: Standard deviation of the Gaussian a copy is blurred by, of its side.
BLUR_SIDE = 0.015
#: The farthest a copy is shifted along each axis, of its side; at least half of it along one.
SHIFT_SIDE = 0.04
#: The farthest a copy that is learned from is shifted along each axis, of its side.
MOVE_SIDE = 0.2
#: The brightest that the background of one is lit by, of 255 gray levels.
LIGHT_LEVELS = 60.0


def turned(picture: Picture, rng: np.random.Generator) -> Picture:
    """Turned by any angle about its center; what comes from outside is the picture mirrored."""
    import cv2

    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(0, 360), 1.0)
    return _warped(picture, np.asarray(turn, np.float64))


def noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    """With independent Gaussian noise in every pixel and channel."""
    noise = rng.normal(0, NOISE_LEVELS, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def blurred(picture: Picture, rng: np.random.Generator) -> Picture:
    """As by worse seeing."""
    import cv2

    sigma = BLUR_SIDE * min(picture.shape[:2])
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def shifted(picture: Picture, rng: np.random.Generator) -> Picture:
    """By whole px along both axes; what comes from outside is the picture mirrored."""
    most = SHIFT_SIDE * min(picture.shape[:2])
    steps = rng.uniform(-1, 1, 2)
    steps[rng.integers(2)] = rng.choice((-1, 1)) * rng.uniform(0.5, 1)
    dx, dy = np.rint(most * steps)
    return _warped(picture, np.array([[1, 0, dx], [0, 1, dy]], np.float64))


def _warped(picture: Picture, matrix: NDArray[np.float64]) -> Picture:
    import cv2

    size = picture.shape[1::-1]
    mirrored = cv2.BORDER_REFLECT_101
    return np.asarray(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mirrored))


COPIES: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "rotation": turned,
    "noise": noisy,
    "blur": blurred,
    "shift": shifted,
}


def copies(pictures: Sequence[Picture], kind: str, seed: int) -> Sequence[Picture]:
    """One copy of each picture; the same whatever other kinds there are, and whatever pictures follow.

    Each is made when it is asked for, so that of large pictures no more than one is held.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (height, width) or (height, width, 3)
        Of any shapes.
    kind : str
        A key of :data:`COPIES`: ``rotation``, ``noise``, ``blur`` or ``shift``.
    seed : int

    Returns
    -------
    sequence of ndarray of uint8
        Each of the shape of its picture.

    Examples
    --------
    >>> flat = np.full((40, 30), 200, np.uint8)
    >>> (made,) = copies([flat], "rotation", seed=0)
    >>> made.shape, bool((made == flat).all())
    ((40, 30), True)
    """
    return _Copies(pictures, COPIES[kind], (seed, list(COPIES).index(kind)))


def learned_copy(window: Picture, cutout_id: int) -> Picture:
    """The copy of a window that the transform of a catalog learns from, of one kind, by the ID of the cutout.

    Noise and blur are those of :data:`COPIES`. The others are farther than what is asked to be found:
    shifted by up to a fifth of the side, or lit by a background that rises from one side to the other.

    Parameters
    ----------
    window : ndarray of uint8, shape (height, width) or (height, width, 3)
    cutout_id : int
        Draws all there is to draw.

    Returns
    -------
    ndarray of uint8, of the shape of the window

    Examples
    --------
    >>> flat = np.full((40, 30), 200, np.uint8)
    >>> [bool((learned_copy(flat, cutout_id) == flat).all()) for cutout_id in (4, 5, 6, 7)]
    [False, True, True, False]
    """
    kind = _LEARNED[cutout_id % len(_LEARNED)]
    return kind(window, np.random.default_rng(abs(int(cutout_id))))


def _moved(window: Picture, rng: np.random.Generator) -> Picture:
    dx, dy = rng.uniform(-MOVE_SIDE, MOVE_SIDE, 2) * min(window.shape[:2])
    return _warped(window, np.array([[1, 0, dx], [0, 1, dy]], np.float64))


def _lit(window: Picture, rng: np.random.Generator) -> Picture:
    """With light of a plane of brightness, of some hue in color images, that saturates nothing."""
    height, width = window.shape[:2]
    first, last = rng.uniform(0, LIGHT_LEVELS, 2)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    light = first + (last - first) * ((x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2) + 0.5)
    if window.ndim == 3:
        light = light[..., None] * rng.uniform(0.6, 1, 3)
    return np.clip(np.rint(window + light * (1 - window / 255)), 0, 255).astype(np.uint8)


_LEARNED = (noisy, blurred, _moved, _lit)


@dataclass(frozen=True)
class _Copies(Sequence[Picture]):
    pictures: Sequence[Picture]
    make: Callable[[Picture, np.random.Generator], Picture]
    entropy: tuple[int, int]

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, at: int) -> Picture: ...
    @overload
    def __getitem__(self, at: slice) -> list[Picture]: ...
    def __getitem__(self, at: int | slice) -> Picture | list[Picture]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        picture = self.pictures[at]  # which raises beyond the end
        stream = np.random.SeedSequence(self.entropy, spawn_key=(at % len(self),))
        return self.make(picture, np.random.default_rng(stream))
