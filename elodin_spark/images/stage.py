"""Files to described images, as a stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from elodin_spark import schema
from elodin_spark.errors import ImageError
from elodin_spark.images.describe import describe, failed_row
from elodin_spark.images.listing import ImageFile
from elodin_spark.stage import Locate, Stage


@dataclass(frozen=True)
class DescribeSpec:
    """Batches of ``schema.FILES`` to batches of ``schema.IMAGES``, row for row.

    A file that cannot be described becomes a row with ``status`` "failed" and ``error``
    "<kind>: <message>".

    Parameters
    ----------
    hdu : int or str, optional
        Index or EXTNAME of the HDU; by default the first that holds a 2-D image.
    """

    hdu: int | str | None = None

    @property
    def output_schema(self) -> pa.Schema:
        """``schema.IMAGES``."""
        return schema.IMAGES

    @property
    def files(self) -> tuple[str, ...]:
        """None are needed."""
        return ()

    def build(self, locate: Locate) -> Stage:
        """Build the stage; there is nothing to locate."""
        return _Describe(self.hdu)


class _Describe:
    output_schema: pa.Schema = schema.IMAGES

    def __init__(self, hdu: int | str | None) -> None:
        self._hdu = hdu

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [self._row(ImageFile(**row)) for row in batch.to_pylist()]
            yield schema.rows_to_batch(rows, schema.IMAGES)

    def _row(self, file: ImageFile) -> dict[str, Any]:
        try:
            return describe(file, self._hdu)
        except ImageError as error:
            return failed_row(file, error, self._hdu)
        # The boundary of one file: whatever its bytes make a library do, the others go on.
        except Exception as error:
            return failed_row(file, ImageError(f"{type(error).__name__}: {error}"), self._hdu)
