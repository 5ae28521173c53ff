"""Functions that number the rows of a window (function catalogue, section 14 and 21, item 38).

``row_number() OVER (PARTITION BY k ORDER BY v DESC)``; without OVER in the order of arrival.
"""

from __future__ import annotations

from engine.sql.functions import special


@special("ranking", example="row_number() = 1, 2, 3")
def row_number() -> int:
    """Return the place of the row in its window or partition, from 1; 1 without a window."""
    raise NotImplementedError("computed for all rows of a window at once")


@special("ranking", example="rank() = 1, 2, 2, 4 for ORDER BY v with v = 1, 2, 2, 3")
def rank() -> int:
    """Return one more than the number of rows before it; rows with equal keys have the same."""
    raise NotImplementedError("computed for all rows of a window at once")


@special("ranking", example="dense_rank() = 1, 2, 2, 3 for ORDER BY v with v = 1, 2, 2, 3")
def dense_rank() -> int:
    """Return one more than the number of different keys before that of the row."""
    raise NotImplementedError("computed for all rows of a window at once")
