"""Options of the commands that read a table, and notes about its content.

Nothing here imports scikit-learn or pandas before a command runs, so that ``skroute
--help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skroute.cli import console

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

__all__ = [
    "SeedOption",
    "Table",
    "TestSizeOption",
    "group_prompts",
    "note_duplicates",
    "split_names",
    "take_queries",
    "with_table",
]

# Share of queries in blocks of duplicates that suggests a truncating encoder.
_MANY_DUPLICATES = 0.1


class Duplicates(StrEnum):
    """What to do with repeated calls."""

    refuse = "raise"
    mean = "mean"


_TABLE_HELP = (
    "Routing table (.csv, .parquet, .json, .jsonl). Wide: prompt, a quality "
    "column per model, a <model>|total_cost column per model. Long: a row per call "
    "with query, model, quality, cost. RouteLLM's CSV and LLMRouter's JSON are read "
    "too. Where columns are called otherwise, name them by --query, --model, --quality "
    "and --cost."
)


def _column(help_: str) -> typer.models.OptionInfo:
    """Declare an option that names a column."""
    return typer.Option(metavar="COLUMN", help=f"{help_} Dots lead into objects.")


@dataclass(frozen=True)
class Table:
    """File of a table, with the options of :func:`skroute.datasets.read_table`."""

    path: Path
    options: dict[str, Any]

    def read(self) -> Bunch:
        """Read the table, and say how many prompts repeat."""
        from skroute._table.costs import count_zeros
        from skroute._table.duplicates import count_duplicate_prompts
        from skroute.cli.files import read_data

        data = read_data(self.path, **self.options)
        n_again = count_duplicate_prompts(data.prompts)
        if data.n_repeats or n_again:
            n_queries, said = len(data.quality), []
            if data.n_repeats:
                said.append(
                    f"{data.n_repeats:,} rows were averaged with an earlier one"
                )
            if n_again:
                said.append(f"{n_again:,} of {n_queries:,} queries repeat a prompt")
            console.note(f"{'; '.join(said)}.")
        n_zero = 0 if data.costs.ndim == 1 else count_zeros(data.costs)
        if n_zero:
            console.note(
                f"{n_zero:,} calls cost 0: is that known, or was it not recorded? "
                "Leave a cost empty where it is not known."
            )
        return data


def with_table(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's first argument, a Table, by a path and its options."""
    _, *others = signature(command, eval_str=True).parameters.values()
    of_table = signature(_collect_table, eval_str=True).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        table = _collect_table(**{name: given.pop(name) for name in of_table})
        command(table, **given)

    parameters = [
        # Keyword-only, so that required options may follow those with defaults.
        parameter.replace(kind=Parameter.KEYWORD_ONLY)
        for parameter in (*of_table.values(), *others)
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _collect_table(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help=_TABLE_HELP)],
    *,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            metavar="E.npy|COLUMN",
            help="Embeddings of the prompts: a file, row by row, as numpy.save writes "
            "it, or a column of vectors.",
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            "--prices",
            metavar="PRICES.json",
            help="Price per call of every model, for a table without cost columns.",
        ),
    ] = None,
    token_price: Annotated[
        list[str] | None,
        typer.Option(
            "--token-price",
            metavar="MODEL=IN,OUT",
            help="Money per input and per output token of a model, such as "
            "gpt-4o=2.5e-6,1e-5, for a table that counts tokens; once for each model.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models", metavar="A,B", help="Models to read (columns, or names); all."
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            metavar="OLD=NEW",
            help="Another name for a model; several may become one. May be repeated.",
        ),
    ] = None,
    query: Annotated[
        str | None, _column("Long tables: the column that tells queries apart.")
    ] = None,
    model: Annotated[
        str | None, _column("Long tables: the column of the models' names.")
    ] = None,
    quality: Annotated[
        str | None, _column("Long tables: the column of the qualities.")
    ] = None,
    cost: Annotated[
        str | None, _column("Long tables: the column of the money per call.")
    ] = None,
    prompt: Annotated[str | None, _column("The column of the queries' texts.")] = None,
    duplicates: Annotated[
        Duplicates,
        typer.Option(
            "--duplicates",
            help="Where a model was called on a query more than once, or rows repeat "
            "a prompt.",
        ),
    ] = Duplicates.refuse,
) -> Table:
    """Collect the options of a table."""
    options = {
        "query": query,
        "model": model,
        "quality": quality,
        "cost": cost,
        "prompt": prompt,
        "models": split_names(models),
        "rename": dict(_split_option("--rename", text) for text in rename or ())
        or None,
        "duplicates": duplicates.value,
        "prices": prices,
        "token_prices": dict(map(_parse_token_price, token_price or ())) or None,
        "embeddings": embeddings,
    }
    return Table(table, options)


def _split_option(option: str, text: str) -> tuple[str, str]:
    """Split an option at its last equals sign; names may contain others."""
    old, equals, new = text.rpartition("=")
    if not equals or not old:
        raise ValueError(f"{option} must be NAME=VALUE; got {text!r}.")
    return old, new


def _parse_token_price(text: str) -> tuple[str, tuple[float, float]]:
    model, pair = _split_option("--token-price", text)
    try:
        inward, outward = map(float, pair.split(","))
    except ValueError:
        raise ValueError(
            "--token-price must be MODEL=IN,OUT, two prices per token such as "
            f"gpt-4o=2.5e-6,1e-5; got {text!r}."
        ) from None
    return model, (inward, outward)


SeedOption = Annotated[int, typer.Option("--seed", min=0, help="First random seed.")]
TestSizeOption = Annotated[
    float, typer.Option(help="Share of the queries that is tested on.")
]


def split_names(text: str | None) -> list[str] | None:
    """Split names at commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def take_queries(data: Bunch, seed: int) -> tuple[Any, Callable[[Any], Any] | None]:
    """Return embeddings, or prompts and what fits their encoder; print notes."""
    from skroute.evaluation.defaults import ON_TEXT, fit_encoder

    if data.data is None:
        console.output.print(ON_TEXT)
        return data.prompts, partial(fit_encoder, seed=seed)
    note_duplicates(data.data)
    return data.data, None


def note_duplicates(X: np.ndarray) -> None:
    """Print how many queries are duplicates, and how many share one embedding."""
    from skroute._table.duplicates import find_duplicates

    duplicates = find_duplicates(X)
    again = (~duplicates.counted).sum()
    if again:
        console.note(
            f"{again:,} of {len(X):,} queries have the embedding of an earlier one, or "
            "nearly. Duplicates of a prompt stay on one side of a split, and count as "
            "one."
        )
    in_blocks = duplicates.block
    if in_blocks.mean() >= _MANY_DUPLICATES:
        console.note(
            f"{in_blocks.sum():,} of {len(X):,} queries share their embedding with at "
            f"least {duplicates.count[in_blocks].min() - 1} others. Does the encoder "
            "truncate long prompts? No router can tell these queries apart; each "
            "counts by itself."
        )


def group_prompts(data: Bunch) -> np.ndarray | None:
    """Group equal prompts; a query without a prompt is its own group."""
    if data.prompts is None:
        return None
    from skroute._table.duplicates import number_equal

    return number_equal(prompt or row for row, prompt in enumerate(data.prompts))
