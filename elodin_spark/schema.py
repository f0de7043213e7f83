"""The tables: one Arrow schema each, declared here and nowhere else.

Each field's metadata holds ``unit`` and ``meaning``. Spark sees the same schemas through
:mod:`elodin_spark.spark.tables`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa


def _field(name: str, kind: pa.DataType, meaning: str, unit: str = "", null: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"meaning": meaning, "unit": unit})


#: One row per file to read: the input of a run.
FILES = pa.schema(
    [
        _field("uri", pa.string(), "where the file is", null=False),
        _field("path", pa.string(), "path below the archive root; part of every ID", null=False),
        _field("size_bytes", pa.int64(), "size of the file", "byte", null=False),
    ]
)

#: One row per image plane.
IMAGES = pa.schema(
    [
        _field("image_id", pa.int64(), "stable hash of path and HDU", null=False),
        _field("uri", pa.string(), "where the file is", null=False),
        _field("path", pa.string(), "path below the archive root", null=False),
        _field("hdu", pa.int32(), "index of the HDU (0 for raster formats)"),
        _field("bands", pa.string(), "filter names, comma separated, or RGB"),
        _field("width", pa.int32(), "number of columns", "px"),
        _field("height", pa.int32(), "number of rows", "px"),
        _field("wcs", pa.string(), "FITS header text of the celestial WCS"),
        _field("no_sky_reason", pa.string(), "why it has no position on the sky; null where it has one"),
        _field("sky_note", pa.string(), "what was assumed of its WCS, parted by semicolons"),
        _field("ra", pa.float64(), "ICRS right ascension of the center", "deg"),
        _field("dec", pa.float64(), "ICRS declination of the center", "deg"),
        _field("pixel_scale", pa.float64(), "side of a pixel at the reference point", "arcsec/px"),
        _field("mjd", pa.float64(), "start of the observation, MJD of UTC", "d"),
        _field(
            "planes",
            pa.list_(
                pa.struct(
                    [("band", pa.string()), ("uri", pa.string()), ("hdu", pa.int32()), ("wcs", pa.string())]
                )
            ),
            "the planes of a color image; null for one plane",
        ),
        _field("size_bytes", pa.int64(), "size of the file", "byte", null=False),
        _field("status", pa.string(), "ok or failed", null=False),
        _field("error", pa.string(), "why it failed"),
    ]
)

#: Quality columns of a cutout.
QUALITY = pa.schema(
    [
        _field("nodata_fraction", pa.float32(), "of the pixels: not finite, or blank"),
        _field("masked_fraction", pa.float32(), "of the pixels: any bad bit; null without a mask"),
        _field(
            "mask_fractions",
            pa.map_(pa.string(), pa.float32()),
            "of the pixels, by mask bit; bits that no pixel of the window has are left out",
        ),
        _field("saturated_fraction", pa.float32(), "of the pixels; null where the level is not known"),
        _field("edge_px", pa.int32(), "from the window to the nearest edge of the image", "px"),
        _field("shifted", pa.bool_(), "moved inside the image"),
        _field("sky", pa.float32(), "sigma-clipped median", "that of the image"),
        _field(
            "sky_sigma",
            pa.float32(),
            "sigma of the sky, by the median absolute deviation",
            "that of the image",
        ),
    ]
)

#: What a detection measured of the source in a window.
SOURCE = pa.struct(
    [
        pa.field("flux", pa.float64(), metadata={"meaning": "Kron flux above the sky", "unit": "image"}),
        pa.field("mag", pa.float64(), metadata={"meaning": "of the flux", "unit": "mag"}),
        pa.field("x", pa.float64(), metadata={"meaning": "barycenter, column", "unit": "px"}),
        pa.field("y", pa.float64(), metadata={"meaning": "barycenter, row", "unit": "px"}),
        pa.field("a", pa.float64(), metadata={"meaning": "semi-major axis", "unit": "px"}),
        pa.field("b", pa.float64(), metadata={"meaning": "semi-minor axis", "unit": "px"}),
        pa.field("theta_deg", pa.float64(), metadata={"meaning": "from +x towards +y", "unit": "deg"}),
        pa.field("half_light_px", pa.float64(), metadata={"meaning": "half-light radius", "unit": "px"}),
        pa.field("flags", pa.int32(), metadata={"meaning": "of SEP", "unit": ""}),
    ]
)

#: One row per window. x is the column, y the row, both from 0; windows are half-open.
CUTOUTS = pa.schema(
    [
        _field("cutout_id", pa.int64(), "stable hash of path, HDU and window"),
        _field("image_id", pa.int64(), "the image it was cut from"),
        _field("x0", pa.int32(), "first column", "px"),
        _field("y0", pa.int32(), "first row", "px"),
        _field("x1", pa.int32(), "one past the last column", "px"),
        _field("y1", pa.int32(), "one past the last row", "px"),
        _field("ra", pa.float64(), "ICRS right ascension of the center", "deg"),
        _field("dec", pa.float64(), "ICRS declination of the center", "deg"),
        _field("healpix", pa.int64(), "HEALPix cell of the center, order 29, nested"),
        _field("position_id", pa.string(), "the position of a catalog it was cut for"),
        _field("source", SOURCE, "the source it was cut for"),
        *QUALITY,
        _field("haralick", pa.list_(pa.float32()), "13 Haralick features, where asked for"),
        _field("zernike", pa.list_(pa.float32()), "25 Zernike moments, where asked for"),
        _field("rejected", pa.string(), "why it has no fingerprint, by the rules of quality"),
        _field("thumbnail", pa.binary(), "the window as a small JPEG"),
    ]
)

#: Pixels of a window, kept only when asked for.
PIXELS = pa.schema(
    [
        _field("pixel_shape", pa.list_(pa.int32()), "(height, width) or (height, width, 3)", "px"),
        _field("pixels", pa.binary(), "uint8, C order, rows from y0 upwards"),
    ]
)

#: One row per window that has a fingerprint.
FINGERPRINTS = pa.schema(
    [
        _field("cutout_id", pa.int64(), "the window"),
        _field("vector", pa.list_(pa.float32()), "pooled features of the backbone"),
        _field("labels", pa.list_(pa.int32()), "top classes or units, or nearest prototypes, best first"),
        _field("label_scores", pa.list_(pa.float32()), "probability of the class, or the unit's value"),
        _field("recipe", pa.string(), "hash of everything the vector depends on"),
    ]
)

#: One row per neighbor of one query.
NEIGHBORS = pa.schema(
    [
        _field("query_id", pa.int64(), "the query; -1, -2 and so on where it is no cutout", null=False),
        _field("rank", pa.int32(), "1 is nearest", null=False),
        _field("neighbor_id", pa.int64(), "a cutout near the query", null=False),
        _field("distance", pa.float64(), "by the metric: Euclidean, or 1 - Jaccard index", null=False),
    ]
)

#: What is known of the distance of a neighbor.
MEASURES = pa.schema(
    [
        _field(
            "distance_over_repeat_median",
            pa.float64(),
            "by l2: the distance over the median one of known repeats; null where none are known",
        ),
        _field(
            "distance_percentile",
            pa.float64(),
            "percentage of pairs of cutouts taken at random that are nearer; null where not measured",
        ),
    ]
)

#: One row per neighbor, described: an answer of :meth:`Catalog.neighbors`.
ANSWERS = pa.schema(
    [
        *NEIGHBORS,
        *MEASURES,
        _field("image", pa.string(), "path below the archive root"),
        _field("x0", pa.int32(), "first column", "px"),
        _field("y0", pa.int32(), "first row", "px"),
        _field("x1", pa.int32(), "one past the last column", "px"),
        _field("y1", pa.int32(), "one past the last row", "px"),
        _field("ra", pa.float64(), "ICRS right ascension of the center", "deg"),
        _field("dec", pa.float64(), "ICRS declination of the center", "deg"),
        _field("labels", pa.list_(pa.string()), "best first"),
    ]
)

#: Columns that an answer has where they are asked for.
MORE_ANSWERS = pa.schema(
    [
        _field("repeats", pa.list_(pa.int64()), "known repeats of the neighbor"),
        _field("duplicates", pa.list_(pa.int64()), "cutouts whose vectors are the same"),
        _field(
            "explain",
            pa.list_(
                pa.struct([("label", pa.string()), ("weight", pa.float64()), ("like", pa.list_(pa.int64()))])
            ),
            "labels shared with the query, the rarest first; of labels without a name, cutouts that show it",
        ),
    ]
)


def answer_schema(columns: Iterable[str] = ()) -> pa.Schema:
    """Of a table of neighbors, as a job writes it: :data:`NEIGHBORS`, :data:`MEASURES` and what is asked for.

    Parameters
    ----------
    columns : iterable of str
        Those of :data:`MORE_ANSWERS` that it has; others do not count.
    """
    wanted = set(columns)
    return pa.schema([*NEIGHBORS, *MEASURES, *(field for field in MORE_ANSWERS if field.name in wanted)])


#: One row per window on a map.
PROJECTION = pa.schema(
    [
        _field("cutout_id", pa.int64(), "the window", null=False),
        _field("x", pa.float32(), "first coordinate of the map", "that of the map", null=False),
        _field("y", pa.float32(), "second coordinate of the map", "that of the map", null=False),
        _field(
            "placed",
            pa.bool_(),
            "placed among those of the sample that was laid out; false for these",
            null=False,
        ),
        _field(
            "doubtful",
            pa.bool_(),
            "most of its neighbors on the map are not near to it by vector",
            null=False,
        ),
    ]
)

#: One row per refused input.
FAILURES = pa.schema(
    [
        _field("stage", pa.string(), "images, cutouts or fingerprints"),
        _field("uri", pa.string(), "the file"),
        _field("hdu", pa.int32(), "the HDU, where known"),
        _field("cutout_id", pa.int64(), "the window, where one window failed"),
        _field("kind", pa.string(), "short reason"),
        _field("message", pa.string(), "what was wrong and what to do"),
    ]
)


def _struct(schema: pa.Schema) -> pa.DataType:
    # Nested in another table every column may be null: the struct itself is.
    return pa.struct([f.with_nullable(True) for f in schema])


#: What the tile stage emits. Each row is one of three things: a window (``cutout_id`` and
#: ``pixels`` set), an image that was dealt with (``image`` set), a refusal (``failure`` set).
#: Later stages pass on the rows that are not theirs, so one pass over the files fills
#: the four tables of a batch.
TILED = pa.schema(
    [
        *CUTOUTS,
        *PIXELS,
        pa.field("image", _struct(IMAGES)),
        pa.field("failure", _struct(FAILURES)),
    ]
)

#: What the fingerprint stage emits: ``TILED`` with the fingerprint beside it.
FINGERPRINTED = pa.schema([*TILED, *(f for f in FINGERPRINTS if f.name != "cutout_id")])

#: A position of a catalog that lies on an image.
TARGET = pa.struct([("position_id", pa.string()), ("ra", pa.float64()), ("dec", pa.float64())])

#: What the tile stage reads: images, with the positions to cut where a catalog gives them.
TARGETED = pa.schema([*IMAGES, pa.field("targets", pa.list_(TARGET))])

#: The tables of a catalog, by name.
TABLES: dict[str, pa.Schema] = {
    "images": IMAGES,
    "cutouts": CUTOUTS,
    "fingerprints": FINGERPRINTS,
    "failures": FAILURES,
    "projection": PROJECTION,
}


def rows_to_batch(
    rows: list[dict[str, object]], schema: pa.Schema, columns: Mapping[str, pa.Array] | None = None
) -> pa.RecordBatch:
    """Build one batch from dictionaries; a column a row lacks is null.

    Parameters
    ----------
    rows : list of dict
        Column name to value. A name the schema lacks is an error.
    schema : pyarrow.Schema
    columns : mapping of str to pyarrow.Array, optional
        Columns that are built already; rows have nothing of these.

    Returns
    -------
    pyarrow.RecordBatch
    """
    names, built = schema.names, columns or {}
    given: set[str] = set().union(*rows)
    if not given <= set(names):
        raise KeyError(f"columns {sorted(given - set(names))} are not in {names}")

    def column(name: str, kind: pa.DataType) -> pa.Array:
        if name in built:
            return built[name]
        if name not in given:
            return pa.nulls(len(rows), kind)
        return pa.array([row.get(name) for row in rows], type=kind)

    return pa.RecordBatch.from_arrays(list(map(column, names, schema.types)), schema=schema)
