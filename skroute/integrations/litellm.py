"""skroute inside of LiteLLM: a strategy of its Router, and a callback of its proxy.

Needs ``pip install 'scikit-route[litellm]'``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# LiteLLM would fetch a list of prices from the network when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from litellm.exceptions import BadRequestError
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.router import CustomRoutingStrategyBase

from skroute.serve.decisions import (
    ROUTER,
    Decision,
    check_rule,
    decide,
    find_rule,
    parse_model,
)
from skroute.serve.prompts import read_prompt
from skroute.serve.saved import SavedRouter, embed
from skroute.serve.watch import WatchedRouter

__all__ = ["ProxyHandler", "RoutingStrategy"]

logger = logging.getLogger("skroute.integrations.litellm")

# Between ``skroute`` and the place of a fallback in the order of the decider.
_PLACE = "#"
# Where a request of LiteLLM remembers what was decided of it.
_KEY = "skroute"


class _Chooser:
    """Decides chats with the router of a file, which is read again when replaced."""

    def __init__(
        self,
        router: str | os.PathLike[str],
        rule: Mapping[str, Any],
        known: set[str] | None = None,
    ) -> None:
        self._rule = dict(rule)
        self._known = known
        self._watched = WatchedRouter(Path(router), self._prepare)

    def _prepare(self, saved: SavedRouter) -> SavedRouter:
        if saved.reads != "prompts":
            raise ValueError(
                f"this router reads {saved.reads}, and chats have none: fit it on "
                "prompts."
            )
        if saved.cascade is not None:
            raise ValueError(
                "this file holds a cascade, which needs to see answers, and LiteLLM "
                "shows none: use `skroute serve`, or save the router without it."
            )
        names = {str(name) for name in saved.router.models_}
        if self._known is not None and (absent := sorted(names - self._known)):
            raise ValueError(
                f"deployments must name every model of the router; {absent} are "
                "missing."
            )
        check_rule(saved, self._rule)
        return saved

    def choose(self, model: str, messages: Any) -> Decision | None:
        """Decide a chat; None where a model is asked for by its own name."""
        asked = parse_model(model)
        if asked is None:
            return None
        self._watched.reload()
        saved = self._watched.current
        rule = find_rule(saved, self._rule, asked)
        X = embed(saved, [read_prompt(messages).prompt])
        return decide(saved, X, rule, top_k=len(saved.router.models_))[0]


class RoutingStrategy(CustomRoutingStrategyBase):
    """Strategy of LiteLLM's Router: the model ``skroute`` is what the router chooses.

    Other models of the Router are called by their names as before; of several
    deployments of a model, each is taken in turn. With `fallbacks` a call that fails
    goes to the next models that the decider would call. A request that the router
    cannot decide, because its rule or its model is none, fails with the reason, and so
    does a call of a model by its own name: these have no fallbacks.

    Parameters
    ----------
    router : str or path-like
        File of a router that reads prompts. It is read again when it is replaced.
    deployments : sequence of dict
        LiteLLM's ``model_list``, which names each model of the router.
    **rule
        Arguments of :meth:`BaseRouter.route <skroute.base.BaseRouter.route>`, such as
        ``budget=0.002``; by default the rule of the file.

    Attributes
    ----------
    fallbacks : list of str
        Names of the second and the third choice, for LiteLLM's ``default_fallbacks``.

    Raises
    ------
    ValueError
        If the router cannot be loaded, or a model of it has no deployment.

    Examples
    --------
    ::

        strategy = RoutingStrategy("router.skroute", deployments)
        gateway = litellm.Router(deployments, default_fallbacks=strategy.fallbacks)
        gateway.register_plugin(strategy)
        answer = await gateway.acompletion("skroute:95%", messages)
    """

    def __init__(
        self,
        router: str | os.PathLike[str],
        deployments: Sequence[dict[str, Any]],
        **rule: Any,
    ) -> None:
        self.fallbacks = [f"{ROUTER}{_PLACE}{place}" for place in (2, 3)]
        self._turn = 0
        self._lock = threading.Lock()
        self._deployments: dict[str, list[dict[str, Any]]] = {}
        for deployment in deployments:
            same = self._deployments.setdefault(deployment["model_name"], [])
            same.append(deployment)
        self._chooser = _Chooser(router, rule, set(self._deployments))

    def get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: Any = None,
    ) -> Any:
        """Pick the deployment of a call.

        Parameters
        ----------
        model : str
            ``skroute``, with a rule if wanted (``skroute:95%``), or a model's name.
        messages : list of dict, default=None
            The chat.
        input : str or list, default=None
            What LiteLLM has instead of a chat; not used.
        specific_deployment : bool, default=False
            Not used.
        request_kwargs : dict, default=None
            LiteLLM's request; what was decided is remembered in its metadata.

        Returns
        -------
        dict
            An element of `deployments`.

        Raises
        ------
        ValueError
            If no deployment has that name, the rule or the chat is none, the router
            cannot keep the rule, or a fallback is asked for where nothing was chosen.
        """
        name = self._find_model(model, messages, request_kwargs)
        same = self._deployments.get(name)
        if not same:
            raise ValueError(f"LiteLLM's model_list has no deployment of {name!r}.")
        with self._lock:
            self._turn += 1
            return same[self._turn % len(same)]

    async def async_get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: Any = None,
    ) -> Any:
        """Pick the deployment of a call, without holding up others.

        Parameters
        ----------
        model, messages, input, specific_deployment, request_kwargs
            As in `get_available_deployment`.

        Returns
        -------
        dict
            An element of `deployments`.
        """
        return await asyncio.to_thread(
            self.get_available_deployment,
            *(model, messages, input, specific_deployment, request_kwargs),
        )

    def _find_model(self, model: str, messages: Any, request: Any) -> str:
        """Find the model to call: the chosen one, or of a fallback the next ones."""
        metadata = request.get("metadata") if isinstance(request, dict) else None
        _, mark, place = model.partition(_PLACE)
        # LiteLLM hands the request on, under the name of the fallback alone.
        order = (metadata or {}).get(_KEY) if mark else None
        if order is None and mark:
            # A rule that is none, a model that is none, or one that was asked for by
            # its own name: LiteLLM then raises what the first call raised.
            raise ValueError(
                f"{model} is a fallback of calls for which the router chose a model, "
                "and it chose none for this one."
            )
        if order is None:
            decision = self._chooser.choose(model, messages)
            if decision is None:
                return model
            order = decision.order
            if isinstance(request, dict):
                request["metadata"] = {**(metadata or {}), _KEY: order}
        number = int(place) - 1 if place.isdecimal() else 0
        name: str = order[min(number, len(order) - 1)]
        return name


class ProxyHandler(CustomLogger):
    """Callback of LiteLLM's proxy: replaces the model ``skroute`` before the call.

    The proxy then calls the model that the router chooses, and falls back on the next
    ones; keys, spend and limits are those of the proxy.

    Parameters
    ----------
    router : str or path-like
        File of a router that reads prompts. It is read again when it is replaced.
    max_fallbacks : int, default=2
        Models to fall back on, at most.
    **rule
        Arguments of :meth:`BaseRouter.route <skroute.base.BaseRouter.route>`, such as
        ``min_quality="95%"``; by default the rule of the file.

    Examples
    --------
    A file ``routing.py`` beside ``config.yaml``, which has
    ``litellm_settings: {callbacks: routing.handler}``::

        from skroute.integrations.litellm import ProxyHandler

        handler = ProxyHandler("router.skroute", min_quality="95%")
    """

    def __init__(
        self, router: str | os.PathLike[str], *, max_fallbacks: int = 2, **rule: Any
    ) -> None:
        super().__init__()
        self._chooser = _Chooser(router, rule)
        self._max_fallbacks = max_fallbacks

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: Any, call_type: Any
    ) -> Any:
        """Replace the model of a chat.

        Parameters
        ----------
        user_api_key_dict, cache
            LiteLLM's; not used.
        data : dict
            The request.
        call_type : str
            What is asked for; only chats are routed.

        Returns
        -------
        dict
            The request, with the model to call and its fallbacks.

        Raises
        ------
        litellm.BadRequestError
            If the rule or the chat is none, or the router cannot keep the rule.
        """
        model = data.get("model")
        if call_type not in ("completion", "acompletion") or not isinstance(model, str):
            return data
        try:
            decision = await asyncio.to_thread(
                self._chooser.choose, model, data.get("messages")
            )
        except ValueError as error:
            # Otherwise the proxy says that it failed itself (500).
            raise BadRequestError(str(error), model, ROUTER) from error
        if decision is None:
            return data
        first, *others = decision.order
        data["model"] = first
        data["fallbacks"] = [*others[: self._max_fallbacks]]
        # Spend logs keep it.
        data.setdefault("metadata", {})[_KEY] = {
            "asked": model,
            "chosen": first,
            "propensity": decision.propensity,
            "expected_cost": decision.cost[first],
            "expected_quality": decision.quality[first],
        }
        logger.debug("%s: %s", model, decision.reason)
        return data
