r"""Check real answers, and escalate: skroute decides, LiteLLM calls.

A cascade is fitted on past calls and on what checks said of their answers. For each
request it names a model; LiteLLM calls it; its answer is checked by a JSON schema, by
unit tests in a process with limits, and by a judge; and another model is called while
that is worth its price::

    pip install '.[serve]'  # in a checkout of the repository
    python examples/litellm_cascade.py calls.jsonl models.json \
        --budget 0.002 --judge judge < requests.jsonl

``calls.jsonl`` has a line for each past call: query, prompt, model, quality, cost, and
what the checks said of the answer, ``check:schema``, ``check:tests`` and
``check:judge``, empty where a check was not made. Some hundred queries need the quality
of every model. ``models.json`` says how LiteLLM calls each model, and the judge, as in
``litellm_router.py``. A request is a JSON object: ``prompt``, and what to check its
answer by, ``schema`` (a JSON schema) or ``tests`` (Python that follows the answer).

Limits of time and memory keep an answer from stopping the service. They do not keep it
from reading files or the network: run tests of answers where nothing can be taken.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

# Beside this file; it says first what LiteLLM may fetch.
from litellm_router import cost_of, gateway, prompt_of  # isort: skip

import litellm
import numpy as np
import openai
import pandas as pd
import sklearn
from jsonschema.validators import validator_for
from referencing import Registry
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline

from skroute import CascadeDecider, RankingRouter
from skroute.datasets import read_table

logger = logging.getLogger("skroute.examples.litellm")


def fit(
    table: Path, budget: float, check_cost: float = 0.0
) -> tuple[Pipeline, list[str]]:
    """Fit a pipeline from prompts to a cascade; returns also the names of the checks.

    `budget` is the mean money for all calls and checks of a request, `check_cost` what
    the checks of one answer take.
    """
    calls = read_table(table, duplicates="mean")
    for name in ("costs", "prompts", "checks"):
        if calls[name] is None:
            raise ValueError(f"{table.name} needs {name} of its calls.")
    pipeline = make_pipeline(
        TfidfVectorizer(sublinear_tf=True),
        TruncatedSVD(64, random_state=0),  # or skroute.text.SentenceEncoder() alone
        RankingRouter(random_state=0),
        CascadeDecider(
            budget, check_cost=check_cost, on_infeasible="cheapest", random_state=0
        ),
    )
    y = pd.DataFrame(calls.quality, columns=calls.models)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(calls.prompts, y, costs=calls.costs, checks=calls.checks)
    return pipeline, list(calls.check_names)


# Checks


@dataclass(frozen=True)
class Request:
    """Messages to answer, and what their answer is checked by."""

    messages: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any] | bool | None = None
    tests: str | None = None

    @property
    def prompt(self) -> str:
        """Text of the user's last message."""
        return prompt_of(self.messages)


class Said(NamedTuple):
    """What a check said of an answer, and the money that it took."""

    value: float = (
        math.nan
    )  # higher where the answer is more likely right; NaN: no news
    cost: float = 0.0


Check = Callable[[Request, str], Said]


def validate(request: Request, answer: str) -> Said:
    """Check that an answer is JSON of the request's schema: 1 or 0."""
    if request.schema is None:
        return Said()
    try:
        found = json.loads(_unwrap(answer))
    except ValueError:
        return Said(0.0)
    # With a registry of nothing, a schema that refers to others fetches none.
    validator = validator_for(request.schema)(request.schema, registry=Registry())
    return Said(float(validator.is_valid(found)))


# Limits come before anything of the answer. That the end was reached is said by a word
# that the answer does not have: it may exit by itself.
_LIMITED = """
import resource, runpy, sys
seconds, size, done, word = sys.argv[1:]
limits = {"CPU": int(seconds), "AS": int(size), "FSIZE": 1 << 20, "NPROC": 0, "CORE": 0}
for name, most in limits.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
sys.argv = ["answer.py"]
runpy.run_path("answer.py", run_name="__main__")
with open(done, "w") as file:
    file.write(word)
"""


@dataclass(frozen=True)
class UnitTests:
    """Check that Python in an answer passes the request's tests: 1 or 0. Needs Linux.

    Parameters
    ----------
    seconds : int, default=5
        Of processor time; an answer that takes more fails.
    patience : float, default=30.0
        Seconds until the tests are given up. That may be the fault of a busy machine,
        so it raises ``subprocess.TimeoutExpired``.
    mebibytes : int, default=512
        Of memory; an answer that takes more fails.
    """

    seconds: int = 5
    patience: float = 30.0
    mebibytes: int = 512

    def __call__(self, request: Request, answer: str) -> Said:
        """Run the tests in a process of their own."""
        if request.tests is None:
            return Said()
        word = secrets.token_hex()
        with TemporaryDirectory() as folder:
            Path(folder, "answer.py").write_text(
                f"{_unwrap(answer)}\n\n{request.tests}\n", encoding="utf-8"
            )
            done = Path(folder, "done")
            limits = str(self.seconds), str(self.mebibytes << 20)
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _LIMITED, *limits, str(done), word],
                cwd=folder,
                # No keys of providers.
                env={k: os.environ[k] for k in ("LD_LIBRARY_PATH",) if k in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                process.wait(self.patience)
            finally:
                # With it, all that it started.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            passed = done.exists() and done.read_text() == word
        return Said(float(passed))


_GRADE = (
    "You grade answers. Reply with one whole number from 0, the answer is certainly "
    "wrong, to 10, it is certainly right, and with nothing else."
)


@dataclass(frozen=True)
class Judge:
    """Let a model grade an answer, from 0 to 1.

    Parameters
    ----------
    gateway : litellm.Router
        Knows the judge.
    model : str
        The judge's name.
    patience : float, default=30.0
        Seconds to wait for the grade; an error of LiteLLM is raised after these.
    """

    gateway: litellm.Router
    model: str
    patience: float = 30.0

    def __call__(self, request: Request, answer: str) -> Said:
        """Ask for a grade; NaN where the reply is none."""
        asked = f"Question:\n{request.prompt}\n\nAnswer:\n{answer}"
        response = self.gateway.completion(
            self.model,
            [
                {"role": "system", "content": _GRADE},
                {"role": "user", "content": asked},
            ],
            timeout=self.patience,
        )
        cost = cost_of(self.gateway, response, self.model)
        grade = re.fullmatch(r"\D*(\d|10)\D*", _text_of(response))
        return Said(int(grade[1]) / 10 if grade else math.nan, cost)


def _unwrap(answer: str) -> str:
    """Take what stands in the last block of an answer, or all of it."""
    blocks = re.findall(r"```[\w+-]*\n(.*?)```", answer, re.DOTALL)
    return blocks[-1] if blocks else answer


def _text_of(response: Any) -> str:
    return response.choices[0].message.content or ""


# The cascade


class CheckedClient:
    """Answer requests with the models that a fitted cascade calls.

    Parameters
    ----------
    pipeline : Pipeline
        From texts to a ``CascadeDecider``, fitted.
    gateway : litellm.Router
        Knows every model of the pipeline by its name.
    checks : mapping from str to callable
        The checks of an answer by name, in the order of those that the pipeline was
        fitted on.
    log : callable, default=None
        Called with a dict for each call, after its request is answered.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        gateway: litellm.Router,
        checks: Mapping[str, Check],
        *,
        log: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.gateway = gateway
        self.checks = dict(checks)
        self.log = log
        self._encode, self._decider = pipeline[:-1], pipeline[-1]
        known = gateway.registry().names(kind="group_set")
        absent = set(self._decider.models_) - set(known)
        if absent:
            raise ValueError(f"the gateway does not know the models {sorted(absent)}.")

    def complete(self, request: Request, **options: Any) -> Any:
        """Answer a request, as ``litellm.completion`` does with its messages.

        A model that fails is not called again, and another one is; the error of the
        last is raised where all do.
        """
        if options.get("stream"):
            raise ValueError("an answer is checked as a whole, and cannot be streamed.")
        estimates = self._encode.transform([request.prompt])
        models = self._decider.models_.tolist()
        called: list[str] = []
        said: list[list[float]] = []
        responses: dict[str, Any] = {}
        rows: dict[str, dict[str, Any]] = {}
        try:
            while models:
                name = self._decider.next(
                    estimates, [called], _table_of(said), available=models
                )[0]
                if name is None:
                    break
                row = rows[name] = {"model": name, "cost": None, "error": None}
                try:
                    response = self.gateway.completion(
                        name, list(request.messages), **options
                    )
                except openai.APIError as error:
                    logger.warning("%s failed: %s", name, error)
                    row["error"] = type(error).__name__
                    models.remove(name)
                    if not models:
                        raise
                    continue
                row["cost"] = cost_of(self.gateway, response, name)
                responses[name] = response
                called.append(name)
                said.append(self._check(request, _text_of(response), row))
            best = self._decider.answer(estimates, [called], _table_of(said))[0]
            rows[best]["returned"] = True
            return responses[best]
        finally:
            self._write(request, rows)

    def _check(self, request: Request, answer: str, row: dict[str, Any]) -> list[float]:
        """Make all checks; one that breaks, or takes too long, is no news."""
        found = []
        row["check_cost"] = 0.0
        for name, check in self.checks.items():
            said = Said()
            # Where a check does not pay, the decider asks for none.
            if self._decider.escalates_:
                try:
                    said = check(request, answer)
                except Exception as error:
                    logger.warning("the check %r failed: %r", name, error)
            row[f"check:{name}"] = said.value
            row["check_cost"] += said.cost
            found.append(said.value)
        return found

    def _write(self, request: Request, rows: Mapping[str, dict[str, Any]]) -> None:
        """Log the calls of a request in their order."""
        query = uuid4().hex
        for row in rows.values():
            logger.info("%(model)s cost %(cost)s", row)
            if self.log is not None:
                row = {"query": query, "prompt": request.prompt, "quality": None} | row
                self.log({key: _known(value) for key, value in row.items()})


def _table_of(said: Sequence[Sequence[float]]) -> np.ndarray | None:
    return np.array([said]) if said else None


def _known(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the requests of stdin."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path, help="past calls, see above")
    parser.add_argument("models", type=Path, help="JSON: name -> LiteLLM's parameters")
    parser.add_argument("--budget", type=float, required=True, help="mean per request")
    parser.add_argument("--judge", help="model that grades answers")
    parser.add_argument("--check-cost", type=float, default=0.0, help="of one answer")
    parser.add_argument("--log", type=Path, help="append a JSON line for each call")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    route = gateway(json.loads(given.models.read_text(encoding="utf-8")))
    pipeline, names = fit(given.table, given.budget, given.check_cost)
    checks: dict[str, Check] = {"schema": validate, "tests": UnitTests()}
    if given.judge:
        checks["judge"] = Judge(route, given.judge)
    unknown = set(names) - set(checks)
    if unknown:
        parser.error(f"the table has checks that are not made here: {sorted(unknown)}")

    def append(call: dict[str, Any]) -> None:
        with given.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(call) + "\n")

    log = append if given.log else None
    used = {name: checks[name] for name in names}
    client = CheckedClient(pipeline, route, used, log=log)
    for line in filter(None, map(str.strip, sys.stdin)):
        asked = json.loads(line)
        messages = [{"role": "user", "content": asked["prompt"]}]
        request = Request(messages, asked.get("schema"), asked.get("tests"))
        print(json.dumps(_text_of(client.complete(request)), ensure_ascii=False))


if __name__ == "__main__":
    main()
