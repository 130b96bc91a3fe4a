"""Calls of models through LiteLLM, and what they cost."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from skroute._optional import check_installed, require
from skroute.serve.settings import ModelList

logger = logging.getLogger("skroute.serve")

# What a client may say about a call. LiteLLM takes more by the same way, such as the
# address to call, which would send the operator's key anywhere.
_PASSED_ON = frozenset(
    [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
)
#: What is about the client's account at a provider, and means nothing here.
_DROPPED = frozenset(("metadata", "store"))
_TAKEN = frozenset(("embedding", "messages", "model", "stream", "stream_options"))


def take_options(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Take what is passed on to models from a request, with notes on what is not."""
    unknown = sorted(set(body) - _PASSED_ON - _DROPPED - _TAKEN)
    if unknown:
        raise ValueError(f"{unknown[0][:80]!r} is no parameter that is passed on.")
    dropped = sorted(_DROPPED & set(body))
    options = {name: body[name] for name in body if name in _PASSED_ON}
    return options, [f"{name} is ignored" for name in dropped]


class CallError(Exception):
    """A model did not answer; the status is what a client is told."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class UnusableError(RuntimeError):
    """LiteLLM cannot be used as models.yaml says."""

    status_code = 503


class Gateway:
    """Calls models by name, once LiteLLM was imported: the first call waits for that.

    Parameters
    ----------
    models : ModelList
        How LiteLLM calls each model.
    timeout : float
        Seconds that a call may take, and a stream until its first chunk.
    """

    def __init__(self, models: ModelList, timeout: float) -> None:
        check_installed("litellm", "models.yaml", "serve")
        self.models = models.names
        #: Called once, from another thread, if LiteLLM cannot be used.
        self.on_failure: Callable[[], Any] | None = None
        self.error: Exception | None = None
        self._timeout = timeout
        self._list = models
        self._free = _find_free(models.deployments)
        self._thread: threading.Thread | None = None
        self._is_ready = threading.Event()

    @property
    def is_ready(self) -> bool:
        """Whether models can be called, or it is known that they cannot."""
        return self._is_ready.is_set()

    def start(self) -> None:
        """Begin to import LiteLLM, which takes seconds, in a thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._prepare, daemon=True)
            self._thread.start()

    def _prepare(self) -> None:
        try:
            # LiteLLM would fetch a list of prices from the network when it is imported.
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            self._litellm: Any = require("litellm", "models.yaml", "serve")
            for name in ("LiteLLM", "LiteLLM Router"):
                # Two lines for each call, and each of them twice.
                logging.getLogger(name).setLevel(logging.WARNING)
                logging.getLogger(name).propagate = False
            unpriced = _find_unpriced(self._litellm, self._list.deployments)
            if unpriced:
                logger.warning(
                    "LiteLLM knows no price of %s: what calls of it cost stays "
                    "unknown. Give input_cost_per_token and output_cost_per_token in "
                    "models.yaml",
                    ", ".join(unpriced),
                )
            # What to call next is decided here: nothing is tried twice.
            settings = {"num_retries": 0, "disable_cooldowns": True}
            self._router = self._litellm.Router(
                _name_deployments(self._list.deployments),
                **{**settings, **self._list.router_settings},
            )
        except Exception as error:
            self.error = error
            if self.on_failure is not None:
                self.on_failure()
        finally:
            self._is_ready.set()

    async def _wait(self) -> None:
        """Wait until models can be called; raises ``UnusableError`` if they cannot."""
        self.start()
        await self._wait_for_import()
        if self.error is not None:
            raise UnusableError(
                f"LiteLLM cannot use models.yaml: {self.error!r}"
            ) from self.error

    async def _wait_for_import(self) -> None:
        while not self.is_ready:
            # Threads of the pool are left to decisions.
            await asyncio.sleep(0.01)

    async def call(
        self, model: str, messages: list[Any], options: dict[str, Any]
    ) -> Any:
        """Call a model; raises what LiteLLM raises, or ``TimeoutError``."""
        await self._wait()
        async with asyncio.timeout(self._timeout):
            return await self._router.acompletion(
                model, messages, timeout=self._timeout, **options
            )

    @property
    def embeds(self) -> bool:
        """Whether prompts can be embedded."""
        return self._list.embedding is not None

    async def embed(self, prompts: list[str]) -> list[list[float]]:
        """Embed prompts; raises what LiteLLM raises, or ``TimeoutError``."""
        await self._wait()
        how = self._list.embedding or {}
        async with asyncio.timeout(self._timeout):
            response = await self._litellm.aembedding(
                input=prompts, timeout=self._timeout, **_resolve_secrets(how)
            )
        rows = sorted(response.data, key=lambda row: row["index"])
        return [row["embedding"] for row in rows]

    async def open_stream(
        self, model: str, messages: list[Any], options: dict[str, Any]
    ) -> tuple[Any, AsyncIterator[Any]]:
        """Open a stream and wait for its first chunk; the others follow."""
        await self._wait()
        # Otherwise providers do not say how many tokens a stream took.
        options = {**options, "stream_options": {"include_usage": True}}
        async with asyncio.timeout(self._timeout):
            stream = await self._router.acompletion(
                model, messages, timeout=self._timeout, stream=True, **options
            )
            chunks = aiter(stream)
            return await anext(chunks), chunks

    async def close(self) -> None:
        """Close the connections to providers."""
        if self._thread is None:
            return
        await self._wait_for_import()
        if self.error is not None:
            return
        await self._litellm.close_litellm_async_clients()
        # Its clients belong to the event loop that ends now.
        self._litellm.in_memory_llm_clients_cache.flush_cache()

    def find_cost(self, response: Any, model: str) -> float:
        """Find the money that a call took; NaN where LiteLLM does not know.

        LiteLLM reports 0 where it does not know the price of a model, too, so 0 counts
        only for a model whose prices are given as 0.
        """
        hidden = getattr(response, "_hidden_params", None) or {}
        cost = hidden.get("response_cost")
        if cost or hidden.get("cache_hit") or model in self._free:
            return float(cost or 0.0)
        return math.nan

    def find_stream_cost(self, chunks: list[Any], messages: Any, model: str) -> float:
        """Find the money that a stream took, from its chunks as far as they came."""
        if not math.isnan(cost := self.find_cost(chunks[-1], model)):
            return cost
        # One that was left early does not say it: its tokens are counted.
        whole = self._litellm.stream_chunk_builder(chunks, messages=messages)
        return math.nan if whole is None else self.find_cost(whole, model)


def _resolve_secrets(how: dict[str, Any]) -> dict[str, Any]:
    """Replace ``os.environ/NAME`` by the variable, as LiteLLM does for its models."""
    prefix = "os.environ/"
    return {
        name: os.environ.get(value.removeprefix(prefix))
        if isinstance(value, str) and value.startswith(prefix)
        else value
        for name, value in how.items()
    }


def _name_deployments(deployments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each deployment an id, by which LiteLLM finds the price of a stream."""
    named, count = [], dict[str, int]()
    for deployment in deployments:
        name = deployment["model_name"]
        count[name] = count.get(name, 0) + 1
        number = "" if count[name] == 1 else f" {count[name]}"
        info = {"id": f"{name}{number}", **(deployment.get("model_info") or {})}
        named.append({**deployment, "model_info": info})
    return named


def _find_free(deployments: list[dict[str, Any]]) -> set[str]:
    """Find models that are declared free in all their deployments."""

    def is_free(deployment: dict[str, Any]) -> bool:
        told = deployment["litellm_params"], deployment.get("model_info") or {}
        return any(
            place.get("input_cost_per_token") == 0
            and place.get("output_cost_per_token") == 0
            for place in told
        )

    names = {deployment["model_name"] for deployment in deployments}
    return names - {d["model_name"] for d in deployments if not is_free(d)}


def _find_unpriced(litellm: Any, deployments: list[dict[str, Any]]) -> list[str]:
    """Find models that have no price, neither here nor in LiteLLM's list."""
    names = set()
    for deployment in deployments:
        told = {**deployment["litellm_params"], **(deployment.get("model_info") or {})}
        if any("cost_per" in name for name in told):
            continue
        try:
            listed = litellm.get_model_info(told["model"])
        except Exception:  # as many kinds as there are providers
            listed = {}
        if not any(value for name, value in listed.items() if "cost_per" in name):
            names.add(deployment["model_name"])
    return sorted(names)


def find_status(error: BaseException) -> int:
    """Find the HTTP status that tells a client of an error of a model."""
    if isinstance(error, TimeoutError):
        return 504
    status = getattr(error, "status_code", None)
    if status == 408:  # LiteLLM's own, of a model that took too long
        return 504
    # A key that a provider refuses is the operator's, and no fault of the client.
    if isinstance(status, int) and 400 <= status < 600 and status not in (401, 403):
        return status
    return 502
