"""
Collapse at a glance
====================

A router that collapses sends more and more queries to the strongest model as the budget
grows, also those that a cheaper one answers as well. What counts is how it decides
under the rule that you deploy; at unlimited money nearly every router collapses.
"""

# %%
# Three routers on a pool of five models with known truth: the ranking router, and two
# regressors of quality, all priced by the same decision layer. The first columns are of
# decisions that were settled on the training queries, to keep the best single model's
# quality: how much of it they kept, what share of that model's cost they paid, how many
# queries they sent to the strongest model, and how many were badly decided (the
# collapse index: sent to a worse model, or to the strongest in vain). The last column
# is the collapse index where money is no object. There the best by a hair is called,
# and that is often the most expensive one.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor

from skroute import PointwiseRouter, RankingRouter
from skroute.datasets import make_routing
from skroute.evaluation import compare_routers

data = make_routing(2500, random_state=0)
routers = {
    "ranking": RankingRouter(random_state=0),
    "ridge": PointwiseRouter(RidgeCV(np.logspace(-3, 3, 13)), random_state=0),
    "5 neighbours": PointwiseRouter(KNeighborsRegressor(5), random_state=0),
}
comparison = compare_routers(data.data, data.quality, data.costs, routers, seeds=3)
columns = {
    "relative_quality": "kept",
    "relative_cost": "paid",
    "settled_strongest_share": "strongest",
    "settled_collapse_index": "collapse",
    "routing_collapse_index": "collapse, no budget",
}
pd.DataFrame(
    {
        name: {text: result.mean(metric) for metric, text in columns.items()}
        for name, result in comparison.results.items()
    }
).T.round(3)

# %%
# Read the collapse index beside what was kept and paid: a router may rarely call the
# strongest model and yet be worse.
#
# The calls at every budget show where it comes from. The strongest model is orange, and
# the dashed line is the budget at which the router keeps the best single model's
# quality, as settled in training. The column on the right shows decisions in hindsight
# without a budget: three queries in ten need no more than the cheapest model.

from skroute.plotting import CallShareDisplay

train, test = slice(0, 1500), slice(1500, None)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for ax, (name, router) in zip(axes, routers.items(), strict=True):
    router.fit(data.data[train], data.quality[train], costs=data.costs[train])
    display = CallShareDisplay.from_estimator(
        router,
        data.data[test],
        data.quality[test],
        costs=data.costs[test],
        ax=ax,
        name=name,
    )
    settled = router.explain(data.data[test], min_quality="100%")
    ax.axvline(settled["expected_cost"].mean(), color="black", linestyle="--")
    ax.locator_params(axis="x", nbins=3)
    ax.set_xlabel("Budget per query")
    if ax is not axes[0]:
        ax.set(ylabel="", yticklabels=[])
    if ax is not axes[-1]:
        display.legend_.remove()
figure.show()
