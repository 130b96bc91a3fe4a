"""Wide routing tables: a row for each query, a column for each model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, Literal

import numpy as np
from sklearn.utils import Bunch

from skroute._table.duplicates import number_equal
from skroute._table.names import format_names
from skroute._table.texts import check_model_names, write_whole
from skroute.datasets._bunch import (
    average_by_pair,
    describe_columns,
    is_missing,
    make_bunch,
    refuse_negative_costs,
    to_numbers,
    to_texts,
)
from skroute.datasets._formats import MAX_BYTES, open_table
from skroute.datasets._in_memory import Columns, is_nested
from skroute.datasets._nested import take_values
from skroute.datasets._options import ReadOptions
from skroute.datasets._schemas import (
    COST_COLUMNS,
    COST_ENDING,
    COST_ENDINGS,
    ID_COLUMNS,
    PROMPT_COLUMNS,
    TASK_COLUMNS,
    TEXT_COLUMNS,
    find_first,
    is_dropped,
    is_known_side,
    normalize,
)
from skroute.datasets._tokens import TOKEN_ENDINGS, wide_token_costs
from skroute.datasets._vectors import read_embeddings

__all__ = ["from_wide", "make_wide_bunch"]

_HINT = (
    "Delete the column, or name those of the models: models=[...]. If rows are calls, "
    "name the columns of these: query=, model=, quality=."
)
# Files that are published beside a table, with the same columns.
_SIDE_FILE = re.compile(r"_(answers?|latency|checks?)(_m?s)?\.")


def from_wide(
    table: Any,
    *,
    models: Sequence[str] | None = None,
    prompt: str | None = None,
    task: str | None = None,
    rename: Mapping[str, str] | None = None,
    duplicates: Literal["raise", "mean"] = "raise",
    prices: Mapping[str, float] | str | os.PathLike[str] | None = None,
    token_prices: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Any = None,
    max_bytes: int = MAX_BYTES,
) -> Bunch:
    """Read a table with a row for each query and a column for each model.

    Columns are RouterBench's: one of a model's name holds the quality, one called
    ``<model>|total_cost`` (or ``<model>|cost``, ``<model>_cost``) the money that the
    call cost. RouteLLM's tables, without costs and with answers in
    ``<model>_response``, and LLMRouter's records of a ``question`` and ``scores`` by
    model are read too.

    Parameters
    ----------
    table : pandas or polars DataFrame, dict of columns, list of records, or path
        The table, or a file that :func:`read_table` reads. The index of a DataFrame is
        ignored.
    models : sequence of str, default=None
        Columns that hold the quality of a model, as they are called after `rename`;
        all others, but for their costs, are then ignored. By default every column
        that is not text, a cost or an answer, nor stands beside a model's as
        ``<model>|<anything>``. Where there are costs, columns of text and columns that
        are called as in logs (tokens, times, ids) are left out too; where there are
        none, the latter and empty columns are refused.
    prompt, task : str, default=None
        As in :func:`from_long`.
    rename : mapping from str to str, default=None
        As in :func:`read_table`.
    duplicates : {"raise", "mean"}, default="raise"
        With ``"mean"``, rows of one prompt (of chats, of the same messages; without
        prompts, of one name of the query) become one, with the means of the known
        qualities and of the known costs, and so do models that `rename` makes one.
        With ``"raise"`` rows are kept as they are, and such models are refused if both
        were run on a query.
    prices : mapping from model name to price, or path, default=None
        As in :func:`read_table`.
    token_prices : mapping from model name to (float, float), or path of a JSON file \
            with one, default=None
        Money per input token and per output token; see :func:`from_long`. Costs are
        then computed from columns ``<model>|prompt_tokens`` and
        ``<model>|completion_tokens`` (or ``|input_tokens`` and ``|output_tokens``).
    embeddings : str, array-like of shape (n_rows, n_features) or path of a .npy file, \
            default=None
        Embeddings of the prompts: a column of vectors (lists, arrays, or JSON of
        them), or an array, row by row. A DataFrame is matched by label where its index
        holds the index of `table`, or the names of its queries, as texts, each once.
        float16 becomes float32.
    max_bytes : int, default=2**30
        Largest size of the table, as a file, unpacked, and in memory.

    Returns
    -------
    Bunch
        As :func:`read_routerbench` gives it.

    Raises
    ------
    TypeError
        If `table` is nothing of the above.
    ValueError
        If the table, the prices or the embeddings are not as described; names the
        column or the argument.

    See Also
    --------
    from_long : For a table with a row for each call.
    read_table : For a file, whichever of these layouts it has.

    Examples
    --------
    >>> from skroute.datasets import from_wide
    >>> table = from_wide(
    ...     {
    ...         "prompt": ["What is 2 + 2?", "Prove it."],
    ...         "small": [True, False],
    ...         "large": [True, None],
    ...     },
    ...     prices={"small": 0.1, "large": 3.0},
    ... )
    >>> table.quality
    array([[ 1.,  1.],
           [ 0., nan]])
    >>> table.costs
    array([0.1, 3. ])
    """
    options = ReadOptions(
        models, rename, duplicates, prices, token_prices, embeddings, max_bytes
    )
    source, columns = open_table(table, (prompt, task), max_bytes)
    labels = table.index.tolist() if hasattr(table, "iloc") else None
    return make_wide_bunch(
        columns, source, options, prompt=prompt, task=task, labels=labels
    )


def make_wide_bunch(
    columns: Columns,
    source: str,
    options: ReadOptions,
    *,
    prompt: str | None = None,
    task: str | None = None,
    labels: list[Any] | None = None,
) -> Bunch:
    """Turn the columns of a wide table into a Bunch; see :func:`from_wide`.

    `labels` are the index of a DataFrame, by which embeddings may be matched.
    """
    return _WideTable(columns, source, options, prompt, task).to_bunch(labels)


class _WideTable:
    """Columns of a wide table by what they hold; `source` is how errors call it.

    `names` are the columns of qualities, `renamed` the models that these belong to, and
    `priced` the columns of costs by the names of the former.
    """

    def __init__(
        self,
        columns: Columns,
        source: str,
        options: ReadOptions,
        prompt: str | None,
        task: str | None,
    ) -> None:
        self.source, self.options = source, options
        self.found = found = dict(columns)
        self.has = describe_columns(columns)
        if not columns or len(columns[0][1]) == 0:
            raise ValueError(f"{source} has no rows; a routing table needs queries.")
        for argument, name in (("prompt", prompt), ("task", task)):
            if name is not None:
                found[name] = take_values(found, name, argument, source, self.has)
        self.prompt = prompt or find_first(PROMPT_COLUMNS, found)
        self.task = task or find_first(TASK_COLUMNS, found)
        self.identity = find_first(ID_COLUMNS, found)
        if self.prompt is None and _SIDE_FILE.search(source):
            raise ValueError(
                f"{source} has no prompts, and its name says that it holds answers, "
                "times or checks of models, not their quality. Read the table that it "
                "belongs to; if it does hold qualities, give the file another name."
            )
        self.priced = self._find_costs()
        self.names, self.renamed = self._find_models()

    def to_bunch(self, labels: list[Any] | None) -> Bunch:
        """Read what the columns hold, and merge rows and models."""
        found, options = self.found, self.options
        quality = np.column_stack([self._read_numbers(name) for name in self.names])
        costs, cost_column = self._read_costs()
        prompts = to_texts(found[self.prompt]) if self.prompt else None
        queries = to_texts(found[self.identity]) if self.identity else None
        keys = to_texts(found[self.prompt], write_whole) if self.prompt else queries
        merge = _Merge.from_names(self.renamed, keys, len(quality), options)
        self._check_overlap(merge, quality)
        used = {self.prompt, self.task, self.identity, options.embeddings_column}
        used |= {*self.names, *self.priced.values()}
        return make_bunch(
            source=self.source,
            quality=merge.average(quality),
            costs=None if costs is None else merge.average(costs),
            cost_column=cost_column,
            models=merge.models,
            queries=merge.take_first(queries),
            prompts=merge.take_first(prompts),
            task=merge.take_first(to_texts(found[self.task])) if self.task else None,
            prices=options.prices,
            data=read_embeddings(
                *(options.embeddings, found, merge.row, merge.n_rows, self.source),
                by_row=True,
                labels=_label_rows(options.embeddings, labels, queries),
            ),
            n_repeats=len(merge.row) - merge.n_rows,
            left_out=[
                name
                for name in found
                if name not in used and not name.endswith(TOKEN_ENDINGS)
            ],
        )

    def _find_costs(self) -> dict[str, str]:
        """Find the column of the costs of each model, by the name of the model.

        The first way of writing them that the table has is that of all. The shorter
        ones need a column of the model's quality beside them.
        """
        found, options = self.found, self.options
        models = {*map(str, options.models or ()), *map(str, options.rename or ())}
        for ending in COST_ENDINGS:
            priced = {
                name.removesuffix(ending): name
                for name in found
                if name.endswith(ending)
                and normalize(name) not in COST_COLUMNS
                and name not in models
            }
            if ending != COST_ENDING:
                priced = {
                    model: name
                    for model, name in priced.items()
                    if model in found and not self._is_text(model)
                }
            if priced:
                return priced
        return {}

    def _is_text(self, name: str) -> bool:
        return name in (self.prompt, self.task) or normalize(name) in TEXT_COLUMNS

    def _find_models(self) -> tuple[list[str], list[str]]:
        """Find the columns of the models' qualities, with the models' new names."""
        options = self.options
        if options.models is None:
            names = self._guess_models()
        else:
            costs = set(self.priced.values())
            names = [n for n in self.found if COST_ENDING not in n and n not in costs]
        renamed = options.rename_models(names, self.source)
        options.check_all_there(renamed, self.source, self.has)
        order = {name: i for i, name in enumerate(map(str, options.models or ()))}
        kept = [i for i, name in enumerate(renamed) if options.is_read(name)]
        kept.sort(key=lambda i: order.get(renamed[i], 0))
        names, renamed = [names[i] for i in kept], [renamed[i] for i in kept]
        check_model_names(renamed, self.source)
        return names, renamed

    def _guess_models(self) -> list[str]:
        """Tell the columns of models from those that only stand beside them."""
        found, priced = self.found, self.priced
        others = {self.options.embeddings_column, *priced.values()}
        names = [
            name
            for name, values in found.items()
            if name in priced
            or not (
                name in others
                or self._is_text(name)
                or name.rpartition("|")[0] in found
                or is_dropped(name, found)
                or is_nested(values)
            )
        ]
        if priced:
            # Cost columns already name the models, so other columns need not be models.
            names = [
                name
                for name in names
                if name in priced
                or (_may_be_quality(found[name]) and not is_known_side(name))
            ]
        else:
            self._refuse_side_columns(names)
        if not names:
            raise ValueError(
                f"{self.source} has no quality column; each model needs a column of "
                f"its name. It has {self.has}."
            )
        return names

    def _refuse_side_columns(self, names: list[str]) -> None:
        """Refuse columns that would become models, though logs have others so named."""
        found = self.found
        if {"model_a", "model_b", "winner"} <= set(map(normalize, found)):
            raise ValueError(
                f"{self.source} holds votes between two models (model_a, model_b, "
                "winner), not the quality of each. Turn them into qualities first."
            )
        side = [
            name
            for name in names
            if is_known_side(name) or all(map(is_missing, found[name].tolist()))
        ]
        if side:
            models = [n for n in names if n not in side and _may_be_quality(found[n])]
            raise ValueError(
                f"{self.source} has columns that are no model's quality, by their "
                f"names or as they are empty: {format_names(side)}. Delete them, or "
                f"name those of the models: "
                f"models=[{', '.join([*map(repr, models[:3]), '...'])}]."
            )

    def _read_numbers(self, name: str) -> np.ndarray:
        return to_numbers(name, self.found[name], _HINT)

    def _read_costs(self) -> tuple[np.ndarray | None, str | None]:
        """Read the costs of the models, or compute them from tokens; and one column."""
        names, priced, options = self.names, self.priced, self.options
        if options.token_prices is not None:
            prices = options.token_prices
            return (
                wide_token_costs(self.found, names, self.renamed, prices, self.source),
                None,
            )
        measured = {m: self._read_numbers(name) for m, name in priced.items()}
        if not measured:
            return None, None
        ghost = min(set(measured) - set(names), default=None)
        if options.models is None and ghost is not None:
            raise ValueError(
                f"column {priced[ghost]!r} is the cost of a model without a "
                f"quality column; add a column {ghost!r}, or delete this one."
            )
        for name in names:
            if name not in measured:
                raise ValueError(
                    f"column {name!r} has no '{name}{COST_ENDING}' beside it, as other "
                    "models do. Delete it if it is not a model's quality, or name "
                    "those of the models: models=[...]; if its costs are unknown, add "
                    "the column and leave it empty."
                )
            refuse_negative_costs(priced[name], measured[name])
        return np.column_stack([measured[n] for n in names]), priced[names[0]]

    def _check_overlap(self, merge: _Merge, quality: np.ndarray) -> None:
        """Refuse models that `rename` makes one, if both were run on a query."""
        if self.options.duplicates == "mean":
            return
        for model in range(len(merge.models)):
            merged = np.flatnonzero(merge.column == model)
            twice = (~np.isnan(quality[:, merged])).sum(axis=1) > 1
            if twice.any():
                raise ValueError(
                    f"rename makes {format_names(self.names[i] for i in merged)} one "
                    f"model, but row {int(twice.argmax())} has more than one of them. "
                    "Take means by duplicates='mean'."
                )


def _label_rows(
    embeddings: Any, labels: list[Any] | None, queries: np.ndarray | None
) -> list[Any] | None:
    """Choose what rows are called: the index of the table, or else its queries."""
    index: Any = getattr(embeddings, "index", None)
    known = set(index.tolist()) if hasattr(index, "tolist") else set()
    if labels is not None and known.intersection(labels):
        return labels
    return labels if queries is None else queries.tolist()


def _may_be_quality(values: np.ndarray) -> bool:
    """Tell whether a column holds numbers, some of them at least."""
    if values.dtype != object:
        return True
    known = [cell for cell in values.tolist() if not is_missing(cell)]
    return bool(known) and all(isinstance(c, Real | Decimal | np.bool_) for c in known)


@dataclass(frozen=True)
class _Merge:
    """The query of each row (n_rows,), and the model of each column (n_columns,)."""

    row: np.ndarray
    column: np.ndarray
    n_rows: int
    models: list[str]

    @classmethod
    def from_names(
        cls,
        renamed: list[str],
        keys: np.ndarray | None,
        n_rows: int,
        options: ReadOptions,
    ) -> _Merge:
        """Merge models of one name and, on demand, rows of one key."""
        models = list(dict.fromkeys(renamed))
        column = np.array([models.index(name) for name in renamed])
        if options.duplicates == "raise" or keys is None:
            return cls(np.arange(n_rows), column, n_rows, models)
        # A row without a prompt counts as a separate query.
        row = number_equal(key or i for i, key in enumerate(keys))
        return cls(row, column, int(row.max()) + 1, models)

    def average(self, table: np.ndarray) -> np.ndarray:
        """Take the means of the known outcomes of each query and model."""
        if self.n_rows == len(self.row) and len(self.models) == len(self.column):
            return table
        pair = self.row[:, None] * len(self.models) + self.column
        shape = (self.n_rows, len(self.models))
        return average_by_pair(pair.ravel(), table.ravel(), shape)

    def take_first(self, values: np.ndarray | None) -> np.ndarray | None:
        """Take the first value of each query."""
        if values is None:
            return None
        return values[np.unique(self.row, return_index=True)[1]]
