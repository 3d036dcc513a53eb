"""What ``fastalex classify`` prints of a prediction, for images and for frames."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from ..errors import UserError

Item = Tuple[str, str, Optional[UserError]]  # kind, path, error


def above(ranked: List[Any], threshold: float) -> List[Dict[str, Any]]:
    """Predictions as they are printed: those of at least ``threshold``. NaN stays, it must not go unnoticed."""
    rows = [dict(rank=index + 1, **item._asdict()) for index, item in enumerate(ranked)]
    return [row for row in rows if not row["probability"] < threshold]
