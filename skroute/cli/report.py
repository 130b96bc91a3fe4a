"""The command ``skroute report``; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skroute.cli import console
from skroute.cli.logs import is_log, judge_log, refuse_for_log
from skroute.cli.options import (
    TEST_SIZE,
    CheckCostOption,
    JsonOption,
    SeedOption,
    Table,
    TestSizeOption,
    group_prompts,
    has_checks,
    judge_worth,
    take_queries,
    with_table,
)

if TYPE_CHECKING:
    from sklearn.utils import Bunch

    from skroute.evaluation.splits import OutcomeTable, Split

_ROUTER = "RankingRouter"
_PEERS = ("kNN", "ridge")


@with_table
def report(
    table: Table,
    out: Annotated[Path, typer.Option(help="Where the report is written.")] = Path(
        "report.html"
    ),
    test_size: TestSizeOption = None,
    check_cost: CheckCostOption = None,
    seed: SeedOption = 0,
    json_file: JsonOption = None,
    peers: Annotated[
        bool, typer.Option(help="Compare with nearest neighbours and ridge regression.")
    ] = True,
    prompts: Annotated[
        bool, typer.Option(help="Quote some of the prompts in the report.")
    ] = False,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Unit of the costs. [default: USD where the table tells the costs]"
        ),
    ] = None,
) -> None:
    """Fit a RankingRouter on a part of a table, and report on the rest as HTML.

    A table with one call per query is a log: the report then says what routers that
    were learnt from it would have given, by its calls and their chances.

    Example: skroute report calls.csv --out report.html
    """
    from skroute._optional import require
    from skroute._table.texts import clean_text

    console.check_out(out)
    console.check_out(json_file)
    if console.is_stdout(out) and console.is_stdout(json_file):
        raise ValueError("--out and --json cannot both be -: give one of them a file.")
    told: dict[str, Any] = {"report": str(out)}
    for module in ("jinja2", "matplotlib"):
        require(module, "skroute report", "report")
    with console.redirect_for(out), console.redirect_for(json_file):
        data = table.read()
        if unit is None and data.costs.ndim > 1:
            unit = "USD"
        if is_log(data):
            from skroute.reporting.log_page import render_log

            refuse_for_log(test_size=test_size, check_cost=check_cost)
            found = judge_log(data, table.path.name, seed)
            console.output.print(found.sentence)
            told["log"] = found.to_dict()
            html = render_log(found, title=title and clean_text(title), unit=unit)
        else:
            size = TEST_SIZE if test_size is None else test_size
            options = seed, size, peers, check_cost
            html = _report_table(data, options, title, unit, prompts, told)
    console.write_text(html, out)
    console.write_json(told, json_file)
    with console.redirect_for(out), console.redirect_for(json_file):
        console.output.print(f"Report: {out}", soft_wrap=True)


def _report_table(
    data: Bunch,
    options: tuple[int, float, bool, float | None],
    title: str | None,
    unit: str | None,
    prompts: bool,
    told: dict[str, Any],
) -> str:
    """Report on a table where every model was run.

    `options` are the seed, the share that is tested, whether there are peers, and what
    a check costs. Numbers for programs go into `told`.
    """
    from sklearn.pipeline import Pipeline

    from skroute.reporting import report as write_report

    seed = options[0]
    queries, encoder = take_queries(data, seed)
    groups = group_prompts(data)
    worth = judge_worth(data, queries, seed, encoder, groups)
    console.output.print(worth.sentence)
    told["routability"] = worth.to_dict()
    outcomes, split, fitted = _fit_routers(data, (queries, encoder), groups, *options)
    test = split.test
    told |= {"fitted_on": len(split.train), "judged_on": len(test)}
    router = fitted.pop(_ROUTER)
    checked = {}
    if isinstance(router, Pipeline):
        beside = {"checks": data.checks, "answers": data.answers}
        checked = {n: t[test] for n, t in beside.items() if t is not None}
    with console.show_progress("Writing"):
        written = write_report(
            router,
            split.X_test,
            outcomes.y.iloc[test],
            costs=outcomes.spend[test],
            task=None if data.task is None else data.task[test],
            prompts=None if data.prompts is None else data.prompts[test],
            show_prompts=prompts,
            peers=fitted,
            title=title,
            unit=unit,
            random_state=seed,
            worth=worth,
            **checked,
        )
    console.output.print(
        f"Fitted on {len(split.train):,} queries, judged on {len(test):,} others."
    )
    return written.html


def _fit_routers(
    data: Bunch,
    taken: tuple[Any, Any],
    groups: Any,
    seed: int,
    test_size: float,
    peers: bool,
    check_cost: float | None,
) -> tuple[OutcomeTable, Split, dict[str, Any]]:
    """Fit routers on a part of the table, the first with a cascade for its checks.

    `taken` are its queries and their encoder.
    """
    from sklearn.pipeline import make_pipeline

    from skroute._compute.threads import single_threaded
    from skroute.cli.files import name_quality
    from skroute.evaluation.cascades import fit_cascade
    from skroute.evaluation.defaults import default_routers
    from skroute.evaluation.splits import OutcomeTable, Split

    queries, encoder = taken
    outcomes = OutcomeTable.check(
        queries,
        name_quality(data),
        data.costs,
        groups=groups,
        encoded=encoder is None,
    )
    split = Split.draw(outcomes, seed, test_size, encoder)
    n_complete = outcomes.complete[split.train].sum()
    checked = has_checks(data, n_complete, check_cost)
    routers = default_routers(random_state=seed)
    fitted = {}
    names = (_ROUTER, *_PEERS) if peers else (_ROUTER,)
    with console.show_progress("Fitting") as progress, single_threaded():
        for done, name in enumerate(names):
            progress(name, done, len(names))
            if name == _ROUTER and checked:
                behind = fit_cascade(
                    *(split, routers[name], data.checks, data.answers),
                    *(seed, check_cost or 0.0),
                )
                fitted[name] = make_pipeline(*behind)
            else:
                fitted[name] = split.fit(routers[name])
    return outcomes, split, fitted
