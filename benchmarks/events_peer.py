"""Run ParetoBandit on a stream of `events.py`, in an environment that has it.

Called by `events.py`, with the files of the stream and of the decisions.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import joblib
import numpy as np
from pareto_bandit import BanditRouter
from pareto_bandit.budget_pacer import BudgetPacer
from pareto_bandit.feature_service import FeatureService


def make_priors(X: np.ndarray, quality: np.ndarray, models: list[str]) -> dict:
    """What `generate_warmup_priors` makes of outcomes, from vectors at hand."""
    rows = np.column_stack([X, np.ones(len(X))])
    gram = np.eye(rows.shape[1]) + rows.T @ rows
    return {
        "A": {model: 0.1 * gram for model in models},
        "b": {model: 0.1 * rows.T @ quality[:, m] for m, model in enumerate(models)},
        "models": models,
        "n": len(X),
        "context_dim": rows.shape[1],
        "pca_components": X.shape[1],
        "pca_whitened": True,
        "plasticity": 0.1,
    }


def main() -> None:
    """Route the stream."""
    logging.disable(logging.WARNING)
    given = np.load(sys.argv[1])
    budget, at, n_forced, joined, seed = given["numbers"].tolist()
    at, n_forced, joined, seed = int(at), int(n_forced), int(joined), int(seed)
    prices, quality, costs = given["prices"], given["quality"], given["costs"]
    names = [f"m{i}" for i in range(len(prices))]
    # Of calls of 1,000 tokens.
    priced = [
        {"input_cost_per_m": price * 1000, "output_cost_per_m": price * 1000}
        for price in prices.tolist()
    ]
    known = [m for m in range(len(names)) if m != joined]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "priors.joblib")
        own = [names[m] for m in known]
        joblib.dump(
            make_priors(given["train"], given["train_quality"][:, known], own), path
        )
        router = BanditRouter.create(
            model_registry={names[m]: priced[m] for m in known},
            # The last feature is the constant, as in its own features.
            feature_service=FeatureService.for_precomputed(
                dimension=given["X"].shape[1] + 1
            ),
            priors=str(path),
            budget_pacer=BudgetPacer(target_avg_spend_usd=budget),
            bandit_seed=seed,
            # No bonus for cheap models beside the pacer: with its default of 0.3, a
            # third of this budget stays unspent.
            cost_penalty=0.0,
        )
    choice = np.empty(len(given["X"]), dtype=int)
    for i, x in enumerate(given["X"]):
        if i == at and joined >= 0:
            router.register_model(names[joined], **priced[joined])
        called, log = router.route(np.append(x, 1.0))
        choice[i] = names.index(called)
        # The pacer sees what the call really cost.
        log.cost_usd = float(costs[i, choice[i]])
        router.process_feedback(log.request_id, reward=float(quality[i, choice[i]]))
    np.save(sys.argv[2], choice)


if __name__ == "__main__":
    main()
