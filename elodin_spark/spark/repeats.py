"""The same place of the sky in different images: pairs of cutouts, found by cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from elodin_spark.cutouts.skycells import cells_with_margin, pair_order, repeat_pairs

_SPREAD = "cutout_id long, image_id long, ra double, dec double, mjd double, cell long, home boolean"
_PAIRS = "id_a long, id_b long, sep_arcsec double, dmjd double"
_COLUMNS = ("cutout_id", "image_id", "ra", "dec", "mjd")


def find_repeats(cutouts: DataFrame, images: DataFrame, max_sep_arcsec: float) -> DataFrame:
    """Find the pairs of cutouts of different images whose centers are near each other.

    Parameters
    ----------
    cutouts : pyspark.sql.DataFrame
        Of :data:`elodin_spark.schema.CUTOUTS`; those without a position are near nothing.
    images : pyspark.sql.DataFrame
        Of :data:`elodin_spark.schema.IMAGES`, for their epochs.
    max_sep_arcsec : float
        Largest separation, itself included.

    Returns
    -------
    pyspark.sql.DataFrame
        `id_a`, `id_b` (``id_a < id_b``), `sep_arcsec`, and `dmjd`, epoch of b minus that of a in
        days (null where one is not known). Each pair once, whatever the partitioning. The
        cutouts of one cell of the sky are held by one task.
    """
    order = pair_order(max_sep_arcsec)

    def spread(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ra, dec = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
            found = cells_with_margin(ra, dec, order, max_sep_arcsec)
            rows = pa.array(found.position)
            columns = [batch.column(name).take(rows) for name in _COLUMNS]
            yield pa.RecordBatch.from_arrays(
                [*columns, pa.array(found.cells), pa.array(found.home)], names=[*_COLUMNS, "cell", "home"]
            )

    def pairs(group: pa.Table) -> pa.Table:
        columns = {name: group.column(name).to_numpy() for name in group.column_names}
        found = repeat_pairs(
            columns["cutout_id"], columns["image_id"], columns["ra"], columns["dec"], max_sep_arcsec,
            mjd=columns["mjd"].astype(np.float64), home=columns["home"].astype(bool),
        )  # fmt: skip
        dmjd = pa.array(found.dmjd, mask=np.isnan(found.dmjd))
        return pa.table(
            [found.id_a, found.id_b, found.sep_arcsec, dmjd], ["id_a", "id_b", "sep_arcsec", "dmjd"]
        )

    placed = cutouts.where(F.col("ra").isNotNull()).join(images.select("image_id", "mjd"), "image_id")
    return placed.select(*_COLUMNS).mapInArrow(spread, _SPREAD).groupBy("cell").applyInArrow(pairs, _PAIRS)
