"""Route real calls: skroute chooses the model and its fallbacks, LiteLLM calls it.

A pipeline from prompts to models is fitted on a table of past calls. Each new prompt is
sent to the model that it chooses within a mean budget; where that fails, LiteLLM goes
on to the next choices. What a call cost moves the price of money, so that spending
keeps to the budget, and is logged in the format that the table was read from::

    pip install '.[examples]'  # in a checkout of the repository
    python examples/litellm_router.py calls.jsonl models.json --budget 0.002 < prompts

``calls.jsonl`` has a line for each past call (query, model, quality, cost; or any table
that ``skroute.datasets.read_table`` reads, with prompts). ``models.json`` says how
LiteLLM calls each of its models::

    {"small": {"model": "openai/gpt-5-nano"}, "large": {"model": "openai/gpt-5"}}
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# LiteLLM would fetch a list of prices from the network when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
import pandas as pd
import sklearn
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline

from skroute import BudgetDecider, RankingRouter
from skroute.datasets import read_table

logger = logging.getLogger("skroute.examples.litellm")


def fit(table: Path, budget: float) -> Pipeline:
    """Fit a pipeline from prompts to models that keeps to a mean budget."""
    calls = read_table(table, duplicates="mean")
    if calls.costs is None or calls.prompts is None:
        raise ValueError(f"{table.name} needs prompts and the cost of each call.")
    pipeline = make_pipeline(
        TfidfVectorizer(sublinear_tf=True),
        TruncatedSVD(64, random_state=0),  # or skroute.text.SentenceEncoder() alone
        RankingRouter(random_state=0),
        BudgetDecider(budget, on_infeasible="cheapest"),
    )
    y = pd.DataFrame(calls.quality, columns=calls.models)
    with sklearn.config_context(enable_metadata_routing=True):
        return pipeline.fit(calls.prompts, y, costs=calls.costs)


def gateway(models: Mapping[str, Mapping[str, Any]]) -> litellm.Router:
    """Tell LiteLLM how to call each model, under the name that skroute has for it."""
    deployments = [
        {
            "model_name": name,
            "litellm_params": dict(how),
            # By this a response says which of them answered.
            "model_info": {"id": name},
        }
        for name, how in models.items()
    ]
    # What to call next is decided by skroute: nothing is tried twice.
    return litellm.Router(deployments, num_retries=0, disable_cooldowns=True)


class RoutedClient:
    """Answer messages with the models that a fitted pipeline chooses.

    Parameters
    ----------
    pipeline : Pipeline
        From texts to a ``BudgetDecider``, fitted.
    gateway : litellm.Router
        Knows every model of the pipeline by its name.
    n_models : int, default=3
        Models to try for a request, at most: the chosen one, then its fallbacks.
    log : callable, default=None
        Called with a dict for each answered request.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        gateway: litellm.Router,
        *,
        n_models: int = 3,
        log: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.gateway = gateway
        self.log = log
        self._encode, self._decider = pipeline[:-1], pipeline[-1]
        self._top_k = min(n_models, len(self._decider.models_))
        # Requests may come from many threads; the price of money moves in one.
        self._lock = threading.Lock()
        known = gateway.registry().names(kind="group_set")
        absent = set(self._decider.models_) - set(known)
        if absent:
            raise ValueError(f"the gateway does not know the models {sorted(absent)}.")

    def choose(self, estimates: Any) -> list[str]:
        """Name the model to call, then those to fall back on."""
        with self._lock:
            names = self._decider.route(estimates, top_k=self._top_k)[0]
        return [name for name in names if name is not None]

    def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """Answer messages, as ``litellm.completion`` does."""
        prompt = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        estimates = self._encode.transform([prompt])
        first, *others = self.choose(estimates)
        response = self.gateway.completion(
            first, list(messages), fallbacks=others, **options
        )
        hidden = response._hidden_params
        model, cost = hidden["model_id"], hidden.get("response_cost")
        with self._lock:
            # An unknown cost counts as the expected one.
            known = float("nan") if cost is None else cost
            self._decider.partial_fit(estimates, costs=[known])
            price = self._decider.price_
        if model != first:
            logger.warning("%s failed, %s answered", first, model)
        logger.info("%s cost %s; price of money %.6g", model, cost, price)
        if self.log is not None:
            self.log({"query": prompt, "model": model, "quality": None, "cost": cost})
        return response


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the lines of stdin."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path, help="past calls, see above")
    parser.add_argument("models", type=Path, help="JSON: name -> LiteLLM's parameters")
    parser.add_argument("--budget", type=float, required=True, help="mean per request")
    parser.add_argument("--log", type=Path, help="append a JSON line for each call")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    models = json.loads(given.models.read_text(encoding="utf-8"))

    def append(call: dict[str, Any]) -> None:
        with given.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(call) + "\n")

    log = append if given.log else None
    client = RoutedClient(fit(given.table, given.budget), gateway(models), log=log)
    for line in filter(None, map(str.strip, sys.stdin)):
        response = client.complete([{"role": "user", "content": line}])
        print(response.choices[0].message.content)


if __name__ == "__main__":
    main()
