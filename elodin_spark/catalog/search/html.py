"""Pieces of HTML for notebooks; all text is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from elodin_spark.display.thumbnails import decode_thumbnail
from elodin_spark.errors import ImageError


def inline_picture(thumbnail: bytes | None, side_px: int = 96) -> str:
    """A thumbnail as an image element that holds it, PNG; empty where there is none, or it is damaged."""
    if thumbnail is None:
        return ""
    from PIL import Image

    try:
        pixels = decode_thumbnail(thumbnail)
    except ImageError:
        return ""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{text}" style="max-width:{side_px}px;max-height:{side_px}px"/>'


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the head is text, the cells are HTML."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"
