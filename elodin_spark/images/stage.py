"""Files to described images, as a stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa

from elodin_spark import schema
from elodin_spark.config.settings import ImagesSettings
from elodin_spark.errors import ImageError
from elodin_spark.images.describe import describe_planes, failed_row
from elodin_spark.images.listing import ImageFile
from elodin_spark.stage import Locate, Stage


@dataclass(frozen=True)
class DescribeSpec:
    """Batches of ``schema.FILES`` to batches of ``schema.IMAGES``.

    A file that cannot be described becomes a row with ``status`` "failed" and ``error``
    "<kind>: <message>".

    Parameters
    ----------
    hdu : int or str, optional
        Index or EXTNAME of the HDU, or ``all``; by default the first that holds a 2-D image.
    bands : str, optional
        Only planes whose band matches this pattern, as of a shell.
    mjd : tuple of float, optional
        Only planes observed from the first to the second, d.
    storage : tuple of (str, object)
        Options of a remote store.
    fail_fast : bool
        Raise at the first file that cannot be described, naming it, instead of making a row of it.
    """

    hdu: int | str | None = None
    bands: str | None = None
    mjd: tuple[float, float] | None = None
    storage: tuple[tuple[str, Any], ...] = ()
    fail_fast: bool = False

    @classmethod
    def from_settings(cls, images: ImagesSettings, fail_fast: bool = False) -> DescribeSpec:
        """The spec of a run, or of a DataFrame of images."""
        return cls(images.hdu, images.bands, images.mjd, tuple(images.storage.items()), fail_fast)

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
        return _Describe(self)


class _Describe:
    output_schema: pa.Schema = schema.IMAGES

    def __init__(self, spec: DescribeSpec) -> None:
        self._spec = spec

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [row for file in batch.to_pylist() for row in self._rows(ImageFile(**file))]
            yield schema.rows_to_batch(rows, schema.IMAGES)

    def _rows(self, file: ImageFile) -> list[dict[str, Any]]:
        spec = self._spec
        try:
            rows = describe_planes(file, spec.hdu, dict(spec.storage))
        except ImageError as error:
            refused = error
        # The boundary of one file: whatever its bytes make a library do, the others go on.
        except Exception as error:
            refused = ImageError(f"{type(error).__name__}: {error}")
        else:
            return [row for row in rows if self._wanted(row)]
        if spec.fail_fast:
            raise ImageError(f"{file.uri}: {refused}", refused.kind)
        return [failed_row(file, refused, spec.hdu)]

    def _wanted(self, row: dict[str, Any]) -> bool:
        spec = self._spec
        if spec.bands is not None and not fnmatchcase(row["bands"] or "", spec.bands):
            return False
        return spec.mjd is None or (row["mjd"] is not None and spec.mjd[0] <= row["mjd"] <= spec.mjd[1])
