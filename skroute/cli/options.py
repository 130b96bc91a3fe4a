"""Options that commands share, as data, and notes about the content of a table.

Nothing here imports scikit-learn or pandas before a command runs, so that ``skroute
--help`` answers at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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

# Share of queries in blocks of duplicates that suggests a truncating encoder.
_MANY_DUPLICATES = 0.1
# Complete training queries from which something can be learned of checks.
_FEW_CHECKED = 50

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="First random seed.")]
# Not given, they are None: a log that has no use for them refuses what is given.
TestSizeOption = Annotated[
    float | None,
    typer.Option(help="Share of the queries that is tested on.", show_default="0.3"),
]
CheckCostOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Money per check of an answer, in the unit of the costs.",
        show_default="0.0",
    ),
]
TEST_SIZE = 0.3
JsonOption = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="OUT.json",
        help="Also write all numbers here; - is stdout, and the rest goes to stderr.",
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        help="Unit of the costs, such as EUR.",
        show_default="USD where the table tells the costs",
    ),
]

_BY_NAME = Parameter.KEYWORD_ONLY

Duplicates = StrEnum("Duplicates", {"refuse": "raise", "mean": "mean"})
OnInfeasible = StrEnum("OnInfeasible", {"refuse": "raise", "cheapest": "cheapest"})
Scope = StrEnum("Scope", ["mean", "query", "batch"])


@dataclass(frozen=True)
class Table:
    """File of a table, with the options of :func:`skroute.datasets.read_table`."""

    path: Path
    options: dict[str, Any]

    def read(self) -> Bunch:
        """Read the table, and say how many prompts repeat."""
        from skroute._table.costs import count_zeros
        from skroute._table.duplicates import count_duplicate_prompts
        from skroute._table.texts import count_missing_words
        from skroute.cli.files import read_data

        data = read_data(self.path, **self.options)
        n_again, said = count_duplicate_prompts(data.prompts), []
        if data.n_repeats:
            said.append(f"{data.n_repeats:,} rows were averaged with an earlier one")
        if n_again:
            n_queries = len(data.quality)
            said.append(f"{n_again:,} of {n_queries:,} queries repeat a prompt")
        if said:
            console.note(f"{'; '.join(said)}.")
        remark = note_empty(data.prompts)
        if remark and data.data is None:
            console.note(
                f"{remark} They are trained on as texts without a word: drop these "
                "rows if their prompts were lost."
            )
        per_query = data.costs.ndim > 1
        n_zero = count_zeros(data.costs) if per_query else 0
        if n_zero:
            console.note(
                f"{n_zero:,} calls of models whose other calls cost money cost 0: is "
                "that known, or was it not recorded? Leave a cost empty where it is "
                "not known."
            )
        n_blank = 0 if data.answers is None else count_missing_words(data.answers)
        if n_blank:
            console.note(
                f"{n_blank:,} answers are a word such as N/A, and count as answers, "
                "which agree with each other. Leave a cell empty where there was none."
            )
        return data


def _make_option(
    name: str, kind: Any, help_: str, metavar: str | None = None, default: Any = None
) -> Parameter:
    """Declare an option; keyword-only, so that required ones may follow it."""
    declared = Annotated[kind, typer.Option(metavar=metavar, help=help_)]
    return Parameter(name, _BY_NAME, default=default, annotation=declared)


def _make_column_option(name: str, help_: str) -> Parameter:
    return _make_option(name, str | None, f"{help_} Dots lead into objects.", "COLUMN")


_TABLE = Parameter(
    "table",
    _BY_NAME,
    annotation=Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="Routing table (.csv, .parquet, .json, .jsonl). Wide: prompt, a "
            "quality column per model, a <model>|total_cost column per model, and what "
            "is known of answers in <model>|check and <model>|answer. Long: a row per "
            "call with query, model, quality, cost, check, answer. RouteLLM's CSV and "
            "LLMRouter's JSON are read too. Where columns are called otherwise, name "
            "them by --query, --model, --quality and --cost.",
        ),
    ],
)
_TABLE_OPTIONS = [
    _make_option(
        "embeddings",
        str | None,
        "Embeddings of the prompts: a file, row by row, as numpy.save writes it, or a "
        "column of vectors.",
        "E.npy|COLUMN",
    ),
    _make_option(
        "prices",
        Path | None,
        "Price per call of every model, for a table without cost columns.",
        "PRICES.json",
    ),
    _make_option(
        "token_price",
        list[str] | None,
        "Money per input and per output token of a model, such as "
        "gpt-4o=2.5e-6,1e-5, for a table that counts tokens; once for each model.",
        "MODEL=IN,OUT",
    ),
    _make_option(
        "models", str | None, "Models to read (columns, or names); all.", "A,B"
    ),
    _make_option(
        "rename",
        list[str] | None,
        "Another name for a model; several may become one. May be repeated.",
        "OLD=NEW",
    ),
    _make_column_option("query", "Long tables: the column that tells queries apart."),
    _make_column_option("model", "Long tables: the column of the models' names."),
    _make_column_option("quality", "Long tables: the column of the qualities."),
    _make_column_option("cost", "Long tables: the column of the money per call."),
    _make_column_option("propensity", "Logs: the column of the chance of each call."),
    _make_column_option("prompt", "The column of the queries' texts."),
    _make_option(
        "duplicates",
        Duplicates,
        "Where a model was called on a query more than once: an error (raise), or the "
        "mean of its outcomes. Rows of wide tables that repeat a prompt stay separate "
        "queries by default, which splits keep together; mean makes them one.",
        default=Duplicates.refuse,
    ),
]
_RULE_OPTIONS = [
    _make_option("budget", float | None, "Money; --scope says what it limits."),
    _make_option(
        "scope",
        Scope | None,
        "mean (the default): average per query over the traffic; query: cap for each "
        "one; batch: total of this call.",
    ),
    _make_option(
        "min_quality",
        str | None,
        "Mean quality to reach at the least cost: a number, or a share of the best "
        "single model's such as 95%.",
    ),
    _make_option(
        "price", float | None, "Shadow price: quality that one unit of money is worth."
    ),
    _make_option(
        "tolerance", float | None, "Quality that may be given up for a cheaper model."
    ),
    _make_option(
        "on_infeasible",
        OnInfeasible | None,
        "Where nothing fits the budget: an error (raise, the default), or the cheapest "
        "model.",
    ),
    _make_option(
        "confidence",
        float | None,
        "Promise --min-quality or the mean --budget with this confidence, such as "
        "0.95, instead of meeting it on the training queries.",
    ),
]


def _replace_argument(
    argument: str, parameters: Sequence[Parameter], make: Callable[..., Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace an argument of a command by options, from which it is made."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            asked = {option.name: given.pop(option.name) for option in parameters}
            command(**{argument: make(**asked)}, **given)

        merged: list[Parameter] = []
        for parameter in signature(command, eval_str=True).parameters.values():
            replaced = parameter.replace(kind=_BY_NAME)
            merged += parameters if parameter.name == argument else [replaced]
        run.__signature__ = Signature(merged)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in merged}
        return run

    return decorate


def _make_table(
    table: Path,
    models: str | None,
    rename: list[str] | None,
    token_price: list[str] | None,
    duplicates: StrEnum,
    **options: Any,
) -> Table:
    renamed = dict(_split_option("--rename", text) for text in rename or ())
    prices = dict(map(_parse_token_price, token_price or ()))
    options |= {
        "models": split_names(models),
        "rename": renamed or None,
        "token_prices": prices or None,
        "duplicates": duplicates.value,
    }
    return Table(table, options)


def _make_rule(min_quality: str | None, **options: Any) -> dict[str, Any]:
    """Collect what was given, by the names of ``BaseRouter.route``."""
    options["min_quality"] = _parse_quality(min_quality)
    return {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in options.items()
        if value is not None
    }


with_table = _replace_argument("table", [_TABLE, *_TABLE_OPTIONS], _make_table)
with_rule = _replace_argument("rule", _RULE_OPTIONS, _make_rule)


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


def _parse_quality(value: str | None) -> float | str | None:
    if value is None or value.endswith("%"):
        return value
    try:
        return float(value)
    except ValueError:
        raise ValueError(
            f"--min-quality must be a number or a percentage; got {value!r}."
        ) from None


def parse_parameter(text: str) -> tuple[str, Any]:
    """Split a parameter at its first equals sign; JSON is read, the rest is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--param must be NAME=VALUE; got {text!r}.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def split_names(text: str | None) -> list[str] | None:
    """Split names at commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def take_queries(data: Bunch, seed: int) -> tuple[Any, Callable[[Any], Any] | None]:
    """Return embeddings, or prompts and what fits their encoder; print notes."""
    from skroute.cli.files import join_queries
    from skroute.evaluation.defaults import ON_BOTH, ON_TEXT, fit_encoder

    if data.data is not None:
        note_duplicates(data.data)
    X, reads_prompts = join_queries(data)
    if not reads_prompts:
        return X, None
    console.output.print(ON_TEXT if data.data is None else ON_BOTH)
    return X, partial(fit_encoder, seed=seed)


def judge_worth(
    data: Bunch,
    queries: Any,
    seed: int,
    encoder: Callable[[Any], Any] | None,
    groups: Any,
) -> Any:
    """Tell by `routability` whether routing is worth it on a table."""
    from skroute.cli.files import name_quality
    from skroute.evaluation import routability

    with console.show_progress("Is it worth it?") as progress:
        return routability(
            queries,
            name_quality(data),
            data.costs,
            tasks=data.task,
            encoder=encoder,
            groups=groups,
            random_state=seed,
            progress=lambda done, total: progress("fold", done - 1, total),
        )


def note_empty(prompts: Sequence[str | None] | None) -> str | None:
    """Say how many prompts have no text, ``None`` where all have."""
    if prompts is None:
        return None
    empty = sum(not (prompt or "").strip() for prompt in prompts)
    return f"{empty:,} of {len(prompts):,} prompts are empty." if empty else None


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


def has_checks(data: Bunch, n_complete: float, check_cost: float | None = None) -> bool:
    """Whether a table has checks or answers, and enough complete training queries."""
    if data.checks is None and data.answers is None:
        if check_cost is not None:
            raise ValueError(
                "--check-cost is the money per check, and the table has no checks "
                "(columns <model>|check or <model>|answer; check and answer in a long "
                "table): leave it out."
            )
        return False
    if n_complete < _FEW_CHECKED:
        console.note(
            "checks and answers are left out: nothing can be learned of them from so "
            "few complete queries."
        )
        return False
    return True


def group_prompts(data: Bunch) -> np.ndarray | None:
    """Group equal prompts, and nearly equal embeddings beside prompts.

    A query without a prompt is its own group, but for its embedding.
    """
    if data.prompts is None:
        return None
    from skroute._table.duplicates import find_duplicates, number_equal

    groups = number_equal(prompt or row for row, prompt in enumerate(data.prompts))
    if data.data is None:
        return groups
    # A comparison that reads prompts finds equal rows only.
    return find_duplicates(data.data, groups).number_units()
