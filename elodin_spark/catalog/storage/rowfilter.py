"""Rows of a table by their IDs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike


def among(column: str, ids: ArrayLike) -> pc.Expression:
    """The rows whose column is one of some IDs.

    They are copied to memory of Arrow's own. Its threads let go of a filter when they are done with it,
    which may be after the answer, while Python ends; memory of numpy they can only let go of through
    Python, which then ends the thread, and with it the process ("terminate called without an active
    exception").

    Parameters
    ----------
    column : str
        Of int64 or int32.
    ids : array_like of int64, shape (n,)
    """
    values = pa.array(np.asarray(ids, np.int64))
    return pc.field(column).isin(pc.add(values, 0))
