"""Where a press image is on the sky: Astronomy Visualization Metadata (AVM) in its XMP packet.

The definition is the AVM standard 1.2 of the Virtual Astronomy Multimedia Project; pyavm reads it.
"""

from __future__ import annotations

import math
import warnings
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from elodin_spark.errors import MissingDependencyError, import_extra
from elodin_spark.images import sky

#: Longest XMP packet that is read, bytes. Those of press images have some 10 kB.
MAX_PACKET_BYTES = 2**22

_AVM = "{http://www.communicatingastronomy.org/avm/1.0/}Spatial."
_DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
_ROOTS = (b"x:xmpmeta", b"rdf:RDF")
#: Frames that astropy does not build from a WCS. In zenithal projections these are turned to ICRS.
_TURNED = {"ECL": "barycentricmeanecliptic", "SGAL": "supergalactic"}
_ZENITHAL = ("TAN", "SIN", "STG", "ARC", "ZEA")
_J2000 = ("2000", "J2000")


def avm_header(packet: bytes, width: int, height: int) -> str | None:
    """Header cards of the WCS that an XMP packet gives.

    The reference pixel of AVM is counted as in FITS, from the bottom left corner with y up, and for
    an image of ``Spatial.ReferenceDimension``. Here row 0 is the top of the picture and y points
    down, and the whole of that image is taken as resized to this one: a point ``(x, y)`` of it, as
    FITS counts, is at ``((x - 0.5) sx + 0.5, height + 0.5 - (y - 0.5) sy)``, where ``sx`` and ``sy``
    are the ratios of the sizes. ``Spatial.Rotation`` is FITS' CROTA2. By the standard the first
    element of ``Spatial.Scale`` counts as negative whatever its sign; where the second, which should
    be positive, is negative and the first is not, both were copied from FITS, as pyavm does, and
    are taken as they are. ``Spatial.FITSheader`` is not read.

    Parameters
    ----------
    packet : bytes
        XMP, UTF-8.
    width, height : int
        Columns and rows of the picture, px; it is not turned by an orientation tag.

    Returns
    -------
    str or None
        As of :func:`elodin_spark.images.sky.header_text`. None where there is no position that can
        be relied on: no AVM or a damaged packet; values missing or impossible;
        ``Spatial.Quality`` is "Position"; the picture has another shape than
        ``Spatial.ReferenceDimension``, so was cropped after the AVM was written; both elements of
        ``Spatial.Scale`` are negative; the frame is missing and the equinox is not 2000; or the
        frame is ecliptic or supergalactic and the projection is not zenithal.
    """
    # Packets in the wild, like FITS headers, make libraries raise nearly anything; without a
    # position a picture still has its pixels.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spatial = _spatial(packet)
            if spatial is None:
                return None
            return _header(spatial, width, height)
    except MissingDependencyError:
        raise
    except Exception:
        return None


def _spatial(packet: bytes) -> Any:
    """AVM of the ``Spatial`` entries alone: others, which pyavm may refuse, say nothing of the sky."""
    root = _root(packet) if len(packet) <= MAX_PACKET_BYTES else None
    if root is None:
        return None
    kept = ElementTree.Element(_DESCRIPTION)
    for element in ElementTree.fromstring(root).iter():
        kept.attrib.update({k: v.strip() for k, v in element.attrib.items() if k.startswith(_AVM)})
        if element.tag.startswith(_AVM):
            kept.append(element)
    if not len(kept) and not kept.attrib:
        return None
    AVM = import_extra("pyavm", "the position of a press image (AVM)").AVM
    return AVM.from_xml(ElementTree.tostring(kept))


def _root(packet: bytes) -> bytes | None:
    """The root element alone.

    What may precede it, a document type that defines entities ("billion laughs") or reaches for
    other files, is left out, so that no parser sees it.
    """
    for name in _ROOTS:
        start, end = packet.find(b"<" + name), packet.rfind(b"</" + name)
        if 0 <= start < end:
            return packet[start:end] + b"</" + name + b">"
    return None


def _header(avm: Any, width: int, height: int) -> str | None:
    spatial = avm.Spatial
    if spatial.Quality == "Position" or spatial.ReferencePixel is None or spatial.ReferenceValue is None:
        return None
    if spatial.CoordsystemProjection is None or (spatial.Scale is None and spatial.CDMatrix is None):
        return None
    resized = _resized(spatial.ReferenceDimension, width, height)
    if resized is None:
        return None
    equinox = (spatial.Equinox or "2000").upper().removesuffix(".0")
    if spatial.CoordinateFrame is None and equinox not in _J2000:
        return None
    wcs = avm.to_wcs()
    cd: NDArray[np.float64] = wcs.pixel_scale_matrix
    if spatial.CDMatrix is None and spatial.Scale[1] < 0:
        if spatial.Scale[0] < 0:
            return None
        cd = -cd  # pyavm reads (+, -) as (-, +)
    frame, projection = spatial.CoordinateFrame or "ICRS", spatial.CoordsystemProjection
    if frame in _TURNED:
        if projection not in _ZENITHAL:
            return None
        wcs, cd = _in_icrs(wcs, cd, _TURNED[frame], wcs.wcs.equinox)
        frame = "ICRS"
    scale_x, scale_y = resized
    cd = cd @ np.diag([1 / scale_x, -1 / scale_y])
    x, y = wcs.wcs.crpix
    numbers: dict[str, float] = {
        "CRVAL1": wcs.wcs.crval[0],
        "CRVAL2": wcs.wcs.crval[1],
        "CRPIX1": (x - 0.5) * scale_x + 0.5,
        "CRPIX2": height + 0.5 - (y - 0.5) * scale_y,
        "CD1_1": cd[0, 0],
        "CD1_2": cd[0, 1],
        "CD2_1": cd[1, 0],
        "CD2_2": cd[1, 1],
    }
    if frame in ("FK4", "FK5"):
        numbers["EQUINOX"] = wcs.wcs.equinox
    if not all(math.isfinite(value) for value in numbers.values()) or not np.linalg.det(cd):
        return None
    return _text(wcs, frame, numbers, width, height)


def _resized(dimension: list[float] | None, width: int, height: int) -> tuple[float, float] | None:
    """Size of the picture over that which the AVM is for; None where the shapes differ by over 1 px."""
    if dimension is None or not all(math.isfinite(side) and side >= 1 for side in dimension):
        return None
    scale_x, scale_y = width / dimension[0], height / dimension[1]
    off_px = min(abs(dimension[0] * scale_y - width), abs(dimension[1] * scale_x - height))
    return (scale_x, scale_y) if off_px <= 1 else None


def _in_icrs(wcs: Any, cd: NDArray[np.float64], name: str, equinox: float) -> tuple[Any, NDArray[np.float64]]:
    """The same zenithal WCS about the same point, with the north of ICRS."""
    from astropy.coordinates import ICRS, SkyCoord
    from astropy.time import Time

    with sky.quiet():
        keywords = {"equinox": Time(equinox, format="jyear")} if name.endswith("ecliptic") else {}
        center = SkyCoord(*wcs.wcs.crval, unit="deg", frame=name, **keywords)
        pole = SkyCoord(0, 90, unit="deg", frame=ICRS()).transform_to(center.frame)
        angle = center.position_angle(pole).rad
        icrs = center.transform_to(ICRS())
    turned = wcs.deepcopy()
    turned.wcs.ctype = [
        f"{axis}{ctype[4:]}" for axis, ctype in zip(("RA--", "DEC-"), wcs.wcs.ctype, strict=True)
    ]
    turned.wcs.crval = [icrs.ra.deg, icrs.dec.deg]
    cos, sin = math.cos(angle), math.sin(angle)
    return turned, np.array([[cos, -sin], [sin, cos]]) @ cd


def _text(wcs: Any, frame: str, numbers: dict[str, float], width: int, height: int) -> str | None:
    from astropy.io import fits

    header = fits.Header({"NAXIS": 2, "NAXIS1": width, "NAXIS2": height})
    for number, ctype in enumerate(wcs.wcs.ctype, 1):
        header[f"CTYPE{number}"], header[f"CUNIT{number}"] = ctype, "deg"
    if frame in ("ICRS", "FK4", "FK5"):
        header["RADESYS"] = frame
    header.update({keyword: float(value) for keyword, value in numbers.items()})
    return sky.header_text(header)
