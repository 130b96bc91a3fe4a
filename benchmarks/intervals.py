"""Intervals of paired differences. Shared by the benchmarks."""

from __future__ import annotations

import numpy as np
from scipy.stats import bootstrap

__all__ = ["interval"]


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Bootstrap interval, at 95%, of the mean of paired differences."""
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    result = bootstrap(
        (differences,), np.mean, method="percentile", rng=np.random.default_rng(0)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
