"""
Route under a budget
====================

Nine classifiers of very different size read handwritten digits. Which one should read
which digit? A router learns it from digits that all of them have tried, and is judged
on digits that it has not seen.
"""

# %%
# Digits stand for queries, classifiers for language models, and arithmetic operations
# for money. ``quality`` is 1 where a model reads a digit right.

from sklearn.model_selection import train_test_split

from skroute import RankingRouter
from skroute.datasets import load_digits_pool

pool = load_digits_pool(as_frame=True)
X, X_new, y, y_new, costs, costs_new = train_test_split(
    pool.data, pool.quality, pool.costs, test_size=0.4, random_state=0
)
router = RankingRouter(random_state=0).fit(X, y, costs=costs)
names = router.route(X_new, budget=50_000)  # operations per digit, on average

# %%
# What the calls gave and what they cost, beside the best and the strongest model.

import numpy as np
import pandas as pd


def outcome(names):
    rows, columns = np.arange(len(names)), pool.quality.columns.get_indexer(names)
    return {
        "read right": y_new.to_numpy()[rows, columns].mean(),
        "operations": costs_new.to_numpy()[rows, columns].mean(),
    }


always = {name: outcome([name] * len(X_new)) for name in ("forest", "knn", "svc")}
pd.DataFrame(
    {
        "budget=50_000": outcome(names),
        "budget=10_000": outcome(router.route(X_new, budget=10_000)),
        'min_quality="98%"': outcome(router.route(X_new, min_quality="98%")),
        **{f"always {name}": found for name, found in always.items()},
    }
).T.round(3)

# %%
# Every budget at once. The router's line is what it reaches at each budget; a star
# marks the best single model, the dotted line is what models drawn by chance reach, and
# the dashed one decides with hindsight.

from skroute.plotting import RoutingCurveDisplay

display = RoutingCurveDisplay.from_estimator(router, X_new, y_new, costs=costs_new)
display.ax_.set(xscale="log", ylim=(0.6, 1.01))
display.figure_.show()
