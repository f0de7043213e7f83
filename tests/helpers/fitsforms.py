"""Ways of storing one image as FITS."""

from __future__ import annotations

import bz2
import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

NY, NX = 65, 86


#: One way of storing an image each: pixels, header cards, how they are compressed, how the file is.
FORMS: dict[str, dict[str, Any]] = {
    "uint8": {"dtype": "u1"},
    "int16": {"dtype": "i2"},
    "int32": {"dtype": "i4", "cards": {"BLANK": 7}},
    "int64": {"dtype": "i8"},
    "float32": {"dtype": "f4"},
    "float64": {"dtype": "f8"},
    "uint16": {"dtype": "u2"},
    "scaled": {"dtype": "i2", "cards": {"BSCALE": 0.25, "BZERO": 1500.0, "BLANK": 9}},
    "scaled int32": {"dtype": "i4", "cards": {"BSCALE": 0.3, "BZERO": -2.5}},
    "rice": {"dtype": "i2", "tiles": "RICE_1"},
    "rice floats": {"dtype": "f4", "tiles": "RICE_1"},
    "rice blank": {"dtype": "i4", "tiles": "RICE_1", "cards": {"BLANK": 11}},
    "rice uint16": {"dtype": "u2", "tiles": "RICE_1"},
    "gzip 1": {"dtype": "i4", "tiles": "GZIP_1", "tile_shape": (20, 30)},
    "gzip 2 floats": {"dtype": "f4", "tiles": "GZIP_2", "tile_shape": (16, 16), "quantize_level": 0},
    "hcompress": {"dtype": "i2", "tiles": "HCOMPRESS_1", "tile_shape": (20, 20)},
    "hcompress whole": {"dtype": "f4", "tiles": "HCOMPRESS_1", "tile_shape": (NY, NX)},
    "plio": {"dtype": "i2", "tiles": "PLIO_1", "tile_shape": (7, NX)},
    "no compression": {"dtype": "i2", "tiles": "NOCOMPRESS"},
    "whole gz": {"dtype": "f4", "pack": gzip.compress},
    "whole bz2": {"dtype": "i2", "pack": bz2.compress},
}


def pixels_of(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    values = rng.normal(120, 30, (NY, NX)).clip(0, 250)
    values[10, 5:9] = (7, 9, 11, 7)
    pixels = values.astype(dtype)
    if pixels.dtype.kind == "f":
        pixels[20:22, 30:50] = np.nan
    return pixels


def write(path: Path, form: dict[str, Any], pixels: np.ndarray | None = None) -> int:
    """Write an image; returns the index of its HDU."""
    pixels = pixels_of(form["dtype"]) if pixels is None else pixels
    header = fits.Header({"BLANK": form["cards"]["BLANK"]} if "BLANK" in form.get("cards", {}) else {})
    hdus: list[Any] = [fits.PrimaryHDU()]
    if "tiles" in form:
        options = {key: form[key] for key in ("tile_shape", "quantize_level") if key in form}
        hdus.append(fits.CompImageHDU(pixels, header, compression_type=form["tiles"], **options))
    else:
        hdus.append(fits.ImageHDU(pixels, header))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(path, overwrite=True)
    for key, value in form.get("cards", {}).items():  # of stored values that stay as they are
        if key != "BLANK":
            fits.setval(path, key, value=value, ext=1)
    if "pack" in form:
        path.write_bytes(form["pack"](path.read_bytes()))
    return 1


def inherited(hdulist: fits.HDUList, index: int) -> fits.Header:
    """Header of an HDU with the frame that it inherits of the primary one, which astropy leaves out."""
    header = hdulist[index].header.copy()
    for card in hdulist[0].header.cards:
        inherits = header.get("INHERIT") and card.keyword not in hdulist[index].header
        if inherits and card.keyword in ("RADESYS", "RADECSYS", "EQUINOX"):
            header.append(card, end=True)
    return header
