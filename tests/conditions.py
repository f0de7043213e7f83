"""Names of one table, for conditions."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from elodin_spark.catalog.terms import KINDS, Term
from elodin_spark.errors import InputError


class TableNames:
    """The columns of a table of plain types."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def column(self, parts: Sequence[str]) -> Term:
        name = parts[0].lower()
        if len(parts) > 1 or name not in self._schema.names:
            raise InputError(f"there is no column {'.'.join(parts)}")
        kind = next(kind for kind, arrow in KINDS.items() if arrow == self._schema.field(name).type)
        return Term(kind, lambda batch: batch.column(name))

    def entry(self, parts: Sequence[str], key: str) -> Term:
        raise InputError("there are no maps")

    def score(self, label: str) -> Term:
        raise InputError(f"there is no label {label!r}")
