"""The predictions that ``fastalex classify`` prints, for images and for frames."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from ..errors import UserError

Item = Tuple[str, str, Optional[UserError]]  # kind, path, error


def filter_by_threshold(ranked: List[Any], threshold: float) -> List[Dict[str, Any]]:
    """Return the predictions with a probability of at least ``threshold``, as JSON rows.

    A NaN is kept, because it must not go unnoticed.
    """
    rows = [dict(rank=index + 1, **item._asdict()) for index, item in enumerate(ranked)]
    return [row for row in rows if not row["probability"] < threshold]
