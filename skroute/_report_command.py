"""The command ``skroute report``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from skroute import _console as console
from skroute._defaults import default_routers, fit_encoder
from skroute._files import read_data
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
from skroute.atomic import check_writable
from skroute.datasets._extras import require
from skroute.reporting import report as write_report
from skroute.splits import OutcomeTable, Split
from skroute.threads import single_threaded

__all__ = ["report"]

_ROUTER = "RankingRouter"
_PEERS = ("kNN", "ridge")


def report(
    table: TableArgument,
    out: Annotated[
        Path, typer.Option("--out", help="Where the report is written.")
    ] = Path("report.html"),
    embeddings: EmbeddingsOption = None,
    prices: PricesOption = None,
    duplicates: DuplicatesOption = Duplicates.refuse,
    test_size: TestSizeOption = 0.3,
    seed: SeedOption = 0,
    peers: Annotated[
        bool, typer.Option(help="Compare with nearest neighbours and ridge regression.")
    ] = True,
    prompts: Annotated[
        bool, typer.Option(help="Show some of the prompts in the report.")
    ] = True,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
) -> None:
    """Fit a RankingRouter on a part of a table, and report on the rest as HTML."""
    check_writable(out)
    for module in ("jinja2", "matplotlib"):
        require(module, "skroute report", "report")
    data = read_data(table, embeddings, prices, duplicates)
    encoder = None
    if data.data is None:
        console.output.print(ON_TEXT)
        encoder = partial(fit_encoder, seed=seed)
    else:
        warn_of_repeats(data.data)
    outcomes = OutcomeTable.checked(
        data.prompts if data.data is None else data.data,
        pd.DataFrame(data.quality, columns=data.models),
        data.costs,
    )
    split = Split.drawn(outcomes, seed, test_size, repeated_prompts(data), encoder)
    routers = default_routers(random_state=seed)
    fitted = {}
    names = (_ROUTER, *_PEERS) if peers else (_ROUTER,)
    with console.progress("Fitting") as progress:
        for done, name in enumerate(names):
            progress(name, done, len(names))
            with single_threaded():
                fitted[name] = split.fit(routers[name])
    test, shown = split.test, None
    if prompts and data.prompts is not None:
        shown = data.prompts[test]
    with console.progress("Writing"):
        write_report(
            fitted.pop(_ROUTER),
            split.X_test,
            outcomes.y.iloc[test],
            costs=outcomes.spend[test],
            task=None if data.task is None else data.task[test],
            prompts=shown,
            peers=fitted,
            path=out,
            title=title,
            unit=None if prices else "USD",
            random_state=seed,
        )
    console.output.print(
        f"Fitted on {len(split.train):,} queries, judged on {len(test):,} others. "
        f"Report: {out}",
        soft_wrap=True,
    )
