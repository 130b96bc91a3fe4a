"""What a service is told when it starts, and the file that names its models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from skroute._optional import require
from skroute._table.numbers import check_integer, check_number

__all__ = ["ModelList", "Settings", "read_models"]

# Sections of models.yaml; the first two say the same in two ways.
_SECTIONS = (
    "models",
    "model_list",
    "router_settings",
    "embedding",
    "checks",
    "answer",
)
#: The check of what a request states, in the list of checks.
SCHEMA = "schema"


@dataclass(frozen=True)
class Settings:
    """What a service does; ``skroute serve`` has an option for each.

    Parameters
    ----------
    router : path-like
        File that ``skroute fit`` or :func:`skroute.save` wrote. It is loaded anew when
        it is replaced. A pickle, by its ending, can run any code when it is loaded.
    rule : dict, default=None
        Arguments of :meth:`BaseRouter.route <skroute.base.BaseRouter.route>` that
        replace the rule of the file, such as ``{"budget": 0.002}``.
    models : path-like, default=None
        YAML file that says how LiteLLM calls each model. Without it the service
        decides and calls nothing.
    api_key : str, default=None
        What clients send as ``Authorization: Bearer ...``. ``None`` lets anyone in.
    log : path-like, default=None
        File to which a JSON line is appended for each call, and for each decision of
        ``/route``.
    shadow : str, default=None
        Model that gets all requests. The service decides and logs what it would have
        called; nothing falls back or escalates.
    pace : bool, default=False
        Move the shadow price with what calls really cost, so that spending keeps to
        the mean budget of `rule`, or else to that of the file's decider.
    max_calls : int, default=3
        Models to call for a request, at most: fallbacks and escalations included.
    timeout : float, default=60
        Seconds that a call may take, and until the first chunk of a stream.
    max_bytes : int, default=20971520
        Largest body of a request. Images come within the body.
    reload_seconds : float, default=1
        How often the router's file is looked at.
    """

    router: Path
    rule: Mapping[str, Any] = field(default_factory=dict)
    models: Path | None = None
    api_key: str | None = None
    log: Path | None = None
    shadow: str | None = None
    pace: bool = False
    max_calls: int = 3
    timeout: float = 60.0
    max_bytes: int = 20 << 20
    reload_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("router", "models", "log"):
            path = getattr(self, name)
            object.__setattr__(self, name, None if path is None else Path(path))
        object.__setattr__(self, "rule", dict(self.rule or {}))
        check_integer(self.max_calls, "max_calls", low=1)
        check_integer(self.max_bytes, "max_bytes", low=1)
        for name in ("timeout", "reload_seconds"):
            if check_number(getattr(self, name), name, low=0.0) == 0:
                raise ValueError(f"{name} must be above 0; got 0.")
        if self.api_key is not None and not self.api_key.strip():
            raise ValueError("api_key is empty: leave it out to let anyone in.")
        if self.pace and self.shadow is not None:
            raise ValueError(
                "shadow calls one model whatever is decided, which leaves nothing to "
                "pace: give one of them."
            )
        if self.models is not None and self.rule.get("scope") == "batch":
            raise ValueError(
                "scope='batch' limits the total of one call, and chats come one by "
                "one: give scope='mean' or scope='query'."
            )


@dataclass(frozen=True)
class ModelList:
    """How LiteLLM calls each model, and what checks their answers."""

    #: As LiteLLM's ``model_list``.
    deployments: list[dict[str, Any]]
    #: Arguments of LiteLLM's Router.
    router_settings: dict[str, Any]
    #: Functions that look at answers, by name.
    checks: dict[str, Callable[..., Any]]
    #: Names of the checks in the order of the file, `SCHEMA` among them if it is there.
    check_names: list[str] = field(default_factory=list)
    #: Function that reads what an answer comes down to, where answers are compared.
    answer: Callable[..., Any] | None = None
    #: How LiteLLM calls what embeds prompts, where the router reads embeddings.
    embedding: dict[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the models, each once."""
        return list(dict.fromkeys(d["model_name"] for d in self.deployments))


def read_models(file: Path) -> ModelList:
    """Read models.yaml: ``models`` by name, or LiteLLM's own ``model_list``."""
    yaml = require("yaml", "models.yaml", "serve")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file.name} is not YAML: {reason}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} must be a mapping with the section models.")
    if ("models" in content) == ("model_list" in content):
        raise ValueError(
            f"{file.name} needs one of the sections models and model_list."
        )
    # A configuration of LiteLLM's proxy has more, which does not concern a service.
    proxy = ("litellm_settings", "general_settings", "environment_variables")
    unknown = [name for name in content if name not in (*_SECTIONS, *proxy)]
    if unknown:
        raise ValueError(
            f"{file.name} has the unknown section {unknown[0]!r}; known are "
            f"{', '.join(_SECTIONS)}."
        )
    deployments = _list_deployments(content, file.name)
    settings = content.get("router_settings") or {}
    if not isinstance(settings, dict):
        raise ValueError(f"router_settings of {file.name} must be a mapping.")
    checks = content.get("checks") or []
    if not isinstance(checks, list):
        raise ValueError(f"checks of {file.name} must be a list of module:function.")
    functions = [import_check(each) for each in checks if each != SCHEMA]
    named = iter(functions)
    names = [SCHEMA if each == SCHEMA else next(named)[0] for each in checks]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"checks of {file.name} names {twice!r} twice: what it says goes under "
            "that name into the log, so give one of them another."
        )
    answer = content.get("answer")
    read = None if answer is None else import_check(answer)[1]
    embedding = content.get("embedding")
    if embedding is not None and not (
        isinstance(embedding, dict) and isinstance(embedding.get("model"), str)
    ):
        raise ValueError(
            f"embedding of {file.name} must say how LiteLLM calls a model that embeds "
            "prompts, such as {model: openai/text-embedding-3-small}."
        )
    return ModelList(deployments, settings, dict(functions), names, read, embedding)


def _list_deployments(content: dict[str, Any], source: str) -> list[dict[str, Any]]:
    """List deployments as LiteLLM has them."""
    if "models" in content:
        models = content["models"]
        if not isinstance(models, dict):
            raise ValueError(f"models of {source} must be a mapping from names.")
        found = [
            {"model_name": str(name), "litellm_params": how}
            for name, how in models.items()
        ]
    else:
        found = content["model_list"]
        if not isinstance(found, list):
            raise ValueError(f"model_list of {source} must be a list.")
    for each in found:
        how = each.get("litellm_params") if isinstance(each, dict) else None
        if not (isinstance(how, dict) and isinstance(how.get("model"), str)):
            name = each.get("model_name") if isinstance(each, dict) else each
            raise ValueError(
                f"{source} does not say how {name!r} is called: it needs LiteLLM's "
                "name of it, such as model: openai/gpt-5."
            )
        if not isinstance(each.get("model_name"), str):
            raise ValueError(f"a deployment of {source} has no model_name.")
    if not found:
        raise ValueError(f"{source} names no model.")
    return found


def import_check(text: Any) -> tuple[str, Callable[..., Any]]:
    """Import a check that is given as ``module:function``; returns its name, too."""
    module, colon, name = text.partition(":") if isinstance(text, str) else ("",) * 3
    if not (module and colon and name):
        raise ValueError(f"a check must be module:function; got {text!r}.")
    try:
        check = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the check {text!r} cannot be imported: {error}.") from error
    if not callable(check):
        raise ValueError(f"the check {text!r} is no function.")
    return name, check
