"""Route real calls: skroute chooses the model and its fallbacks, LiteLLM calls it.

A pipeline from prompts to models is fitted on a table of past calls. Each new prompt is
sent to the model that it chooses within a mean budget; where that fails, LiteLLM goes
on to the next choices. What a call cost moves the shadow price, so that spending
keeps to the budget, and is logged in a format that the table may be read from::

    pip install '.[serve]'  # in a checkout of the repository
    python examples/litellm_router.py calls.jsonl models.json --budget 0.002 < prompts

``calls.jsonl`` has a line for each past call (query, model, quality, cost; or any table
that ``skroute.datasets.read_table`` reads, with prompts). ``models.json`` says how
LiteLLM calls each of its models::

    {"small": {"model": "openai/gpt-5-nano"}, "large": {"model": "openai/gpt-5"}}

Give ``input_cost_per_token`` and ``output_cost_per_token`` of models whose prices
LiteLLM does not know: it reports their calls as free. A free model has 0 and 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

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


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """Text of the user's last message; empty where there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            # Parts: texts, images, files.
            texts = (part.get("text") for part in content if part.get("type") == "text")
            return "\n".join(filter(None, texts))
    return ""


def cost_of(gateway: litellm.Router, response: Any, model: str) -> float:
    """Money that a call of a model took; NaN where LiteLLM does not know."""
    hidden = response._hidden_params
    cost = hidden.get("response_cost")
    # LiteLLM also reports 0 where it does not know the price of a model.
    if cost or hidden.get("cache_hit") or _is_free(gateway, model):
        return float(cost or 0.0)
    return float("nan")


def _is_free(gateway: litellm.Router, model: str) -> bool:
    """Whether the gateway was told that a model costs nothing."""
    how = gateway.registry().deployment(model)
    told = how.litellm_params, how.model_info
    return any(
        getattr(place, "input_cost_per_token", None) == 0
        and getattr(place, "output_cost_per_token", None) == 0
        for place in told
    )


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
    explore : float, default=0.0
        Share of the requests whose model is drawn; the log has the chance of each call.
    log : callable, default=None
        Called with a dict for each answered request.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        gateway: litellm.Router,
        *,
        n_models: int = 3,
        explore: float = 0.0,
        log: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.gateway = gateway
        self.log = log
        self.explore = explore
        self._encode, self._decider = pipeline[:-1], pipeline[-1]
        self._top_k = min(n_models, len(self._decider.models_))
        # Requests may come from many threads; the shadow price moves in one.
        self._lock = threading.Lock()
        known = gateway.registry().names(kind="group_set")
        absent = set(self._decider.models_) - set(known)
        if absent:
            raise ValueError(f"the gateway does not know the models {sorted(absent)}.")

    def choose(self, estimates: Any) -> list[str]:
        """Name the model to call, then those to fall back on."""
        return self.draw(estimates)[0]

    def draw(self, estimates: Any) -> tuple[list[str], float]:
        """Name these models, and the chance that the first of them had."""
        with self._lock:
            names, chances = self._decider.route(
                estimates,
                top_k=self._top_k,
                explore=self.explore,
                return_propensity=True,
            )
        return [name for name in names[0] if name is not None], float(chances[0])

    def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        """Answer messages, as ``litellm.completion`` does.

        With ``stream=True`` the chunks are handed on as they come, and what the call
        cost is counted at their end, or where the caller stops reading them.
        """
        prompt = prompt_of(messages)
        estimates = self._encode.transform([prompt])
        (first, *others), chance = self.draw(estimates)
        shows_usage = "stream_options" in options
        if options.get("stream"):
            # Otherwise providers do not say how many tokens a stream took.
            options.setdefault("stream_options", {"include_usage": True})
        response = self.gateway.completion(
            first, list(messages), fallbacks=others, **options
        )
        model = response._hidden_params["model_id"]
        if model != first:
            logger.warning("%s failed, %s answered", first, model)
            # A call in place of one that failed was not drawn: its chance is unknown.
            chance = None
        if options.get("stream"):
            call = prompt, estimates, model, chance
            return self._read(response, messages, call, shows_usage=shows_usage)
        cost = cost_of(self.gateway, response, model)
        self._count(prompt, estimates, model, chance, cost)
        return response

    def _read(
        self,
        chunks: Any,
        messages: Sequence[Mapping[str, Any]],
        call: tuple[str, Any, str, float | None],
        *,
        shows_usage: bool,
    ) -> Iterator[Any]:
        """Hand the chunks of a stream on, and count its cost at the end."""
        seen = []
        try:
            for chunk in chunks:
                seen.append(chunk)
                # That of the tokens has no choices: only who asked for it expects it.
                if chunk.choices or shows_usage:
                    yield chunk
        finally:
            # LiteLLM counts the tokens itself where the stream does not say.
            whole = litellm.stream_chunk_builder(seen, messages=list(messages))
            unknown = whole is None
            cost = float("nan") if unknown else cost_of(self.gateway, whole, call[2])
            self._count(*call, cost)

    def _count(
        self,
        prompt: str,
        estimates: Any,
        model: str,
        chance: float | None,
        cost: float,
    ) -> None:
        """Move the shadow price by what a call cost, and log the call."""
        with self._lock:
            # An unknown cost counts as the expected one.
            self._decider.partial_fit(estimates, costs=[cost], called=[model])
            price = self._decider.price_
        logger.info("%s cost %s; shadow price %.6g", model, cost, price)
        if self.log is not None:
            self.log(
                {
                    "query": uuid4().hex,
                    "prompt": prompt,
                    "model": model,
                    "quality": None,
                    "cost": None if math.isnan(cost) else cost,
                    "propensity": chance,
                }
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the lines of stdin."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path, help="past calls, see above")
    parser.add_argument("models", type=Path, help="JSON: name -> LiteLLM's parameters")
    parser.add_argument("--budget", type=float, required=True, help="mean per request")
    parser.add_argument(
        "--explore", type=float, default=0.0, help="share of drawn models"
    )
    parser.add_argument("--log", type=Path, help="append a JSON line for each call")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    models = json.loads(given.models.read_text(encoding="utf-8"))

    def append(call: dict[str, Any]) -> None:
        with given.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(call) + "\n")

    log = append if given.log else None
    pipeline = fit(given.table, given.budget)
    client = RoutedClient(pipeline, gateway(models), explore=given.explore, log=log)
    for line in filter(None, map(str.strip, sys.stdin)):
        response = client.complete([{"role": "user", "content": line}])
        print(response.choices[0].message.content or "")


if __name__ == "__main__":
    main()
