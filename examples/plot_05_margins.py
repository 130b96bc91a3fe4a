"""
Margins: why small errors decide
================================

On most queries the two best models are equally good, or nearly. Whoever predicts scores
with an error larger than that margin decides by the error.
"""

# %%
# The share of queries on which the two best models differ by at most so much. True
# margins are 0 or 1 here, because an answer is right or wrong: on nearly all digits
# several models are right. Predicted margins are small where the router knows that. The
# axis ends where they do.

from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsRegressor

from skroute import PointwiseRouter, RankingRouter
from skroute.datasets import load_digits_pool
from skroute.plotting import MarginDisplay

pool = load_digits_pool(as_frame=True)
X, X_new, y, y_new, costs, costs_new = train_test_split(
    pool.data, pool.quality, pool.costs, test_size=0.4, random_state=0
)
ranking = RankingRouter(random_state=0).fit(X, y, costs=costs)
display = MarginDisplay.from_estimator(ranking, X_new, y_new)

neighbours = PointwiseRouter(KNeighborsRegressor(10), random_state=0)
neighbours.fit(X, y, costs=costs)
MarginDisplay.from_estimator(
    neighbours, X_new, y_new, ax=display.ax_, color="#009E73", linestyle="-."
)
lines = [display.predicted_line_, display.ax_.lines[-1], display.true_line_]
display.ax_.legend(handles=lines, loc="lower right", fontsize="small")
display.ax_.set_xlim(right=0.35)
display.figure_.show()

# %%
# Where the margin is small, money should decide. ``tolerance`` says how much expected
# quality may be given up for a cheaper model.

import numpy as np
import pandas as pd

rows = {}
for tolerance in (0.0, 0.01, 0.03, 0.1):
    names = ranking.route(X_new, tolerance=tolerance)
    at = np.arange(len(names)), y.columns.get_indexer(names)
    rows[tolerance] = {
        "read right": y_new.to_numpy()[at].mean(),
        "operations": costs_new.to_numpy()[at].mean(),
    }
pd.DataFrame(rows).T.rename_axis("tolerance").round(3)
