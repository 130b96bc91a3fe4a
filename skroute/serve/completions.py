"""Chat completions: decide, call, check, and call again where that is needed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import anyio.to_thread

from skroute.serve.calls import CallError, Gateway, find_status, take_options
from skroute.serve.checks import (
    Check,
    fails,
    make_schema_check,
    read_label,
    run_checks,
)
from skroute.serve.decisions import ROUTER, Decision, parse_model
from skroute.serve.journal import name_query
from skroute.serve.plans import Call, CascadePlan, OrderedPlan, Plan
from skroute.serve.prompts import read_prompt
from skroute.serve.service import Service, make_row
from skroute.serve.settings import SCHEMA

logger = logging.getLogger("skroute.serve")

_PRINTABLE = "".join(chr(i) for i in range(32, 127) if chr(i) != "%")
_LONGEST_HEADER = 500


@dataclass
class Chat:
    """A request, and what became of it."""

    messages: list[Any]
    options: dict[str, Any]
    body: Mapping[str, Any]
    prompt: str
    decision: Decision
    #: Model that is called whatever was decided: shadow mode, or asked for by name.
    fixed: str | None
    shadow: str | None
    checks: dict[str, Check]
    notes: list[str]
    #: Checks that a cascade was fitted on, in its order.
    learned: list[str] = field(default_factory=list)
    #: Whether the rule of the service decided, whose budget is kept by the bills.
    by_rule: bool = True
    query: str = field(default_factory=name_query)
    #: What became of each call, in their order.
    outcomes: list[tuple[str, str]] = field(default_factory=list)

    def make_plan(self) -> Plan:
        """Make the plan of the calls."""
        decision = self.decision
        if self.fixed is not None:
            return OrderedPlan([self.fixed], decision.quality)
        if decision.cascade is None:
            return OrderedPlan(list(decision.order), decision.quality)
        return CascadePlan(
            decision.cascade, decision.quality, decision.cost, self.learned
        )

    def add_bills(self, answers: list[Call]) -> float:
        """Add what all calls cost: as expected if unknown, NaN if none is known."""
        costs = [call.cost for call in answers]
        if all(map(math.isnan, costs)):
            return math.nan
        return sum(
            self.expect(call.model) if math.isnan(call.cost) else call.cost
            for call in answers
        )

    def expect(self, model: str) -> float:
        """Expected cost of a model, NaN where it is not known."""
        return self.decision.cost.get(model, math.nan)

    def make_headers(
        self, model: str, call: Call | None = None, answers: Sequence[Call] = ()
    ) -> dict[str, str]:
        """Make headers that say which model answers, why, and what all calls cost."""
        headers = {
            "query": self.query,
            "model": model,
            "reason": self.decision.reason if self.fixed is None else "fixed model",
            "calls": ", ".join(f"{name} {said}" for name, said in self.outcomes),
        }
        if self.shadow is not None:
            headers["decided"] = self.decision.order[0]
        if model in self.decision.cost:
            headers["expected-cost"] = f"{self.decision.cost[model]:.6g}"
            headers["expected-quality"] = f"{self.decision.quality[model]:.4g}"
        # A part of the bill would pass for the whole.
        if answers and not math.isnan(bill := sum(each.cost for each in answers)):
            headers["cost"] = f"{bill:.6g}"
        if call is not None and any(not math.isnan(v) for v in call.said.values()):
            headers["check"] = "failed" if fails(call.said) else "passed"
        if self.notes:
            headers["note"] = "; ".join(self.notes)
        # What is not printable ASCII is escaped as in addresses.
        return {
            f"x-skroute-{name}": quote(text, safe=_PRINTABLE)[:_LONGEST_HEADER]
            for name, text in headers.items()
            if text
        }


async def read_chat(service: Service, gateway: Gateway, body: Any) -> Chat:
    """Read a request and decide it; raises ``ValueError`` where it is none."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise ValueError("a request must be an object with a model and messages.")
    asked = parse_model(body["model"])
    if asked is None and body["model"] not in gateway.models:
        known = ", ".join([ROUTER, *gateway.models])
        raise CallError(404, f"there is no model {body['model'][:80]!r}, only {known}.")
    options, notes = take_options(body)
    read = read_prompt(body.get("messages"))
    notes = [*read.notes, *notes]
    checks: dict[str, Check] = {}
    schema = make_schema_check(body.get("response_format"))
    if schema is not None:
        checks[SCHEMA] = schema
    checks |= service.checks
    shadow = service.settings.shadow
    fixed = shadow or (body["model"] if asked is None else None)
    vector = _read_vector(body.get("embedding"))
    try:
        vectors = None if vector is None else [vector]
        vectors = await service.embed_missing([read.prompt], vectors)
        vector = None if vectors is None else vectors[0]
    except CallError:
        # With a fixed model, a decision that fails stops nothing.
        if fixed is None:
            raise
    decision = await anyio.to_thread.run_sync(
        _decide, service, read.prompt, vector, asked or {}, fixed
    )
    return Chat(
        body["messages"],
        options,
        body,
        read.prompt,
        decision,
        fixed=fixed,
        shadow=shadow,
        checks=checks,
        notes=notes,
        learned=service.check_names,
        by_rule=asked == {} and fixed is None,
    )


def _read_vector(found: Any) -> list[float] | None:
    """Read the embedding that a chat carries, if it does."""
    if found is None:
        return None
    if not (
        isinstance(found, list)
        and found
        and all(isinstance(x, int | float) and not isinstance(x, bool) for x in found)
    ):
        raise ValueError("embedding must be a list of numbers.")
    return found


def _decide(
    service: Service,
    prompt: str,
    vector: list[float] | None,
    asked: dict[str, Any],
    fixed: str | None,
) -> Decision:
    """Decide a prompt; with a fixed model, a decision that fails stops nothing."""
    try:
        counts = fixed is None or service.settings.shadow is not None
        return service.decide_chat(prompt, vector, asked, counts=counts)
    except Exception as error:
        if fixed is None:
            raise
        logger.warning("a chat with %s cannot be decided: %s", fixed, str(error))
        return Decision([fixed], 1.0, {}, {})


async def complete(
    service: Service, gateway: Gateway, chat: Chat
) -> tuple[Any, dict[str, str]]:
    """Answer a chat; returns LiteLLM's response, and headers.

    A model that fails is replaced by the next one that the decider would call. Where
    checks say that an answer is wrong, its plan says which is asked next, and whose
    answer is given.
    """
    plan, answers, failed = chat.make_plan(), list[Call](), list[str]()
    last: Exception | None = None
    timeout = service.settings.timeout
    while len(chat.outcomes) < service.settings.max_calls:
        model = await anyio.to_thread.run_sync(plan.choose, answers, failed)
        if model is None:
            break
        try:
            call = await _call(gateway, chat, model)
        except Exception as error:
            last = _note_failure(service, chat, model, error)
            failed.append(model)
            continue
        text = _read_answer(call.response)
        call.said = await run_checks(chat.checks, chat.body, text, timeout)
        call.label = await read_label(service.read_answer, chat.body, text, timeout)
        outcome = "failed_check" if fails(call.said) else "ok"
        chat.outcomes.append((model, outcome))
        service.meters.count_call(
            model, outcome, call.seconds, call.cost, chat.expect(model)
        )
        answers.append(call)
    best = plan.take(answers) if answers else None
    write_calls(service, chat, answers, best, last)
    if best is None:
        raise refuse(chat, last)
    await count_bill(service, chat, answers)
    best.response.model = best.model
    return best.response, chat.make_headers(best.model, best, answers)


async def count_bill(service: Service, chat: Chat, answers: list[Call]) -> None:
    """Move the shadow price by what an answered chat cost, if the service does that."""
    if service.pacer is None or not chat.by_rule:
        return
    called, first = [call.model for call in answers], chat.decision.order[0]
    await anyio.to_thread.run_sync(
        service.pacer.count,
        chat.decision,
        first if first in called else called[0],
        chat.add_bills(answers),
    )


async def _call(gateway: Gateway, chat: Chat, model: str) -> Call:
    start = time.perf_counter()
    response = await gateway.call(model, chat.messages, chat.options)
    seconds = time.perf_counter() - start
    cost = gateway.find_cost(response, model)
    return Call(model, response, seconds, cost, tokens=read_tokens(response))


def _note_failure(
    service: Service, chat: Chat, model: str, error: Exception
) -> Exception:
    """Note that a call failed; the log holds no error, which would hold connections."""
    logger.warning("%s failed: %s: %s", model, type(error).__name__, str(error))
    chat.outcomes.append((model, type(error).__name__))
    service.meters.count_call(model, "error", 0.0, math.nan, math.nan)
    return error


def refuse(chat: Chat, last: Exception | None) -> CallError:
    """Make the error of a chat that no model answered."""
    calls = ", ".join(f"{name} {said}" for name, said in chat.outcomes)
    status = 502 if last is None else find_status(last)
    # What a provider says of a bad request, the client has to know; the rest may hold
    # addresses and keys of the operator, and is in the log.
    detail = f" {str(last)[:1000]}" if status in (400, 413, 422) else ""
    return CallError(status, f"no model answered: {calls}.{detail}")


def write_calls(
    service: Service,
    chat: Chat,
    answers: list[Call],
    best: Call | None = None,
    last: Exception | None = None,
) -> None:
    """Log a row for each answer, or one that says that there is none."""
    if not service.journal:
        return
    failed = [
        name for name, said in chat.outcomes if said not in ("ok", "failed_check")
    ]
    rows = []
    for call in answers or [Call(failed[-1])]:
        row = make_row(chat.query, chat.prompt, chat.decision, call.model, chat.shadow)
        row |= {"cost": call.cost, "seconds": call.seconds, "failed": failed}
        row["returned"] = call is best
        row |= call.tokens
        if chat.shadow is None and chat.fixed is not None:
            # The client chose it: that says nothing of any policy.
            row["propensity"] = None
        elif chat.shadow is None and call.model != chat.decision.order[0]:
            # It was called because another failed, which has no chance that is known.
            row["propensity"] = None
        if not answers:
            row["error"] = type(last).__name__
        row |= {f"check:{name}": value for name, value in call.said.items()}
        rows.append(row)
    service.journal.write(*rows)


def read_tokens(response: Any) -> dict[str, int]:
    """Read what a response says of its tokens, by which costs can be computed later."""
    usage = getattr(response, "usage", None)
    counts = {
        name: getattr(usage, name, None)
        for name in ("prompt_tokens", "completion_tokens")
    }
    return {name: n for name, n in counts.items() if isinstance(n, int)}


def _read_answer(response: Any) -> str:
    """Read the text of a response; empty where it calls tools."""
    choices = getattr(response, "choices", None)
    if not choices:
        return ""
    return getattr(choices[0].message, "content", None) or ""
