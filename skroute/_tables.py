"""What the commands that read a table share: their options, and looks at it.

Nothing here imports scikit-learn or pandas before a command runs: ``skroute --help`` is
to answer at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skroute import _console as console

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

__all__ = [
    "Duplicates",
    "DuplicatesOption",
    "EmbeddingsOption",
    "PricesOption",
    "SeedOption",
    "TableArgument",
    "TestSizeOption",
    "repeated_prompts",
    "warn_of_repeats",
]

# An encoder that cuts long prompts off gives all of some benchmark one embedding.
_MANY_REPEATS = 0.1


class Duplicates(StrEnum):
    """What to do with repeated calls."""

    refuse = "raise"
    mean = "mean"


_TABLE_HELP = (
    "Routing table (.csv, .parquet, .json, .jsonl, .pkl). Wide: prompt, a quality "
    "column per model, a <model>|total_cost column per model. Long: a row per call "
    "with query, model, quality, cost. RouteLLM's CSV and LLMRouter's JSON are read "
    "too."
)
TableArgument = Annotated[Path, typer.Argument(metavar="TABLE", help=_TABLE_HELP)]
EmbeddingsOption = Annotated[
    Path | None,
    typer.Option(
        "--embeddings",
        metavar="E.npy",
        help="Embeddings of the prompts, row by row, as numpy.save writes them.",
    ),
]
PricesOption = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        metavar="PRICES.json",
        help="Price per call of every model, for a table without cost columns.",
    ),
]
DuplicatesOption = Annotated[
    Duplicates,
    typer.Option(
        "--duplicates",
        help="For a long table, where a model was called on a query more than once.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="First random seed.")]
TestSizeOption = Annotated[
    float, typer.Option(help="Share of the queries that is tested on.")
]


def warn_of_repeats(X: np.ndarray) -> None:
    from skroute.folds import BLOCK, repeats

    repeated = repeats(X)[1] >= BLOCK
    if repeated.mean() >= _MANY_REPEATS:
        console.errors.print(
            f"note: {repeated.sum():,} of {len(X):,} queries share their embedding "
            "with at least 49 others. Does the encoder truncate long prompts? No "
            "router can tell these queries apart.",
            style="yellow",
        )


def repeated_prompts(data: Bunch) -> list[int] | None:
    """Group equal prompts; a query without a prompt is a group of its own."""
    if data.prompts is None:
        return None
    first: dict[str, int] = {}
    return [
        first.setdefault(prompt, row) if prompt else row
        for row, prompt in enumerate(data.prompts)
    ]
