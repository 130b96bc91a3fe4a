"""
Budgets in a pipeline, and a search
===================================

A router is a transformer from queries to estimates, and ``BudgetDecider`` turns these
into calls. Together with any steps before them they are one estimator for
scikit-learn's tools.
"""

# %%
# Costs are known per query here, so they are metadata: scikit-learn hands them on to
# the steps that ask for them once routing of metadata is switched on.

import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skroute import BudgetDecider, RankingRouter
from skroute.datasets import make_routing

sklearn.set_config(enable_metadata_routing=True)

data = make_routing(1500, random_state=0)
train, test = slice(0, 1000), slice(1000, None)
X, y, costs = data.data[train], data.quality[train], data.costs[train]
strongest = costs.mean(axis=0).max()

pipeline = make_pipeline(
    PCA(16, random_state=0),
    RankingRouter(random_state=0),
    BudgetDecider(budget=0.3 * strongest),
)
pipeline.fit(X, y, costs=costs)

# %%
# One fit serves many budgets: the estimates stay, only the last step is fitted again,
# on the cross-fitted estimates of the training queries.

import matplotlib.pyplot as plt

router = pipeline[:-1]
Z_train = router.fit_transform(X, y, costs=costs)
Z = router.transform(data.data[test])
asked = np.linspace(0.1, 0.9, 9) * strongest
rows = np.arange(len(Z))
spent, reached = [], []
for budget in asked:
    calls = BudgetDecider(budget).fit(Z_train, y, costs=costs).predict(Z)
    spent.append(data.costs[test][rows, calls].mean())
    reached.append(data.quality[test][rows, calls].mean())

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(asked, spent, marker="o")
left.plot(asked, asked, color="grey", linestyle=":", label="as asked")
left.set(xlabel="Budget per query", ylabel="Spent per query")
left.legend()
right.plot(spent, reached, marker="o")
right.set(xlabel="Spent per query", ylabel="Mean quality")
figure.show()

# %%
# Where the line on the left is flat, more money buys nothing: the budget is not spent.
#
# A search over the router's parameters. Nothing has to be decided for it: the score is
# the area under quality against cost, over all budgets.

import pandas as pd
from sklearn.model_selection import GridSearchCV

from skroute.metrics import make_routing_scorer

search = GridSearchCV(
    router,
    {"pca__n_components": [4, 16], "rankingrouter__n_landmarks": [64, 256]},
    scoring=make_routing_scorer("normalized_auc"),
    cv=3,
    error_score="raise",
)
search.fit(X, y, costs=costs)
pd.DataFrame(search.cv_results_)[
    [
        "param_pca__n_components",
        "param_rankingrouter__n_landmarks",
        "mean_test_score",
        "std_test_score",
    ]
].round(4)
