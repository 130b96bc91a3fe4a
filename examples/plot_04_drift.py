"""
Traffic that drifts
===================

A mean budget is kept by a shadow price that was found on training queries. When
prices or prompts change, the same price spends something else.
``BudgetDecider.partial_fit`` moves the price with what calls really cost, and
``CollapseMonitor`` says when the traffic is not what it was.
"""

# %%
# Two thirds through the stream, the more expensive models raise their prices by half.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge

from skroute import BudgetDecider, PointwiseRouter
from skroute.datasets import make_routing

data = make_routing(9_000, random_state=0)
train, live = slice(0, 2000), slice(2000, None)
router = PointwiseRouter(Ridge(), random_state=0)
estimates = router.fit_transform(
    data.data[train], data.quality[train], costs=data.costs[train]
)
budget = 0.4 * data.costs[train].mean(axis=0).max()
decider = BudgetDecider(budget)
decider.fit(estimates, data.quality[train], costs=data.costs[train])

bills = data.costs[live].copy()
bills[4000:, 2:] *= 1.5
queries = router.transform(data.data[live])
rows = np.arange(len(queries))

# %%
# A price as fitted, and one that is moved after every hundred queries.

fixed = bills[rows, decider.predict(queries)]
moving, prices = [], []
for start in range(0, len(queries), 100):
    now = slice(start, start + 100)
    model = decider.predict(queries[now])
    cost = bills[now][np.arange(len(model)), model]
    decider.partial_fit(queries[now], costs=cost)
    moving.extend(cost)
    prices.append(decider.price_)


def window(cost, length=500):
    return np.convolve(cost, np.ones(length) / length, mode="valid") / budget


figure, (upper, lower) = plt.subplots(
    2, 1, figsize=(8, 5.5), sharex=True, layout="constrained"
)
upper.plot(window(fixed), label="price as fitted", linestyle="--")
upper.plot(window(moving), label="partial_fit")
upper.axhline(1, color="grey", linestyle=":")
upper.set_ylabel("Spent / budget,\nlast 500 queries")
upper.legend()
lower.plot(np.arange(len(prices)) * 100, prices)
lower.set(xlabel="Query", ylabel="Price of money")
figure.show()

# %%
# The monitor needs no outcomes. Here the queries themselves change: after 1,500 of
# them, only one task arrives. What it warns of goes to the log.

from skroute.metrics import CollapseMonitor

max_drift = 0.15
monitor = CollapseMonitor.for_router(
    router, data.data[train], window=500, min_queries=300, max_drift=max_drift
)
task = data.task[live]
stream = np.concatenate([np.arange(1500), np.flatnonzero(task == task[0])[:800]])
names = decider.route(queries)
drift = []
for start in range(0, len(stream), 100):
    now = stream[start : start + 100]
    monitor.update(names[now], X=data.data[live][now])
    drift.append(monitor.summary().drift)

figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot((np.arange(len(drift)) + 1) * 100, drift, marker=".")
ax.axhline(max_drift, color="grey", linestyle=":", label="max_drift")
ax.set(xlabel="Queries seen", ylabel="Drift")
ax.legend()
figure.show()
print(monitor.summary())
