"""The command ``skroute inspect``: what a router's file holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from skroute.cli import console


def inspect(
    router: Annotated[
        Path,
        typer.Argument(
            metavar="ROUTER",
            help="A file that `skroute fit` or `skroute.save` wrote. One that ends in "
            ".joblib, .pkl or .pickle is a pickle: looking into it runs what it holds.",
        ),
    ],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the costs, such as EUR, to be printed.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="OUT.json",
            help="Write it here as JSON; - is stdout, and nothing else is printed.",
        ),
    ] = None,
) -> None:
    """Show what a router's file holds: models, prices, training, rule, format.

    Example: skroute inspect router.skroute --json -
    """
    console.check_out(json_file)
    found = describe(router)
    console.write_json(found, json_file)
    if not console.is_stdout(json_file):
        _print(found, unit)


def describe(file: Path) -> dict[str, Any]:
    """Describe a router's file by numbers and texts that JSON holds."""
    from sklearn.pipeline import Pipeline

    from skroute import persistence
    from skroute.base import BaseRouter, describe_training
    from skroute.serve.saved import is_pickle, load_any

    loaded = load_any(file)
    steps = list(loaded) if isinstance(loaded, Pipeline) else [loaded]
    header: dict[str, Any] = {"format": "pickle"}
    if not is_pickle(file):
        header = persistence.read_header(file)
    found = {
        "file": str(file),
        "bytes": file.stat().st_size,
        **header,
        "runs_code": is_pickle(file),
        "steps": [type(step).__name__ for step in steps],
    }
    routers = [step for step in steps if isinstance(step, BaseRouter)]
    if routers and hasattr(routers[-1], "models_"):
        # A TextRouter holds the router that remembers the training.
        inside: Any = getattr(routers[-1], "router_", routers[-1])
        found["steps"] += [] if inside is routers[-1] else [type(inside).__name__]
        found["reads"] = _name_input(loaded)
        found["models"] = _list_models(inside)
        found["training"] = _keep_known(describe_training(inside))
        for name in ("caution_", "rank_weight_"):
            if hasattr(inside, name):
                found[name.rstrip("_")] = float(getattr(inside, name))
    found["rule"] = _describe_rule(steps[-1])
    return found


def _name_input(loaded: Any) -> str | None:
    """Name what queries are given as; None where only a person can tell."""
    from skroute.serve.saved import take_apart

    try:
        return take_apart(loaded, "it").reads
    except ValueError:  # such as a pipeline that ends in a cascade
        return None


def _list_models(router: Any) -> list[dict[str, Any]]:
    costs = getattr(router, "costs_", [math.nan] * len(router.models_))
    return [
        _keep_known({"name": str(name), "mean_cost": float(cost)})
        for name, cost in zip(router.models_, costs, strict=True)
    ]


def _describe_rule(last: Any) -> dict[str, Any] | None:
    """Describe the rule of a decider, and the price that it settled on."""
    from skroute.cascade import CascadeDecider
    from skroute.decision import BudgetDecider

    if not isinstance(last, BudgetDecider | CascadeDecider):
        return None
    rule = {
        name: value if isinstance(value, str | int | float | None) else repr(value)
        for name, value in last.get_params(deep=False).items()
        if value is not None
    }
    if isinstance(last, BudgetDecider) and hasattr(last, "models_"):
        rule["shadow_price"] = float(last.price_)
        if last.guarantee_ is not None:
            rule["promised"] = str(last.guarantee_)
    return _keep_known(rule)


def _keep_known(values: dict[str, Any]) -> dict[str, Any]:
    """Replace what JSON has no number for by null, also in lists."""

    def keep(value: Any) -> Any:
        if isinstance(value, list):
            return [keep(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: keep(value) for name, value in values.items()}


def _print(found: dict[str, Any], unit: str | None) -> None:
    """Print a description for people."""
    say = console.output.print
    written = f"format {found['format']}, {found['bytes']:,} bytes"
    if "skroute" in found:
        written += f", written by skroute {found['skroute']}"
    say(f"{found['file']}: {' > '.join(found['steps'])}", soft_wrap=True)
    trust = (
        "a pickle: loading it can run code" if found["runs_code"] else "no code in it"
    )
    say(f"File      {written}; {trust}.", soft_wrap=True)
    if "models" in found:
        say(f"Reads     {found['reads'] or 'see the first step'}.")
        _print_training(found["training"])
    rule = found["rule"]
    text = "none saved: say it when routing (--budget, --min-quality or --price)"
    if rule is not None:
        text = ", ".join(f"{name}={value}" for name, value in rule.items())
    say(f"Rule      {text}.", soft_wrap=True)
    if "models" in found:
        say()
        say(console.tabulate_models(found["models"], unit))


def _print_training(training: dict[str, Any]) -> None:
    if not training:
        console.output.print("Training  nothing is remembered of it.")
        return
    independent = training["independent_queries"]
    kept = f"{training['queries_kept']:,} queries kept for prices"
    if independent is not None:
        kept += f" ({independent:,} of them independent)"
    console.output.print(
        f"Training  {kept}. Best single model: {training['best_single']}, mean "
        f"quality {training['best_single_quality']:.3g}.",
        soft_wrap=True,
    )
