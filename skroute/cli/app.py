"""The ``skroute`` command: compare routers on a table, fit one, route with it.

Libraries that take long to import (scikit-learn, LightGBM, pandas) are imported when a
command runs, so that ``skroute --help`` and ``skroute --version`` answer at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import skroute
from skroute.cli import console
from skroute.cli.inspect import inspect
from skroute.cli.logs import is_log, judge_log, refuse_for_log, weigh_outcomes
from skroute.cli.options import (
    TEST_SIZE,
    CheckCostOption,
    JsonOption,
    SeedOption,
    Table,
    TestSizeOption,
    UnitOption,
    group_prompts,
    has_checks,
    judge_worth,
    parse_parameter,
    split_names,
    take_queries,
    with_rule,
    with_table,
)
from skroute.cli.report import report
from skroute.cli.serve import serve

if TYPE_CHECKING:
    from sklearn.utils import Bunch

_N_SHOWN = 8
# Means of fewer test queries say little: one answer in fifty moves them by .02.
_FEW_TESTED = 50


class _Group(TyperGroup):
    """Prints errors of wrong input as one line, and exits with code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, OSError, ImportError) as error:
            # Typer ends quietly at a closed pipe (`skroute route ... | head`).
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            from skroute._table.texts import clean_text
            from skroute.cli.wording import name_options

            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            options = {str(p.name): p.opts[0] for p in getattr(command, "params", ())}
            said = name_options(" ".join(str(error).split()), options)
            text = clean_text(said)
            console.errors.print(f"error: {text}", style="red", soft_wrap=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Format = StrEnum("Format", ["csv", "jsonl"])
SeedsOption = Annotated[int, typer.Option(min=1, help="Number of splits.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        console.output.print(f"skroute {skroute.__version__}")
        raise typer.Exit


@app.callback()
def _read_global_options(
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
    out: Annotated[Path, typer.Option(help="Where the fitted router is saved.")] = Path(
        "router.skroute"
    ),
    seeds: SeedsOption = 3,
    seed: SeedOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Compare, fit and route on a small real pool: digits, read by nine classifiers.

    Example: skroute demo --seeds 1
    """
    console.check_out(json_file)
    with console.redirect_for(json_file):
        result = _run_demo(out, seeds, seed)
    console.write_json(result, json_file)


def _run_demo(out: Path, seeds: int, seed: int) -> dict[str, Any]:
    """Run the demo; returns its numbers."""
    import numpy as np
    import pandas as pd
    from sklearn.model_selection import train_test_split

    from skroute._compute.threads import single_threaded
    from skroute.cli.files import save
    from skroute.cli.routed import decide
    from skroute.datasets import load_digits_pool
    from skroute.metrics import best_single
    from skroute.ranking import RankingRouter
    from skroute.serve.saved import load

    if console.is_stdout(out):
        raise ValueError("the demo prints what it finds on stdout: give --out a file.")
    console.check_out(out)
    pool = load_digits_pool()
    console.output.print(
        f"Queries: {len(pool.data):,} handwritten digits. Models: {len(pool.models)} "
        "classifiers. Quality: 1 if the digit is read right, else 0. Cost: arithmetic "
        "operations."
    )
    comparison = _compare(pool.data, pool, seeds, seed)
    train, test = train_test_split(
        np.arange(len(pool.data)), test_size=0.3, random_state=seed
    )
    router = RankingRouter(random_state=seed)
    y = pd.DataFrame(pool.quality[train], columns=pool.models)
    with console.show_progress("Fitting"), single_threaded():
        router.fit(pool.data[train], y, costs=pool.costs[train])
    save(router, out)
    best = best_single(pool.quality[train], pool.costs[train])
    # A total for the whole batch holds for certain; a mean budget only on average.
    rule = {"budget": 0.5 * pool.costs[test, best].sum(), "scope": "batch"}
    routed = decide(load(out), pool.data[test], rule)
    routed.insert(1, "prompt", pool.prompts[test])
    chosen = pd.Index(pool.models).get_indexer(routed["model"])
    console.print_heading(
        f"{len(test)} held-out queries, routed for half of what "
        f"{pool.models[best]} costs; the first {_N_SHOWN}:"
    )
    console.output.print(console.tabulate_routed(routed.head(_N_SHOWN)))
    shares = {}
    routes = {f"All {len(test)}": chosen, f"With {pool.models[best]} alone": best}
    for who, model in routes.items():
        spend, right = pool.costs[test, model].mean(), pool.quality[test, model].mean()
        console.output.print(
            f"{who}: {spend:,.0f} operations a query, {right:.1%} read right."
        )
        shares[who] = {"mean_cost": float(spend), "mean_quality": float(right)}
    console.output.print(f"The router is saved in {out}.", soft_wrap=True)
    console.print_comparison(comparison, "cost in operations")
    return {"routed": shares, **comparison.to_dict()}


@app.command()
@with_table
def evaluate(
    table: Table,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of splits.", show_default="5")
    ] = None,
    test_size: TestSizeOption = None,
    check_cost: CheckCostOption = None,
    seed: SeedOption = 0,
    unit: UnitOption = None,
    json_file: JsonOption = None,
) -> None:
    """Tell whether routing is worth it on a table of your own, and compare routers.

    A table with one call per query is a log: routers are learnt from it, and judged by
    its calls and their chances (column propensity).

    Example: skroute evaluate calls.csv --seeds 3 --unit EUR --json numbers.json
    """
    console.check_out(json_file)
    with console.redirect_for(json_file):
        data = table.read()
        if is_log(data):
            refuse_for_log(seeds=seeds, test_size=test_size, check_cost=check_cost)
            found = judge_log(data, table.path.name, seed)
            console.print_log(found, _name_costs(data, unit))
            result = {"log": found.to_dict()}
        else:
            result = _evaluate_table(
                data,
                table.path.name,
                5 if seeds is None else seeds,
                seed,
                TEST_SIZE if test_size is None else test_size,
                check_cost,
                unit,
            )
    console.write_json(result, json_file)


@app.command()
@with_table
def fit(
    table: Table,
    out: Annotated[
        Path,
        typer.Option(
            help="Where the router is saved: router.skroute, or a pickle if the name "
            "ends in .joblib; - is stdout.",
        ),
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A parameter of RankingRouter; may be repeated."
        ),
    ] = None,
    seed: SeedOption = 0,
    json_file: JsonOption = None,
) -> None:
    """Fit a RankingRouter on all queries of a table and save it.

    The router reads the prompts of the table, and, with --embeddings, these beside
    them; a table without prompts needs --embeddings.

    Example: skroute fit calls.csv --out router.skroute
    """
    from skroute.cli.files import join_queries, name_quality, save
    from skroute.ranking import RankingRouter
    from skroute.text import TextRouter

    console.check_out(out)
    console.check_out(json_file)
    if console.is_stdout(out) and console.is_stdout(json_file):
        raise ValueError("--out and --json cannot both be -: give one of them a file.")
    router = RankingRouter(random_state=seed)
    router.set_params(**dict(map(parse_parameter, param or [])))
    data = table.read()
    y = name_quality(data)
    costs = data.costs
    if costs.ndim == 1:
        router.set_params(costs=costs)
        costs = None
    X, reads_prompts = join_queries(data)
    fitted: Any = TextRouter(router) if reads_prompts else router
    weight = None if data.propensity is None else weigh_outcomes(data.propensity, y)
    with console.show_progress("Fitting"):
        fitted.fit(X, y, costs=costs, outcome_weight=weight)
    save(fitted, out)
    parts = ["prompts"] if reads_prompts else []
    if data.data is not None:
        parts.append(f"{data.data.shape[1]} numbers each")
    reads = " and ".join(parts)
    told = {
        "router": str(out),
        "queries": len(y),
        "models": [str(name) for name in data.models],
        "reads": reads,
        "weighed_by_chances": weight is not None,
    }
    console.write_json(told, json_file)
    with console.redirect_for(out), console.redirect_for(json_file):
        console.output.print(
            f"Fitted on {len(y):,} queries and {len(data.models)} models; reads "
            f"{reads}. Saved: {out}",
            soft_wrap=True,
        )
        console.output.print(
            "No rule is saved: give one when routing, such as --min-quality 95% or "
            "--budget MONEY. Without one, cost does not count.",
            soft_wrap=True,
        )
        if weight is not None:
            console.note(
                "outcomes of calls of small chances weigh more, up to 10 times."
            )


@app.command()
@with_rule
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
            "it (a column called prompt is enough), or - for the lines of stdin. A "
            "blank line is an empty prompt.",
        ),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="E.npy|COLUMN",
            help="Embeddings of the prompts: a file, row by row, as numpy.save writes "
            "it, or a column of vectors of the table QUERIES.",
        ),
    ] = None,
    *,
    rule: dict[str, Any],
    available: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Models that may be called; default: all."),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            metavar="COSTS",
            help="Money per call of these queries that is known before the call: a "
            "table (.csv, .parquet, .jsonl) with a column per model, called by its "
            "name, and a row per query, or a JSON object from names to money. Where it "
            "says nothing, the router's estimates count.",
        ),
    ] = None,
    top_k: Annotated[
        int,
        typer.Option(
            min=1,
            help="Models to name per query: the one to call, then those to fall back "
            "on, in columns fallback_1, fallback_2, ...",
        ),
    ] = 1,
    explore: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of the queries whose model is drawn, better ones more often, "
            "so that a log of the calls tells of other models; a column propensity "
            "has the chance of each call.",
        ),
    ] = 0.0,
    seed: SeedOption = 0,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Add the runner-up, the margin, the shadow price, and the money "
            "saved against the best single model.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write here; default, or -: stdout.")
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="csv (the default; a text that a spreadsheet would run as a formula "
            "begins with an apostrophe), or jsonl (the default where --out ends so).",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="OUT.jsonl",
            help="Write the rows here as JSON lines; - is stdout. CSV is then only "
            "written where --out says so.",
        ),
    ] = None,
) -> None:
    """Decide which model each query is sent to; a row for each, in their order.

    Rows are called as QUERIES calls them (query_id, sample_id, id), or are numbered.

    A router that was saved with a BudgetDecider decides as that does. --budget,
    --min-quality or --price, with --scope, take the place of its rule.

    Example: skroute route router.skroute prompts.txt --min-quality 95% --json -
    """
    from skroute.cli import routed
    from skroute.cli.files import embed_queries, read_queries
    from skroute.datasets.queries import read_known_costs
    from skroute.exceptions import InfeasibleBudgetError
    from skroute.serve.saved import load

    console.check_out(out)
    console.check_out(json_file)
    if json_file is not None and (form is not None or console.is_stdout(out)):
        raise ValueError("--json says where JSON lines go: leave --format and --out -.")
    saved = load(router)
    asked = None if queries is None else read_queries(queries)
    prompts = None if asked is None else asked.prompts
    X = embed_queries(saved.before, prompts, embeddings, queries)
    known = None
    if costs is not None:
        known = read_known_costs(costs, saved.router.models_, asked)
    may = split_names(available)
    try:
        table = routed.decide(saved, X, rule, may, top_k, explain, known, explore, seed)
    except InfeasibleBudgetError as error:
        why = routed.explain_refusal(error, rule.get("min_quality"))
        raise ValueError(why) from error
    if asked is not None:
        table.insert(1, "prompt", asked.prompts)
        if asked.names is not None:
            table["query"] = asked.names
        if asked.n_calls is not None and asked.n_calls > len(table):
            console.note(
                f"{asked.n_calls:,} rows are calls on {len(table):,} queries; each "
                "query is routed once."
            )
    for remark in routed.find_remarks(saved, X, rule, prompts, known):
        console.note(remark)
    if json_file is not None:
        console.write_text(routed.to_jsonl(table), json_file)
        if out is None:
            return
    if form is None and out is not None and out.suffix.lower() == ".jsonl":
        form = Format.jsonl
    write = routed.to_jsonl if form is Format.jsonl else routed.to_csv
    console.write_text(write(table), out)


app.command()(report)
app.command()(inspect)
app.command()(serve)


def _evaluate_table(
    data: Bunch,
    name: str,
    seeds: int,
    seed: int,
    test_size: float,
    check_cost: float | None,
    unit: str | None,
) -> dict[str, Any]:
    """Judge and compare routers where every model was run; returns all numbers."""
    n_complete = _print_content(data, name, test_size)
    checked = has_checks(data, (1 - test_size) * n_complete, check_cost)
    queries, encoder = take_queries(data, seed)
    groups = group_prompts(data)
    worth = judge_worth(data, queries, seed, encoder, groups)
    console.print_heading("Is it worth it?")
    console.output.print(str(worth))
    splits = "1 split" if seeds == 1 else f"{seeds} splits"
    console.output.print(
        "This is of a RankingRouter that is quick to fit, cross-validated on the "
        f"table. The tables below fit whole routers on {splits}, so their figures "
        "differ."
    )
    options = {"encoder": encoder, "groups": groups, "test_size": test_size}
    comparison = _compare(queries, data, seeds, seed, **options)
    if test_size * n_complete < _FEW_TESTED:
        console.note(
            "figures of so few test queries are rough; more complete queries would "
            "tell more than more splits of these."
        )
    console.print_budgets(comparison)
    console.print_comparison(comparison, _name_costs(data, unit))
    with_checks = None
    if checked:
        priced = check_cost or 0.0
        found = _compare_cascade(
            queries, data, seeds, seed, check_cost=priced, **options
        )
        console.print_cascade(found, priced)
        with_checks = found.to_dict()
    result = {"routability": worth.to_dict(), **comparison.to_dict()}
    result["with_checks"] = with_checks
    return result


def _print_content(data: Bunch, name: str, test_size: float) -> int:
    """Print what a table holds; returns the number of its complete queries."""
    import numpy as np

    no_quality = np.isnan(data.quality).any(axis=1)
    no_cost = np.isnan(np.broadcast_to(data.costs, data.quality.shape)).any(axis=1)
    complete = int((~(no_quality | no_cost)).sum())
    console.output.print(
        f"{name}: {len(data.quality):,} queries, {len(data.models)} models. "
        f"{int(no_quality.sum()):,} queries lack a quality, and "
        f"{int((no_cost & ~no_quality).sum()):,} others a cost: they are used in "
        f"training, and left out of testing. {complete:,} are complete, about "
        f"{round(test_size * complete):,} of them are tested in each split."
    )
    return complete


def _name_costs(data: Bunch, unit: str | None) -> str:
    if data.costs.ndim > 1:
        return f"cost in {unit or 'USD'}"
    return f"cost at list prices{f' in {unit}' if unit else ''}"


def _compare(X: Any, data: Bunch, seeds: int, seed: int, **options: Any) -> Any:
    from skroute.cli.files import name_quality
    from skroute.evaluation import compare_routers

    with console.show_progress("Comparing routers") as progress:
        return compare_routers(
            X,
            name_quality(data),
            data.costs,
            seeds=range(seed, seed + seeds),
            progress=progress,
            **options,
        )


def _compare_cascade(X: Any, data: Bunch, seeds: int, seed: int, **options: Any) -> Any:
    """Compare routing with and without checks."""
    from skroute._compute.threads import single_threaded
    from skroute.cli.files import name_quality
    from skroute.evaluation.cascades import compare_cascade

    with console.show_progress("Checking answers") as progress, single_threaded():
        return compare_cascade(
            *(X, name_quality(data), data.costs, data.checks, data.answers),
            seeds=range(seed, seed + seeds),
            progress=progress,
            **options,
        )
