"""Measure how far queries have drifted from those a router was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import ks_2samp
from sklearn.utils import check_array, check_random_state

from skroute._table.duplicates import find_duplicates

# Rows kept of the reference, and as many to find its components.
_N_ROWS = 2000
_N_COMPONENTS = 16
_MIN_ROWS = 20
# Standardised coordinates are rounded to this many decimals, so that equal embeddings
# stay equal (ties, no drift) however BLAS or an encoder rounds them.
_DECIMALS = 3
# Standard deviations below this part of the embeddings' length count as rounding.
_FLAT = 1e-3
_FAR = 1e6


class Reference:
    """Principal components of a sample of embeddings, and its distribution on them.

    One half of the sample gives the components and the other the distribution, because
    rows lie nearer to components that were fitted to them. A prompt counts once: its
    copies would stand in both halves, and make a small sample look like a large one.
    """

    def __init__(self, X: Any, random_state: Any) -> None:
        X = check_array(X, dtype=np.float64, input_name="reference")
        # All routers import this module, and few watch drift.
        from sklearn.decomposition import PCA

        if len(X) < _MIN_ROWS:
            raise ValueError(
                f"reference must have at least {_MIN_ROWS} rows to compare queries "
                f"with; got {len(X)}. Give more training queries, or reference=None "
                "to leave drift unwatched."
            )
        X = X[find_duplicates(X).counted]
        random = check_random_state(random_state)
        rows = random.permutation(len(X))[: 2 * _N_ROWS]
        fitted, kept = X[rows[1::2]], X[rows[::2]]
        self.n_features = X.shape[1]
        self._pca = PCA(
            min(_N_COMPONENTS, *fitted.shape),
            random_state=random.randint(np.iinfo(np.int32).max),
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            # Where all rows are equal, shares of the variance are divided by 0.
            self._pca.fit(fitted)
        self._centre, self._scale = np.zeros(1), np.ones(1)
        raw = self._measure_coordinates(kept)
        floor = _FLAT * np.sqrt(np.mean(np.square(kept).sum(axis=1))) or 1.0
        self._centre, self._scale = raw.mean(axis=0), raw.std(axis=0)
        self._scale = np.maximum(self._scale, floor)
        self._sample = self.project(kept)

    @property
    def n_coordinates(self) -> int:
        """Components, and the distance from them."""
        return self._sample.shape[1]

    def project(self, X: np.ndarray) -> np.ndarray:
        """Project embeddings: (n_queries, n_coordinates), standardised.

        The coordinates are those on the components, and the distance from their span.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            raw = (self._measure_coordinates(X) - self._centre) / self._scale
        # Embeddings whose coordinates overflow are placed far away.
        far = np.nan_to_num(raw, nan=_FAR, posinf=_FAR, neginf=-_FAR)
        return far.clip(-_FAR, _FAR).round(_DECIMALS)

    def measure_drift(self, rows: np.ndarray) -> tuple[float, float]:
        """Return the largest Kolmogorov-Smirnov statistic of a coordinate, and p-value.

        The p-value is the smallest one times the number of coordinates (Bonferroni).
        """
        rows = rows[find_duplicates(rows).counted]
        tests = [
            ks_2samp(known, new, method="asymp")
            for known, new in zip(self._sample.T, rows.T, strict=True)
        ]
        statistic = max(float(test.statistic) for test in tests)
        pvalue = min(float(test.pvalue) for test in tests)
        return statistic, min(1.0, len(tests) * pvalue)

    def _measure_coordinates(self, X: np.ndarray) -> np.ndarray:
        components = self._pca.components_
        centred = X - self._pca.mean_
        along = centred @ components.T
        away = np.linalg.norm(centred - along @ components, axis=1)
        return np.column_stack([along, away])
