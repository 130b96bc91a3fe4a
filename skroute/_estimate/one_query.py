"""One query at a time: the estimates of ``PairFeatures`` in as few steps as there are.

A request is one query, and most of its time goes into calls of NumPy on a few numbers
each. So what does not depend on the query is laid out before, and vectors take the
place of tables of one row. Nothing is learned here, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skroute._compute.products import multiply_vector
from skroute._estimate.feature_maps import QueryViews
from skroute._estimate.ridge import RidgeFit

__all__ = ["SingleQuery"]


class SingleQuery:
    """Views, regressions and features of pairs, for one query.

    Parameters
    ----------
    views : QueryViews
        Views of queries.
    fits : list of RidgeFit
        The regression on each view; the last of its outputs is its share.
    means : ndarray of shape (n_models,)
        Mean quality of each model.
    """

    def __init__(
        self, views: QueryViews, fits: Sequence[RidgeFit], means: np.ndarray
    ) -> None:
        self._seen = views.for_one()
        self._means = means
        # Rows of coefficients: a product with a vector reads them in order.
        self._coefs = [
            np.ascontiguousarray(fit.coef.reshape(len(fit.coef), -1).T) for fit in fits
        ]
        self._intercepts = np.stack([fit.intercept.ravel() for fit in fits])
        self._shape = len(fits), *fits[0].intercept.shape

    def __call__(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Estimate one query.

        Parameters
        ----------
        scaled : ndarray of shape (1, width)
            The scaled query.

        Returns
        -------
        quality : ndarray of shape (1, n_models)
            As in ``PairEstimates``.
        features : ndarray of shape (1, n_models, n_features)
            As there.
        trust : ndarray of shape (1,)
            As there.
        """
        trust, seen = self._seen(scaled[0])
        outputs = np.empty_like(self._intercepts)
        for coef, phi, output in zip(self._coefs, seen, outputs, strict=True):
            output[:] = multiply_vector(coef, phi)
        outputs += self._intercepts
        by_view = outputs.reshape(self._shape)
        n_views, n_models, n_outputs = self._shape
        quality = self._means + np.add.reduce(by_view[:, :, -1], axis=0)
        level = np.add.reduce(quality) / n_models
        first = n_views * (n_outputs - 1)
        features = np.empty((1, n_models, first + 4), dtype=outputs.dtype)
        pairs = features[0]
        shown = by_view[:, :, :-1].transpose(1, 0, 2)
        pairs[:, :first] = shown.reshape(n_models, first)
        pairs[:, first] = quality
        pairs[:, first + 1] = quality - level
        pairs[:, first + 2] = level
        pairs[:, first + 3] = self._means
        return quality[None], features, trust
