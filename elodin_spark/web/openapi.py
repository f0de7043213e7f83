"""The API, described: one list of endpoints, of which routes, OpenAPI document and page are made."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from elodin_spark import __version__

_ID = {"type": "string", "pattern": "^-?[0-9]{1,19}$", "description": "63 bits, as a text"}
_IDS = {"type": "array", "items": _ID, "minItems": 1}
_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_COLUMNS, _JSON = "application/octet-stream", "application/json"
_COLUMNS_NOTE = (
    "Binary columns: 4 bytes, the little-endian length of the JSON that follows; JSON `n`, `meta`, `columns` "
    "(`name`, `dtype`, `offset` in bytes from the start of the data, `length` in elements), padded with "
    "spaces so that the data start at a multiple of 8; then the columns, little-endian, each at such a place."
)


@dataclass(frozen=True)
class Parameter:
    """A parameter of an endpoint: in the query, or in the path where that names it."""

    name: str
    schema: dict[str, Any]
    description: str
    required: bool = False


@dataclass(frozen=True)
class Endpoint:
    """Something that can be asked.

    Attributes
    ----------
    method, path : str
        Of HTTP; what is in braces is a parameter, and may be a path where ``:path`` follows.
    handler : str
        Name of what answers.
    summary : str
    returns : str
        Media type of the answer.
    answer : str
        What the answer holds.
    parameters : tuple of Parameter
    body : dict or None
        JSON schema of the body.
    raw : bool
        The body is a file.
    """

    method: str
    path: str
    handler: str
    summary: str
    returns: str = _JSON
    answer: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: dict[str, Any] | None = None
    raw: bool = False


_MAP = Parameter("map", _TEXT, "name of a map; the first by default")
_CUTOUT = Parameter("id", _ID, "of a cutout", True)
_IMAGE = Parameter("id", _ID, "of an image", True)
_SELECTION = Parameter("name", _TEXT, "of a selection: 1 to 64 letters, digits, spaces, `.`, `_`, `-`", True)
_QUERY = {
    "description": "one of `ids`, `position` and `pixel`",
    "oneOf": [
        {"type": "object", "properties": {"ids": _IDS}, "required": ["ids"]},
        {
            "type": "object",
            "properties": {
                "position": {
                    "type": "object",
                    "description": "ICRS, deg",
                    "properties": {
                        "ra": _NUMBER,
                        "dec": _NUMBER,
                        "radius_arcsec": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                    "required": ["ra", "dec"],
                }
            },
            "required": ["position"],
        },
        {
            "type": "object",
            "properties": {
                "pixel": {
                    "type": "object",
                    "description": "px from 0, x the column and y the row",
                    "properties": {"image_id": _ID, "x": _NUMBER, "y": _NUMBER},
                    "required": ["image_id", "x", "y"],
                }
            },
            "required": ["pixel"],
        },
    ],
}
_OPTIONS = {"$ref": "#/components/schemas/SearchOptions"}
_ASKED = {"type": "object", "properties": {"query": _QUERY, "options": _OPTIONS}, "required": ["query"]}
_WITH_IDS = {"type": "object", "properties": {"ids": _IDS}, "required": ["ids"]}
_FOUND = "`query` (`name`, `cutouts`, `picture`), `metric`, `neighbors` (each with its cutout), `seconds`"
_ONE = "`id`, `image`, `image_id`, `hdu`, `x0`, `y0`, `x1`, `y1`, `ra`, `dec`, `labels`, `columns`, `links`"
_SIZE = {"type": "integer", "minimum": 16, "maximum": 2048}
_FORMAT = Parameter("format", {"enum": ["csv", "ecsv", "votable", "fits", "parquet"]}, "of the file", True)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("get", "/api", "listing", "This list, as a page.", "text/html"),
    Endpoint("get", "/api/openapi.json", "openapi", "This list, as OpenAPI 3.1."),
    Endpoint(
        "get",
        "/api/catalog",
        "catalog",
        "What the catalog holds: counts, maps, metrics, columns, labels, search options.",
    ),
    Endpoint(
        "get",
        "/api/points",
        "points",
        "The points of a map.",
        _COLUMNS,
        "`id` int64, `x` and `y` float32 in [-1, 1], `placed` and `doubtful` uint8",
        (_MAP,),
    ),
    Endpoint(
        "get",
        "/api/column",
        "column",
        "A column of the points of a map, in their order.",
        _COLUMNS,
        "`values` float32, or `codes` uint16 (65535: none, 65534: not among the categories that are named)",
        (_MAP, Parameter("name", _TEXT, "of the catalog's `columns`, or score:LABEL", True)),
    ),
    Endpoint(
        "get",
        "/api/mask",
        "mask",
        "Which points of a map a condition keeps.",
        _COLUMNS,
        "`mask` uint8: a bit for each point, the lowest first",
        (_MAP, Parameter("where", _TEXT, "a condition on cutouts", True)),
    ),
    Endpoint(
        "get",
        "/api/cutouts",
        "cutouts",
        "Window, image, position, labels and columns of cutouts.",
        answer=f"`cutouts`: {_ONE}",
        parameters=(Parameter("ids", _TEXT, "IDs, separated by commas; at most 1,000", True),),
    ),
    Endpoint(
        "get",
        "/api/cutouts/{id}/thumbnail.jpg",
        "thumbnail",
        "The small picture of a cutout.",
        "image/jpeg",
        parameters=(_CUTOUT,),
    ),
    Endpoint(
        "get",
        "/api/cutouts/{id}/picture.png",
        "picture",
        "A cutout, read again from the archive.",
        "image/png",
        parameters=(
            _CUTOUT,
            Parameter("stretch", _TEXT, "one of the catalog's `stretches`; asinh by default"),
            Parameter("cut", _NUMBER, "percentile that is white, 50 to 100; 99.5 by default"),
            Parameter("colormap", _TEXT, "one of the catalog's `colormaps`; gray by default"),
            Parameter("size", _SIZE, "longest side, px; 512 by default"),
        ),
    ),
    Endpoint(
        "get",
        "/api/cutouts/{id}.fits",
        "fits",
        "A cutout as a FITS file with its WCS.",
        "application/fits",
        parameters=(_CUTOUT,),
    ),
    Endpoint(
        "post",
        "/api/thumbnails",
        "thumbnails",
        "The small pictures of up to 512 cutouts.",
        _COLUMNS,
        "`id` int64, `offset` and `size` uint32 (0: none), `data` uint8, JPEGs one after the other",
        body=_WITH_IDS,
    ),
    Endpoint("post", "/api/neighbors", "neighbors", "What looks alike.", answer=_FOUND, body=_ASKED),
    Endpoint(
        "post",
        "/api/upload",
        "upload",
        "What looks like a picture: its bytes are the body, at most 64 MB and 64 megapixels.",
        answer=_FOUND + "; `query` has `labels` too",
        parameters=(Parameter("options", _TEXT, "search options, as JSON"),),
        raw=True,
    ),
    Endpoint(
        "post",
        "/api/list",
        "download",
        "A file of cutouts, or of the neighbors of a query.",
        _COLUMNS,
        parameters=(_FORMAT,),
        body={"oneOf": [_WITH_IDS, _ASKED]},
    ),
    Endpoint(
        "get",
        "/api/images",
        "images",
        "The first hundred images whose paths hold a text.",
        answer="`images`: `image_id`, `path`, `hdu`, `n_cutouts`",
        parameters=(Parameter("text", _TEXT, "in any case; all by default"),),
    ),
    Endpoint(
        "get",
        "/api/images/{id}",
        "image",
        "An image.",
        answer="`image_id`, `path`, `hdu`, `ra`, `dec`, `pixel_scale`, `bands`, `n_cutouts`, `width` and "
        "`height` (px, of the grid that windows are on), `upwards` (row 0 is shown at the bottom)",
        parameters=(_IMAGE,),
    ),
    Endpoint(
        "get",
        "/api/images/{id}/preview.jpg",
        "preview",
        "An image as it is cut, made small; of FITS row 0 is at the bottom.",
        "image/jpeg",
        parameters=(_IMAGE, Parameter("size", _SIZE, "longest side at most, px; 1200 by default")),
    ),
    Endpoint(
        "get",
        "/api/selections",
        "selections",
        "The selections that are kept.",
        answer="`selections`: `name`, `count`, `created`",
    ),
    Endpoint(
        "get",
        "/api/selections/{name:path}",
        "selection",
        "A selection.",
        _COLUMNS,
        "`id` int64",
        (_SELECTION,),
    ),
    Endpoint(
        "put",
        "/api/selections/{name:path}",
        "keep_selection",
        "Keep a selection, in place of one of that name.",
        answer="`name`, `count`, `created`",
        parameters=(_SELECTION,),
        body=_WITH_IDS,
    ),
    Endpoint(
        "delete",
        "/api/selections/{name:path}",
        "delete_selection",
        "Delete a selection.",
        answer="`deleted`",
        parameters=(_SELECTION,),
    ),
)

_ERRORS = {
    "400": "something of the request is wrong; the message says what",
    "401": "the token is missing",
    "403": "a page of another site asks",
    "404": "there is no such cutout, image or selection",
    "409": "the catalog does not have what is asked for, or was changed",
    "413": "more bytes came than are taken",
    "421": "the server is not called so",
    "503": "it takes too long, or too many wait",
}


def document(options: dict[str, Any]) -> dict[str, Any]:
    """The API as OpenAPI 3.1.

    Parameters
    ----------
    options : dict
        JSON schema of the search options.
    """
    shared = options.get("$defs", {})
    text = {name: each for name, each in options.items() if name != "$defs"}
    schemas = {"SearchOptions": text, **shared, "Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for each in ENDPOINTS:
        paths.setdefault(each.path.replace(":path", ""), {})[each.method] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "elodin_spark explorer",
            "version": __version__,
            "description": f"IDs are texts in JSON, int64 in binary columns. {_COLUMNS_NOTE}",
        },
        "paths": paths,
        "components": {"schemas": _referring(schemas)},
    }


_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"kind": _TEXT, "message": _TEXT},
            "required": ["kind", "message"],
        }
    },
    "required": ["error"],
}


def _operation(each: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = {"operationId": each.handler, "summary": each.summary}
    where = each.path.replace(":path", "")
    parameters: list[dict[str, Any]] = [
        {
            "name": one.name,
            "in": "path" if f"{{{one.name}}}" in where else "query",
            "required": one.required,
            "description": one.description,
            "schema": one.schema,
        }
        for one in each.parameters
    ]
    if each.raw:
        about = "the name of the file, of which the extension counts alone"
        parameters.append(
            {"name": "X-File-Name", "in": "header", "required": True, "description": about, "schema": _TEXT}
        )
        found["requestBody"] = {"required": True, "content": {_COLUMNS: {}}}
    if parameters:
        found["parameters"] = parameters
    if each.body is not None:
        found["requestBody"] = {"required": True, "content": {_JSON: {"schema": each.body}}}
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    found["responses"] = {
        "200": {"description": each.answer or each.summary, "content": {each.returns: {}}},
        **{code: {"description": text, "content": error} for code, text in _ERRORS.items()},
    }
    return found


def _referring(value: Any) -> Any:
    """A schema whose references lead to the components of the document."""
    if isinstance(value, dict):
        return {
            name: each.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _referring(each)
            for name, each in value.items()
        }
    return [_referring(each) for each in value] if isinstance(value, list) else value


def page(first: str = "") -> str:
    """The API as a page without style or script.

    Parameters
    ----------
    first : str
        Text to begin with.
    """
    rows = []
    for each in ENDPOINTS:
        listed = "".join(
            f"<li><code>{escape(one.name)}</code>: {escape(one.description)}</li>" for one in each.parameters
        )
        answer = f"<p>{escape(each.answer or each.returns)}</p>"
        where = escape(each.path.replace(":path", ""))
        rows.append(
            f"<dt><code>{each.method.upper()} {where}</code></dt><dd><p>{escape(each.summary)}</p>"
            f"{f'<ul>{listed}</ul>' if listed else ''}{answer}</dd>"
        )
    about = f"{first}IDs are texts in JSON. Errors read {{'error': {{'kind': ..., 'message': ...}}}}."
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>elodin_spark explorer: API</title>"
        f"</head><body><h1>API of the explorer</h1><p>{escape(about)}</p><p>{escape(_COLUMNS_NOTE)}</p>"
        "<p><a href='/api/openapi.json'>openapi.json</a> says the same for programs.</p>"
        f"<dl>{''.join(rows)}</dl></body></html>"
    )
