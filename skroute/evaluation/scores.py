"""What was measured on each split: its mean, its standard error, and as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

#: What decisions are to reach, settled on the training queries.
TARGET = "100%"


def find_standard_error(values: np.ndarray) -> float:
    """Find the standard error of a mean over splits; ``NaN`` where there is none."""
    if len(values) < 2 or not np.isfinite(values).all():
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def describe_splits(values: np.ndarray) -> dict[str, Any]:
    """Describe what was measured on each split, for JSON."""
    return {
        "mean": write_json(values.mean()),
        "standard_error": write_json(find_standard_error(values)),
        "splits": write_json(values),
    }


def write_json(values: Any) -> Any:
    """Turn arrays into lists; None for NaN and infinity, which JSON lacks."""
    if np.ndim(values):
        return [write_json(value) for value in values]
    return float(values) if np.isfinite(values) else None
