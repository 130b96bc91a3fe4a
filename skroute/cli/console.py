"""Output of the command line: tables of numbers, notes, progress, results.

Nothing here imports NumPy or pandas before tables are printed: ``skroute --help`` is to
answer at once.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from skroute._io.atomic import check_writable, replace_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from skroute.evaluation import Comparison, LogEvaluation, RouterResult
    from skroute.evaluation.cascades import CascadeComparison

# Both look up sys.stdout and sys.stderr at every print. Model names and prompts are
# data, in which nothing is markup.
output = Console(markup=False, highlight=False, emoji=False)
errors = Console(stderr=True, markup=False, highlight=False, emoji=False)

_WIDE = 100
_UNDEFINED = "-"
_LEGEND = {
    "Kept": "share of the best single model's quality; training aimed at 100%",
    "Paid": "what these calls cost, as a share of that model's cost",
    "Cost": "what these calls cost, per query",
    "nAUC": "mean quality over all budgets, from cheapest to most expensive calls",
    "QNC": "share of its cost that would have bought its quality, in hindsight",
    "RCI": "of these calls: to a worse model, or to the strongest in vain",
    "Strongest": "of these calls: to the strongest, that is the most expensive, model",
    "Fit s": "seconds to fit",
}
_ONLY_WIDE = ("Cost", "Fit s")


def is_stdout(out: Path | None) -> bool:
    """Whether ``-`` was given as the name of a file."""
    return out is not None and str(out) == "-"


def check_out(out: Path | None) -> None:
    """Fail before the work if its result could not be written."""
    if out is not None and not is_stdout(out):
        check_writable(out)


@contextmanager
def redirect_for(out: Path | None) -> Iterator[None]:
    """Print text for people on stderr if the result itself goes to stdout."""
    with redirect_stdout(sys.stderr) if is_stdout(out) else nullcontext():
        yield


def write_text(text: str, out: Path | None) -> None:
    """Write a text as `write_bytes` does; lone surrogates become question marks."""
    write_bytes(text.encode("utf-8", "replace"), out)


def write_bytes(content: bytes, out: Path | None) -> None:
    """Write a result to a file, completely or not at all; without a name, to stdout."""
    if out is None or is_stdout(out):
        typer.echo(content, nl=False)
        return
    with replace_file(out) as file:
        file.write_bytes(content)


def write_json(found: Any, out: Path | None) -> None:
    """Write what was found as JSON, if a file was asked for."""
    if out is not None:
        write_text(f"{json.dumps(found, indent=1)}\n", out)


def note(text: str) -> None:
    """Print a remark on stderr."""
    errors.print(f"note: {text}", style="yellow", soft_wrap=True)


def print_comparison(comparison: Comparison, cost_note: str) -> None:
    """Print a row for every router, and a legend of the columns."""
    from skroute.evaluation import ORACLE

    hidden = () if output.width >= _WIDE else _ONLY_WIDE
    columns = [name for name in _LEGEND if name not in hidden]
    table = _make_table("Router", *columns)
    results = comparison.results.values()
    money = _choose_format([result.mean("cost") for result in results])
    for result in results:
        cells = {
            "Kept": _format_with_error(result, "relative_quality"),
            "Paid": _format_with_error(result, "relative_cost", 2),
            "Cost": _format(result.mean("cost"), money),
            "nAUC": _format_with_error(result, "normalized_auc"),
            "QNC": _format_neutral_cost(result),
            "RCI": _format(result.mean("settled_collapse_index"), ".2f"),
            "Strongest": _format(result.mean("settled_strongest_share"), ".0%"),
            "Fit s": _format(result.mean("fit_seconds"), ",.1f"),
        }
        style = "dim" if result.name == ORACLE else None
        table.add_row(result.name, *(cells[name] for name in columns), style=style)
    n_splits = len(comparison.seeds)
    splits = "1 split" if n_splits == 1 else f"{n_splits} splits, ± standard error"
    print_heading(f"Routers compared ({splits}; {cost_note})")
    output.print(table)
    legend = Table.grid(padding=(0, 2))
    for name in columns:
        legend.add_row(name, _LEGEND[name], style="dim")
    output.print()
    output.print(legend)


def print_budgets(comparison: Comparison) -> None:
    """Print the budgets, and what each router spent on the test queries."""
    from skroute.evaluation import BUDGET_SHARES, ORACLE

    names, cells = [], []
    asked = comparison.budgets.mean(axis=0)
    money = _choose_format(asked)
    for share, limit in zip(BUDGET_SHARES, asked, strict=True):
        names += [f"{share:.0%}", "of it"]
        cells += [_format(limit, money), ""]
    table = _make_table("Router", *names)
    table.add_row("asked", *cells)
    for result in comparison.results.values():
        if result.name == ORACLE:
            continue
        cells = []
        for paid, limit in zip(result.spent.mean(axis=0), asked, strict=True):
            ratio = paid / limit if limit > 0 else math.nan
            cells += [_format(paid, money), _format(ratio, ".0%")]
        table.add_row(result.name, *cells)
    print_heading(
        "Mean cost spent for each budget (0%: cheapest calls, 100%: most expensive)"
    )
    output.print(table)


def print_cascade(comparison: CascadeComparison, check_cost: float) -> None:
    """Print what checking adds to routing, and whether it pays."""
    from skroute.evaluation.cascades import CHECKED
    from skroute.evaluation.scores import TARGET

    table = _make_table("", "Quality", "Cost", "Of best", "nAUC", "Calls", "95%")
    money = _choose_format(s["cost"].mean() for s in comparison.scores.values())
    for name, scores in comparison.scores.items():
        most = comparison.most_calls if name == CHECKED else 1
        table.add_row(
            name,
            _write_mean(scores["quality"]),
            _format(scores["cost"].mean(), money),
            _format(scores["relative_cost"].mean(), ".0%"),
            _write_mean(scores["normalized_auc"]),
            _format(scores["calls"].mean(), ".2f"),
            str(most),
        )
    priced = "is taken to be free" if check_cost == 0 else f"costs {check_cost:g}"
    n_splits = len(comparison.gain)
    splits = "1 split" if n_splits == 1 else f"{n_splits} splits, ± standard error"
    print_heading(f"What checking answers adds to RankingRouter ({splits})")
    output.print(table)
    output.print()
    output.print(
        f"Set on the training queries to reach {TARGET} of the best single model's "
        f"quality at the least cost; a check {priced}. Calls: mean number of "
        f"calls per query, at most {comparison.max_calls}; 95%: number of calls that "
        "95% of the queries stay within.",
        style="dim",
    )
    output.print()
    output.print(write_verdict(comparison))


def print_log(found: LogEvaluation, cost_note: str) -> None:
    """Print what routers would have given on a log, and what weakens that."""
    is_wide = output.width >= _WIDE
    within = "" if is_wide else " within"
    table = _make_table("", "Set to", f"Quality{within}", f"Cost{within}", "Worth")
    table.columns[1].justify = "left"
    money = _choose_format(value.cost_interval[1] for _, _, value in found.rows)
    for name, rule, value in found.rows:
        spans = []
        for middle, interval, spec in (
            (value.quality, value.quality_interval, ",.3f"),
            (value.cost, value.cost_interval, money),
        ):
            span = " to ".join(_format(end, spec) for end in interval)
            spans.append(f"{_format(middle, spec)} ({span})" if is_wide else span)
        table.add_row(name, rule, *spans, f"{value.effective_sample_size:,.0f}")
    confidence = f"{found.confidence * 100:g}% intervals"
    print_heading(f"What would have been on the log ({confidence}; {cost_note})")
    output.print(table)
    output.print()
    output.print(
        "Routers were fitted on all folds of the log but one, and decide on that one. "
        "Worth: queries that would tell as much if these decisions had been followed "
        "on all of them.",
        style="dim",
    )
    for doubt in found.doubts:
        note(doubt)


def write_verdict(comparison: CascadeComparison) -> str:
    """Write whether checking pays."""
    gain, n_splits = comparison.gain, len(comparison.gain)
    more, size = ("higher", gain) if gain.mean() >= 0 else ("lower", -gain)
    found = (
        f"mean quality over all budgets (nAUC) is {_write_mean(size)} {more} with "
        "checks than without."
    )
    if comparison.pays:
        return f"Checking pays: {found}"
    if comparison.pays is False:
        return f"Checking does not pay here: {found}"
    why = "one split does not tell" if n_splits == 1 else "these splits do not tell"
    return f"Whether checking pays, {why} yet (more --seeds would): {found}"


def tabulate_routed(routed: pd.DataFrame) -> Table:
    """Tabulate routed queries, a row for each."""
    table = _make_table("Query", "Model", "Expected quality", "Expected cost")
    table.columns[1].justify = "left"
    money = _choose_format(routed["expected_cost"])
    for row in routed.itertuples():
        quality = _format(row.expected_quality, ",.2f")
        table.add_row(row.prompt, row.model, quality, _format(row.expected_cost, money))
    return table


def tabulate_models(models: list[dict[str, Any]], unit: str | None = None) -> Table:
    """Tabulate models and their mean costs, the cheapest first."""
    table = _make_table("Model", f"Mean cost per call{f', {unit}' if unit else ''}")
    costs = [math.nan if m["mean_cost"] is None else m["mean_cost"] for m in models]
    money = _choose_format(costs)
    for cost, model in sorted(
        zip(costs, models, strict=True), key=lambda pair: pair[0]
    ):
        table.add_row(model["name"], _format(cost, money))
    return table


def print_heading(text: str) -> None:
    """Print a heading between empty lines."""
    output.print()
    output.print(text, style="bold")
    output.print()


@contextmanager
def show_progress(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on stderr if that is a terminal.

    Yields a function to call with a label, the number of finished steps and of all.
    """
    if not errors.is_terminal:
        yield lambda label, done, total: None
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        console=errors,
        transient=True,
    )
    with bar:
        task = bar.add_task(description, total=None)

        def update(label: str, done: int, total: int) -> None:
            text = f"{description}: {label} ({done + 1} of {total})"
            bar.update(task, description=text, completed=done, total=total)

        yield update


def _make_table(first: str, *others: str) -> Table:
    """Make an empty table with numbers in all columns but the first."""
    table = Table(
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        header_style="bold",
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _format(value: float, spec: str) -> str:
    return _UNDEFINED if math.isnan(value) else format(value, spec)


def _choose_format(values: Iterable[float]) -> str:
    """Choose as many decimals as give the largest value three digits."""
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    decimals = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    return f",.{max(0, decimals)}f"


def _format_with_error(result: RouterResult, metric: str, digits: int = 3) -> str:
    return _write_mean(result.scores[metric], digits)


def _write_mean(values: np.ndarray, digits: int = 3) -> str:
    """Write the mean over splits with its standard error."""
    from skroute.evaluation.scores import find_standard_error

    spec = f",.{digits}f"
    text, error = _format(float(values.mean()), spec), find_standard_error(values)
    # ".004" instead of "0.004" keeps the column narrow.
    return text if math.isnan(error) else f"{text} ±{error:{spec}}".replace("±0.", "±.")


def _format_neutral_cost(result: RouterResult) -> str:
    import numpy as np

    values = result.scores["quality_neutral_cost"]
    reached = np.isfinite(values)
    if reached.all():
        return _format(values.mean(), ",.2f")
    if not reached.any():
        return "not reached"
    return f"reached {reached.sum()}/{len(values)}"
