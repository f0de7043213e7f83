"""IRAF's projections TNX and ZPX: TAN and ZPN after a polynomial that ``WAT`` cards hold.

Their definition is IRAF's (``mwcs``): intermediate world coordinates (xi, eta), deg, are moved by
``lngcor(xi, eta)`` and ``latcor(xi, eta)``, Chebyshev, Legendre or plain polynomials. As they come of
pixels by a matrix, the same polynomials in pixels are SIP, which astropy follows both ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from numpy.polynomial import Chebyshev, Legendre, Polynomial
from numpy.typing import NDArray

from elodin_spark.errors import NoSkyError

#: IRAF's projections to those of FITS.
PROJECTIONS = {"TNX": "TAN", "ZPX": "ZPN"}
#: Highest order of SIP.
MAX_ORDER = 9

_CARD_CHARACTERS = 68
_KINDS = {1: Chebyshev, 2: Legendre, 3: Polynomial}
_NO_CROSS_TERMS, _ALL_CROSS_TERMS, _HALF_CROSS_TERMS = 0, 1, 2
_PIECE = re.compile(r"'((?:[^']|'')*)'")
_ATTRIBUTE = re.compile(r"([A-Za-z]\w*)\s*=\s*(?:\"([^\"]*)(?:\"|$)|(\S+))")


class Correction(NamedTuple):
    """What ``WAT`` cards say.

    Attributes
    ----------
    longitude, latitude : ndarray, shape (n, n), float64
        Coefficients of ``xi**i * eta**j``, deg, that are added to xi and to eta.
    radial : dict of int to float
        Of ZPX: the coefficients ``PVi_m`` of ZPN.
    pole : float or None
        ``LONPOLE``, deg.
    """

    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    radial: dict[int, float]
    pole: float | None

    @property
    def constant(self) -> bool:
        """Whether it has terms of order zero alone: they move the image as a whole, as CRVAL does."""
        both = np.stack([self.longitude, self.latitude])
        zero = both[:, 0, 0].copy()
        both[:, 0, 0] = 0.0
        return bool(zero.any() and not both.any())


def read(cards: Mapping[str, fits.Card], projection: str) -> Correction:
    """Read the ``WAT`` cards of a header.

    Parameters
    ----------
    cards : mapping of str to astropy.io.fits.Card
        By keyword; without any there is no correction.
    projection : {"TNX", "ZPX"}

    Raises
    ------
    NoSkyError
        They are damaged.
    """
    attributes: dict[str, str] = {}
    for axis in (1, 2):
        for match in _ATTRIBUTE.finditer(_text(cards, axis)):
            attributes.setdefault(match[1].lower(), match[2] if match[2] is not None else match[3])
    surfaces = [attributes.get(name, "") for name in ("lngcor", "latcor")]
    damaged = NoSkyError(f"the WAT cards of the {projection} projection are damaged")
    try:
        longitude, latitude = (_surface(text) for text in surfaces)
        radial = {
            power: float(attributes[f"projp{power}"]) for power in range(10) if f"projp{power}" in attributes
        }
        pole = float(attributes["longpole"]) if "longpole" in attributes else None
    except (ValueError, IndexError, OverflowError):
        raise damaged from None
    size = max(len(longitude), len(latitude))
    grown = [np.pad(part, (0, size - len(part))) for part in (longitude, latitude)]
    if not all(np.isfinite(part).all() for part in grown):
        raise damaged
    return Correction(grown[0], grown[1], radial, pole)


def _text(cards: Mapping[str, fits.Card], axis: int) -> str:
    """What the cards of an axis hold together; a card that is not the last is filled up with blanks."""
    names = sorted(name for name in cards if name.startswith(f"WAT{axis}_"))
    parts = [_characters(cards[name]) for name in names]
    return "".join(part.ljust(_CARD_CHARACTERS) for part in parts[:-1]) + "".join(parts[-1:])


def _characters(card: fits.Card) -> str:
    """The text of a card with the blanks at its end, which astropy leaves out and IRAF does not."""
    image = str(card)
    pieces = [_PIECE.search(image[start : start + 80]) for start in range(0, len(image), 80)]
    found = [piece[1].replace("''", "'") for piece in pieces if piece]
    return "".join(piece.removesuffix("&") for piece in found[:-1]) + "".join(found[-1:])


def _surface(text: str) -> NDArray[np.float64]:
    """Coefficients of ``xi**i * eta**j``, shape (n, n), of a surface of IRAF's gsurfit."""
    if not text.strip():
        return np.zeros((1, 1))
    numbers = [float(word) for word in text.split()]
    kind, x_order, y_order, terms = (int(number) for number in numbers[:4])
    x_low, x_high, y_low, y_high = numbers[4:8]
    coefficients = numbers[8:]
    if kind not in _KINDS or not (1 <= x_order <= 20 and 1 <= y_order <= 20) or terms not in (0, 1, 2):
        raise ValueError("no such surface")
    if not (x_low < x_high and y_low < y_high):
        raise ValueError("no range")
    size = max(x_order, y_order)
    bases = [
        [_powers(kind, order, low, high, size) for order in range(count)]
        for count, low, high in ((x_order, x_low, x_high), (y_order, y_low, y_high))
    ]
    found, used, width = np.zeros((size, size)), 0, x_order
    for row in range(y_order):
        for column in range(width):
            found += coefficients[used] * np.outer(bases[0][column], bases[1][row])
            used += 1
        if terms == _NO_CROSS_TERMS:
            width = 1
        elif terms == _HALF_CROSS_TERMS and row + 1 + x_order >= size + 1:
            width -= 1
    if used != len(coefficients):
        raise ValueError("other coefficients than the orders say")
    return found


def _powers(kind: int, order: int, low: float, high: float, size: int) -> NDArray[np.float64]:
    """A function of the basis as powers of its variable, shape (`size`,)."""
    domain = (-1.0, 1.0) if _KINDS[kind] is Polynomial else (low, high)
    basis = _KINDS[kind].basis(order, domain=domain)
    powers = np.asarray(basis.convert(kind=Polynomial, domain=(-1.0, 1.0)).coef, np.float64)
    return np.pad(powers, (0, size - len(powers)))


def as_sip(correction: Correction, matrix: NDArray[np.float64], longitude: int) -> dict[str, float]:
    """The correction as cards of SIP.

    Parameters
    ----------
    correction : Correction
    matrix : ndarray, shape (2, 2)
        From pixels to world axes 1 and 2, deg/px.
    longitude : int
        Number of the world axis of longitude, 1 or 2.

    Raises
    ------
    NoSkyError
        The polynomials have a higher order than SIP can have, or the matrix is singular.
    """
    if not np.linalg.det(matrix):
        raise NoSkyError("the pixels have no scale")
    rows = [matrix[longitude - 1], matrix[2 - longitude]]
    moved = np.stack([_in_pixels(part, rows[0], rows[1]) for part in correction[:2]])
    moved = moved if longitude == 1 else moved[::-1]
    polynomials = np.einsum("ab,bij->aij", np.linalg.inv(matrix), moved)
    i, j = np.nonzero(polynomials.any(axis=0))
    order = int((i + j).max(initial=1))
    if order > MAX_ORDER:
        raise NoSkyError(f"the polynomials of its projection are of order {order}, above {MAX_ORDER}")
    cards: dict[str, float] = {}
    for letter, polynomial in zip("AB", polynomials, strict=True):
        cards[f"{letter}_ORDER"] = max(order, 2)  # astropy reads none of a lower order
        cards |= {f"{letter}_{a}_{b}": float(polynomial[a, b]) for a, b in zip(i, j, strict=True)}
    return cards


def _in_pixels(
    polynomial: NDArray[np.float64], xi: NDArray[np.float64], eta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A polynomial in (xi, eta) as one in pixels (u, v), of which both are sums."""
    size = 2 * len(polynomial) - 1
    found = np.zeros((size, size))
    powers = [_line_powers(line, size) for line in (xi, eta)]
    for i, j in zip(*np.nonzero(polynomial), strict=True):
        found += polynomial[i, j] * _product(powers[0][i], powers[1][j])
    return found


def _line_powers(line: NDArray[np.float64], size: int) -> list[NDArray[np.float64]]:
    """Powers 0, 1, ... of ``line[0] u + line[1] v``, each of shape (`size`, `size`)."""
    first = np.zeros((size, size))
    if size > 1:
        first[1, 0], first[0, 1] = line
    one = np.zeros((size, size))
    one[0, 0] = 1.0
    powers = [one]
    for _ in range(size // 2):
        powers.append(_product(powers[-1], first))
    return powers


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Product of two polynomials; terms beyond the shape are zero by construction."""
    size = len(a)
    found = np.zeros((size, size))
    for i, j in zip(*np.nonzero(a), strict=True):
        found[i:, j:] += a[i, j] * b[: size - i, : size - j]
    return found
