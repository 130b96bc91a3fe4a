"""
Collapse at a glance
====================

A router that collapses sends more and more queries to the strongest model as the budget
grows, also those that a cheaper one answers as well. The share of calls that each model
gets shows it in one picture, and shows why one number is not enough.
"""

# %%
# Three routers on a pool of five models with known truth: the ranking router, and two
# regressors of quality, all priced by the same decision layer.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor

from skroute import PointwiseRouter, RankingRouter
from skroute.datasets import make_routing

data = make_routing(2500, random_state=0)
train, test = slice(0, 1500), slice(1500, None)
routers = {
    "ranking": RankingRouter(random_state=0),
    "ridge": PointwiseRouter(RidgeCV(np.logspace(-3, 3, 13)), random_state=0),
    "5 neighbours": PointwiseRouter(KNeighborsRegressor(5), random_state=0),
}
for router in routers.values():
    router.fit(data.data[train], data.quality[train], costs=data.costs[train])

# %%
# The strongest model is orange. The column on the right shows decisions in hindsight
# without a budget: a half of the queries need no more than the
# cheapest model. All three routers call the strongest one far more often; that is what
# collapse means, and without a budget none of them is free of it.

from skroute.plotting import CallShareDisplay

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, (name, router) in zip(axes, routers.items(), strict=True):
    display = CallShareDisplay.from_estimator(
        router,
        data.data[test],
        data.quality[test],
        costs=data.costs[test],
        ax=ax,
        name=name,
    )
    ax.locator_params(axis="x", nbins=3)
    ax.set_xlabel("Budget per query")
    if ax is not axes[0]:
        ax.set(ylabel="", yticklabels=[])
    if ax is not axes[-1]:
        display.legend_.remove()
figure.show()

# %%
# Numbers. The collapse index is taken at the largest budget (lower is better). Read it
# beside the area under quality against cost (higher is better) and the cost of parity
# with the best single model (lower is better): a router may rarely call the strongest
# model and yet be worse.

import pandas as pd

from skroute.metrics import (
    normalized_auc,
    quality_neutral_cost,
    routing_collapse_index,
    routing_curve,
    strongest_call_share,
)

rows = {}
for name, router in routers.items():
    quality, cost = np.hsplit(router.transform(data.data[test]), 2)
    curve = routing_curve(data.quality[test], data.costs[test], quality, cost)
    rows[name] = {
        "nAUC": normalized_auc(curve),
        "cost of parity": quality_neutral_cost(curve),
        "collapse index": routing_collapse_index(curve),
        "strongest model": strongest_call_share(curve),
    }
pd.DataFrame(rows).T.round(3)

# %%
# What makes the difference in use is not to ask for the best at any cost. At the point
# where the curve first has the best single model's quality, the same router collapses
# much less.

quality, cost = np.hsplit(routers["ranking"].transform(data.data[test]), 2)
curve = routing_curve(data.quality[test], data.costs[test], quality, cost)
parity = np.argmax(curve.quality >= data.quality[test].mean(axis=0).max())
pd.DataFrame(
    {
        "parity": [curve.collapse[parity], curve.call_share[parity, -1]],
        "no budget": [curve.collapse[-1], curve.call_share[-1, -1]],
    },
    index=["collapse index", "strongest model"],
).round(3)
