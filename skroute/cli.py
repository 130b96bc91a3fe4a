"""The ``skroute`` command: compare routers on a table, fit one, route with it."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from typer.core import TyperGroup

import skroute
from skroute import _console as console
from skroute._defaults import fit_encoder
from skroute._files import embedded, load, read_data, read_prompts, save
from skroute._report_command import report
from skroute._tables import (
    ON_TEXT,
    Duplicates,
    DuplicatesOption,
    EmbeddingsOption,
    PricesOption,
    SeedOption,
    TableArgument,
    TestSizeOption,
    repeated_prompts,
    warn_of_repeats,
)
from skroute.atomic import check_writable, replacing
from skroute.base import BaseRouter
from skroute.datasets import load_digits_pool
from skroute.evaluation import compare_routers
from skroute.metrics import best_single
from skroute.ranking import RankingRouter
from skroute.threads import single_threaded

__all__ = ["app"]

_EXPECTED_ERRORS = (ValueError, TypeError, OSError, ImportError)
_N_SHOWN = 8
_N_LETTERS = 60
_REASONS = [
    "runner_up",
    "runner_up_quality",
    "runner_up_cost",
    "margin",
    "price",
    "saved",
]


class _Group(TyperGroup):
    """Turns the errors of wrong input into one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _EXPECTED_ERRORS as error:
            # A closed pipe (`skroute route ... | head`) is for typer to end quietly.
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            text = " ".join(str(error).split())
            console.errors.print(f"error: {text}", style="red", soft_wrap=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Learn which LLM to call, and decide it under a budget.",
)


class Scope(StrEnum):
    """What a budget limits."""

    mean = "mean"
    query = "query"
    batch = "batch"


SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="Number of splits.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        console.output.print(f"skroute {skroute.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and leave.",
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Learn which LLM to call, and decide it under a budget."""


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Where the fitted router is saved.")
    ] = Path("router.skroute"),
    seeds: SeedsOption = 3,
    seed: SeedOption = 0,
) -> None:
    """Go the whole way on a small real pool: digits, read by nine classifiers."""
    check_writable(out)
    pool = load_digits_pool()
    console.output.print(
        f"Queries: {len(pool.data):,} handwritten digits. Models: {len(pool.models)} "
        "classifiers. Quality: 1 if the digit is read right, else 0. Cost: arithmetic "
        "operations."
    )
    with console.progress("Comparing routers") as progress:
        comparison = compare_routers(
            pool.data,
            pool.quality,
            pool.costs,
            models=pool.models,
            seeds=range(seed, seed + seeds),
            progress=progress,
        )
    train, test = train_test_split(
        np.arange(len(pool.data)), test_size=0.3, random_state=seed
    )
    router = RankingRouter(random_state=seed)
    y = pd.DataFrame(pool.quality[train], columns=pool.models)
    with console.progress("Fitting"), single_threaded():
        router.fit(pool.data[train], y, costs=pool.costs[train])
    save(router, out)
    best = best_single(pool.quality[train], pool.costs[train])
    single = pool.costs[test, best].mean()
    # A total for the whole batch, which is kept whatever the batch is like.
    budget = 0.5 * single * len(test)
    routed = _routed(load(out), pool.data[test], budget=budget, scope="batch")
    routed.insert(1, "prompt", pool.prompts[test])
    chosen = pd.Index(pool.models).get_indexer(routed["model"])
    console.heading(
        f"{len(test)} held-out queries, routed for half of what "
        f"{pool.models[best]} costs; the first {_N_SHOWN}:"
    )
    console.output.print(console.routed_table(routed.head(_N_SHOWN)))
    routes = {f"All {len(test)}": chosen, f"With {pool.models[best]} alone": best}
    for who, model in routes.items():
        spend, right = pool.costs[test, model].mean(), pool.quality[test, model].mean()
        console.output.print(
            f"{who}: {spend:,.0f} operations a query, {right:.1%} read right."
        )
    console.output.print(f"The router is saved in {out}.", soft_wrap=True)
    console.print_comparison(comparison, "cost in operations")


@app.command()
def evaluate(
    table: TableArgument,
    embeddings: EmbeddingsOption = None,
    prices: PricesOption = None,
    duplicates: DuplicatesOption = Duplicates.refuse,
    seeds: SeedsOption = 5,
    test_size: TestSizeOption = 0.3,
    seed: SeedOption = 0,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="OUT.json", help="Also write all numbers here."),
    ] = None,
) -> None:
    """Compare routers on a table of your own, on paired splits."""
    if json_file is not None:
        check_writable(json_file)
    data = read_data(table, embeddings, prices, duplicates)
    incomplete = np.isnan(data.quality + data.costs).any(axis=1)
    console.output.print(
        f"{table.name}: {len(data.quality):,} queries, {len(data.models)} models, "
        f"{int(incomplete.sum()):,} queries without every quality and cost (used in "
        "training, left out of testing)."
    )
    encoder = None
    if data.data is None:
        console.output.print(ON_TEXT)
        encoder = partial(fit_encoder, seed=seed)
    else:
        warn_of_repeats(data.data)
    with console.progress("Comparing routers") as progress:
        comparison = compare_routers(
            data.prompts if data.data is None else data.data,
            data.quality,
            data.costs,
            models=data.models,
            encoder=encoder,
            groups=repeated_prompts(data),
            test_size=test_size,
            seeds=range(seed, seed + seeds),
            progress=progress,
        )
    console.print_budgets(comparison)
    console.print_comparison(
        comparison, "cost at list prices" if prices else "cost in USD"
    )
    if json_file is not None:
        with replacing(json_file) as file:
            file.write_text(json.dumps(comparison.to_dict(), indent=1), "utf-8")


@app.command()
def fit(
    table: TableArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Where the router is saved: router.skroute, or a pickle if the name "
            "ends in .joblib.",
        ),
    ],
    embeddings: EmbeddingsOption = None,
    prices: PricesOption = None,
    duplicates: DuplicatesOption = Duplicates.refuse,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="NAME=VALUE",
            help="A parameter of RankingRouter; may be repeated.",
        ),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Fit a RankingRouter on all queries of a table and save it.

    Without --embeddings the router reads prompts: TF-IDF and a truncated SVD are fitted
    and saved with it.
    """
    check_writable(out)
    router = RankingRouter(random_state=seed)
    router.set_params(**dict(_parameter(text) for text in param or []))
    data = read_data(table, embeddings, prices, duplicates)
    y = pd.DataFrame(data.quality, columns=data.models)
    costs = data.costs
    if costs.ndim == 1:
        router.set_params(costs=costs)
        costs = None
    fitted: Any = router
    with console.progress("Fitting"):
        if data.data is None:
            encoder = fit_encoder(data.prompts, seed)
            router.fit(encoder.transform(data.prompts), y, costs=costs)
            fitted = Pipeline([*encoder.steps, ("router", router)])
        else:
            router.fit(data.data, y, costs=costs)
    save(fitted, out)
    reads = "prompts" if data.data is None else f"{router.n_features_in_} numbers each"
    console.output.print(
        f"Fitted on {len(y):,} queries and {len(data.models)} models; reads {reads}. "
        f"Saved: {out}",
        soft_wrap=True,
    )


@app.command()
def route(
    router: Annotated[
        Path,
        typer.Argument(
            metavar="ROUTER",
            help="A file that `skroute fit` saved. One that ends in .joblib, .pkl or "
            ".pickle is a pickle: loading it can run any code that it holds, so only "
            "open files that you trust. No other file runs anything.",
        ),
    ],
    queries: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERIES",
            help="Prompts: a text file with one a line, a table as `skroute fit` reads "
            "it (a column called prompt is enough), or - for the lines of stdin.",
        ),
    ] = None,
    embeddings: EmbeddingsOption = None,
    budget: Annotated[
        float | None, typer.Option(help="Money; what it limits is said by --scope.")
    ] = None,
    scope: Annotated[
        Scope,
        typer.Option(
            help="mean: average per query over the traffic; query: cap for each one; "
            "batch: total of this call."
        ),
    ] = Scope.mean,
    min_quality: Annotated[
        str | None,
        typer.Option(
            help="Mean quality to reach at the least cost: a number, or a share of the "
            "best single model's such as 95%."
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(help="Quality that one unit of money is worth.")
    ] = None,
    available: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Models that may be called; default: all."),
    ] = None,
    top_k: Annotated[
        int,
        typer.Option(
            min=1,
            help="Models to name per query: the one to call, then those to fall back "
            "on, in columns fallback_1, fallback_2, ...",
        ),
    ] = 1,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Add the runner-up, the margin, the price of money, and the money "
            "saved against the best single model.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the CSV here, not to stdout.")
    ] = None,
) -> None:
    """Decide which model each query is sent to; prints one CSV row per query."""
    if out is not None:
        check_writable(out)
    fitted = load(router)
    prompts = None if queries is None else read_prompts(queries)
    X = embedded(fitted, prompts, embeddings)
    decider = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    limits = {
        "budget": budget,
        "scope": scope.value,
        "min_quality": _number_or_text(min_quality),
        "price": price,
        "available": _names(available),
    }
    routed = _routed(decider, X, top_k=top_k, **limits)
    if explain:
        routed = routed.join(decider.explain(X, **limits)[_REASONS])
    if prompts is not None:
        previews = [shorten(text, _N_LETTERS, placeholder="...") for text in prompts]
        routed.insert(1, "prompt", previews)
    text = routed.to_csv(index=False, float_format="%.6g")
    if out is None:
        typer.echo(text, nl=False)
    else:
        with replacing(out) as file:
            file.write_text(text, "utf-8")


app.command()(report)


def _routed(
    router: BaseRouter, X: Any, *, top_k: int = 1, **limits: Any
) -> pd.DataFrame:
    """Decide queries; a row for each with what its model is expected to do."""
    names = router.route(X, top_k=top_k, **limits)
    rows = np.arange(len(names))
    chosen = rows, pd.Index(router.models_).get_indexer(names[:, 0])
    fallbacks = {f"fallback_{k}": names[:, k] for k in range(1, top_k)}
    return pd.DataFrame(
        {
            "query": rows,
            "model": names[:, 0],
            **fallbacks,
            "expected_quality": router.predict_quality(X)[chosen],
            "expected_cost": router.predict_cost(X)[chosen],
        }
    )


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--param must be NAME=VALUE; got {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _number_or_text(value: str | None) -> float | str | None:
    if value is None or value.endswith("%"):
        return value
    try:
        return float(value)
    except ValueError:
        raise ValueError(
            f"--min-quality must be a number or a percentage; got {value!r}."
        ) from None


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]
