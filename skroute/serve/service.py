"""The parts of a service, and the decisions that they make together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from skroute.cascade import CascadeDecider
from skroute.serve.calls import CallError, Gateway, find_status
from skroute.serve.checks import Check
from skroute.serve.decisions import Decision, check_rule, decide, find_rule, name_models
from skroute.serve.journal import Journal, name_query
from skroute.serve.meters import Meters
from skroute.serve.pacing import Pacer
from skroute.serve.saved import SavedRouter, embed, find_rule_in_force
from skroute.serve.settings import Settings, read_models
from skroute.serve.watch import WatchedRouter

logger = logging.getLogger("skroute.serve")


class Service:
    """A router in service, what calls its models, and what is written of it.

    Parameters
    ----------
    settings : Settings
        What the service was told when it started.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.meters = Meters()
        self.journal = Journal(settings.log, self.meters.count_lost_row)
        self.journal.check()
        self.gateway: Gateway | None = None
        self.checks: dict[str, Check] = {}
        self.check_names: list[str] = []
        self.read_answer: Callable[..., Any] | None = None
        self.pacer = Pacer(self.meters) if settings.pace else None
        #: What is said of all requests; a pacer has a decider that knows the rest.
        self.rule = dict(settings.rule)
        if self.pacer is not None:
            self.rule = {n: v for n, v in self.rule.items() if n == "explore"}
        models = None if settings.models is None else read_models(settings.models)
        self._embeds = models is not None and models.embedding is not None
        self._known = None if models is None else set(models.names)
        if models is not None:
            self.checks, self.check_names = models.checks, models.check_names
            self.read_answer = models.answer
        # A router that cannot serve is refused before LiteLLM takes its time.
        self.watched = WatchedRouter(
            settings.router, self._prepare, self.meters.count_reload
        )
        if not find_rule_in_force(self.watched.current, settings.rule):
            logger.warning(
                "no rule: the model that is expected to be best is called, whatever it "
                "costs. Give --min-quality, --budget or --price, or save a router with "
                "a BudgetDecider behind it"
            )
        if models is not None:
            self.gateway = Gateway(models, settings.timeout)

    def _prepare(self, saved: SavedRouter) -> SavedRouter:
        """Make a router ready; raises ``ValueError`` where it cannot be used."""
        if not hasattr(saved.router, "models_"):
            raise ValueError("the router is not fitted.")
        names = [str(name) for name in saved.router.models_]
        last = saved.decider or saved.cascade
        if last is not None:
            known = [str(name) for name in getattr(last, "models_", names)]
            if known != names:
                raise ValueError(
                    f"the decider of the file knows the models {', '.join(known)}, and "
                    f"its router {', '.join(names)}: fit both in one Pipeline, on a y "
                    "whose columns are named."
                )
        shadow = self.settings.shadow
        if shadow is not None and shadow not in (self._known or names):
            raise ValueError(f"the shadow model {shadow!r} is none of {names}.")
        if saved.cascade is not None:
            self._check_cascade(saved.cascade)
        if self._known is not None:
            absent = [name for name in names if name not in self._known]
            if absent:
                raise ValueError(
                    f"{self._models_name} does not say how {absent[0]!r} is called; "
                    f"the router has the models {', '.join(names)}."
                )
            if saved.reads_vectors and not self._embeds:
                logger.warning(
                    "the router reads %s, and %s names no embedding model: chats have "
                    "to carry an embedding",
                    saved.reads,
                    self._models_name,
                )
        if saved.reads == "prompts":
            # An encoder that the file cannot hold is missed now, and not in service.
            embed(saved, ["hello"])
        if self.pacer is not None:
            rule = {n: v for n, v in self.settings.rule.items() if n != "explore"}
            saved = self.pacer.take(saved, rule)
        check_rule(saved, self.rule)
        if self.pacer is not None:
            self.pacer.use(saved)
        return saved

    @property
    def _models_name(self) -> str:
        """How the file of the models is called."""
        return "" if self.settings.models is None else self.settings.models.name

    def _check_cascade(self, cascade: CascadeDecider) -> None:
        """Refuse a cascade whose checks are not those of this service."""
        if self.pacer is not None or self.rule.get("explore"):
            option = "pace" if self.pacer is not None else "explore"
            raise ValueError(
                f"the router's file holds a cascade, which does not {option}: leave "
                "that out, or save a router with a BudgetDecider."
            )
        if self._known is None:
            return
        n_checks = cascade.n_checks_
        if n_checks != len(self.check_names):
            raise ValueError(
                f"the cascade of the file reads {n_checks} checks of an answer, and "
                f"{self._models_name} lists {len(self.check_names)}: list under checks "
                "what it was fitted on, in that order, as module:function, or schema "
                "for the response_format of a request."
            )
        if cascade.reads_answers_ and self.read_answer is None:
            raise ValueError(
                f"the cascade of the file compares answers: {self._models_name} has to "
                "say how they are read, answer: module:function, called with the "
                "request and the text, which returns a label as it was fitted on."
            )

    async def embed_missing(
        self, prompts: list[str] | None, vectors: list[list[float]] | None
    ) -> list[list[float]] | None:
        """Embed prompts if the router needs that, and a request did not do it."""
        saved, gateway = self.watched.current, self.gateway
        needed = saved.reads_vectors and vectors is None and prompts is not None
        if not needed or gateway is None or not gateway.embeds:
            return vectors
        try:
            return await gateway.embed(prompts or [])
        except Exception as error:
            logger.warning(
                "the embedding model failed: %s: %s", type(error).__name__, str(error)
            )
            why = f"the embedding model failed: {type(error).__name__}."
            raise CallError(find_status(error), why) from error

    def embed(
        self,
        saved: SavedRouter,
        prompts: list[str] | None,
        vectors: list[list[float]] | None,
    ) -> Any:
        """Embed queries of ``/route``; prompts that were embedded are left out."""
        was_embedded = self._embeds and vectors is not None
        if was_embedded and not saved.reads_prompts:
            prompts = None
        return embed(saved, prompts, vectors)

    def decide_chat(
        self,
        prompt: str,
        vector: list[float] | None,
        asked: dict[str, Any],
        counts: bool = True,
    ) -> Decision:
        """Decide a prompt, with all models in the order to call them.

        Without `counts` it does not count as a decision, since a client named a model.
        """
        saved = self.watched.current
        start = time.perf_counter()
        rule = find_rule(saved, self.rule, asked)
        if saved.reads_vectors and vector is None:
            raise ValueError(
                f"this router reads {saved.reads}: send embedding, a list of numbers, "
                "with the chat, name an embedding model under embedding in "
                "models.yaml, or serve a router that was fitted on prompts."
            )
        vectors = None if vector is None else [vector]
        X = embed(saved, [prompt] if saved.reads_prompts else None, vectors)
        # A cascade decides on further calls when it sees an answer.
        top_k = len(saved.router.models_) if saved.cascade is None else 2
        decision = decide(saved, X, rule, top_k=top_k)[0]
        if counts:
            self.meters.count_decisions(decision.order[:1], time.perf_counter() - start)
        return decision

    def decide_queries(
        self,
        prompts: list[str] | None,
        vectors: list[list[float]] | None,
        asked: dict[str, Any],
        available: list[str] | None,
        top_k: int,
        costs: Any = None,
    ) -> tuple[list[list[str]], list[str] | None]:
        """Decide queries; also their names in the log, if there is one."""
        saved = self.watched.current
        start = time.perf_counter()
        rule = find_rule(saved, self.rule, asked)
        X = self.embed(saved, prompts, vectors)
        paced = self.pacer is not None and not asked
        if not self.journal and not paced:
            names, _ = name_models(saved, X, rule, available, top_k, costs)
            order = [[str(n) for n in row if n is not None] for row in names]
            decisions = None
        else:
            decisions = decide(saved, X, rule, available, top_k, costs)
            order = [decision.order for decision in decisions]
        spent = time.perf_counter() - start
        self.meters.count_decisions([row[0] for row in order], spent)
        shadow = self.settings.shadow
        queries = None
        if decisions is not None:
            queries = [name_query() for _ in decisions]
            if self.pacer is not None and paced:
                self.pacer.remember(queries, decisions)
            texts: Any = prompts or [None] * len(decisions)
            rows = zip(queries, texts, decisions, strict=True)
            self.journal.write(
                *(make_row(q, t, d, shadow or d.order[0], shadow) for q, t, d in rows)
            )
        return order if shadow is None else [[shadow]] * len(order), queries


def make_row(
    query: str,
    prompt: str | None,
    decision: Decision,
    model: str,
    shadow: str | None = None,
) -> dict[str, Any]:
    """Make a row of the log: what was decided, and what is expected of the call."""
    decided = decision.order[0]
    row = {
        "query": query,
        "prompt": prompt,
        "model": model,
        "quality": None,
        "cost": None,
        "propensity": decision.propensity,
        "expected_quality": decision.quality.get(model),
        "expected_cost": decision.cost.get(model),
        "decided": decided,
    }
    if shadow is not None:
        # A fixed model is called with certainty, whatever was decided.
        row["propensity"] = 1.0
        row["decided_quality"] = decision.quality.get(decided)
        row["decided_cost"] = decision.cost.get(decided)
    return row
