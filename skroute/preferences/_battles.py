"""Battles that are checked: which query, which two models, who won."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from skroute._table.names import check_printable, check_rows, format_names
from skroute._table.numbers import read_numbers
from skroute._table.texts import is_missing

_COLUMNS = ("model_a", "model_b", "score")
_READ_BY = (
    "skroute.datasets.from_battles reads the columns of arenas (model_a, model_b, "
    "winner)"
)


class Battles(NamedTuple):
    """Battles between two models each, in arrays of shape (n_battles,).

    `row` is the row of the query in X, `first` and `second` are indices into `models`,
    and `score` is 1 where the first won, 0 where the second did, and 0.5 for a tie.
    """

    row: np.ndarray
    first: np.ndarray
    second: np.ndarray
    score: np.ndarray
    models: np.ndarray

    def select(self, kept: np.ndarray) -> Battles:
        """Take some of the battles."""
        return self._replace(
            row=self.row[kept],
            first=self.first[kept],
            second=self.second[kept],
            score=self.score[kept],
        )

    def count_by_model(self) -> np.ndarray:
        """Count the battles of each model, (n_models,)."""
        both = np.r_[self.first, self.second]
        return np.bincount(both, minlength=len(self.models))


def read_battles(battles: Any, X: Any, n_queries: int) -> Battles:
    """Check battles, and find the row of X that each of them is about.

    Battles without a score are left out. The models are sorted by name.
    """
    names = _list_columns(battles)
    absent = [name for name in _COLUMNS if name not in names]
    if absent:
        raise ValueError(
            "battles must have the columns model_a, model_b and score; "
            f"{format_names(absent)} of them {'is' if len(absent) == 1 else 'are'} "
            f"not there, it has {format_names(names)}. {_READ_BY}, and gives them as "
            "`battles`."
        )
    score = read_numbers(battles["score"], "battles['score']").ravel()
    if ((score < 0) | (score > 1)).any():
        bad = int(((score < 0) | (score > 1)).argmax())
        raise ValueError(
            "battles['score'] must lie in 0..1: 1 where model_a won, 0 where model_b "
            f"did, 0.5 for a tie; got {score[bad]:g} in row {bad}."
        )
    sides = [_read_models(battles[name], name, len(score)) for name in _COLUMNS[:2]]
    same = sides[0] == sides[1]
    if same.any():
        at = int(same.argmax())
        raise ValueError(
            f"battles must be between two models; in row {at} model_a and model_b are "
            f"both {sides[0][at]}. Drop these rows, {int(same.sum())} in all."
        )
    row = _find_rows(battles, names, X, n_queries, len(score))
    models, both = np.unique(np.r_[sides[0], sides[1]], return_inverse=True)
    first, second = np.split(both, 2)
    known = ~np.isnan(score)
    if not known.any():
        raise ValueError("battles has no battle with a score: all are NaN.")
    found = Battles(row, first, second, score, models.astype(object)).select(known)
    _check_connected(found)
    return found


def _list_columns(battles: Any) -> list[str]:
    if isinstance(battles, np.ndarray):
        return list(battles.dtype.names or ())
    if isinstance(battles, Mapping):
        return [str(name) for name in battles]
    if hasattr(battles, "columns"):
        return [str(name) for name in battles.columns]
    raise TypeError(
        "battles must be a DataFrame, a dict of columns or a structured array with "
        f"model_a, model_b and score; got {type(battles).__name__}. {_READ_BY}."
    )


def _read_models(values: Any, name: str, n_battles: int) -> np.ndarray:
    """Read the names of the models on one side."""
    cells = np.asarray(values, dtype=object)
    if cells.shape != (n_battles,):
        raise ValueError(
            f"battles[{name!r}] must have one model for each of the {n_battles} "
            f"scores; got shape {cells.shape}."
        )
    missing = [i for i, cell in enumerate(cells) if is_missing(cell)]
    if missing:
        raise ValueError(
            f"battles[{name!r}] must name a model in each row; row {missing[0]} is "
            "empty. Drop the row, or fill it."
        )
    names = cells.astype(str)
    check_printable(np.unique(names).tolist(), f"a model of battles[{name!r}]")
    return names


def _find_rows(
    battles: Any, names: list[str], X: Any, n_queries: int, n_battles: int
) -> np.ndarray:
    """Find the row of X of each battle: by position, or by the column ``query``."""
    if "query" not in names:
        if not isinstance(battles, np.ndarray):
            check_rows(X=X, battles=battles)
        if n_battles != n_queries:
            raise ValueError(
                "battles must have a row for each row of X, or a column query that "
                f"says which row each is about; got {n_battles} battles and "
                f"{n_queries} rows of X."
            )
        return np.arange(n_queries)
    cells = np.asarray(battles["query"])
    if cells.shape != (n_battles,):
        raise ValueError(
            f"battles['query'] must have one query for each of the {n_battles} "
            f"scores; got shape {cells.shape}."
        )
    index: Any = getattr(X, "index", None)
    labels = index.tolist() if hasattr(index, "equals") else list(range(n_queries))
    is_numbered = labels == list(range(n_queries))
    if cells.dtype.kind in "iu" and (
        is_numbered or all(isinstance(label, str) for label in labels)
    ):
        bad = (cells < 0) | (cells >= n_queries)
        if bad.any():
            raise ValueError(
                f"battles['query'] must be rows of X, 0..{n_queries - 1}; got "
                f"{cells[bad][0]} in row {int(bad.argmax())}."
            )
        return cells.astype(np.intp)
    return _match_labels(cells.tolist(), labels, is_numbered)


def _match_labels(cells: list[Any], labels: list[Any], is_numbered: bool) -> np.ndarray:
    """Find the rows of X that have these labels."""
    place = {label: i for i, label in enumerate(labels)}
    if len(place) < len(labels):
        raise ValueError(
            "battles['query'] names rows of X, but the row labels of X repeat: give "
            "each query a label of its own, or the position of its row as an integer, "
            "after X.reset_index(drop=True)."
        )
    absent = [cell for cell in cells if is_missing(cell) or cell not in place]
    if absent:
        has = "has no row labels" if is_numbered else f"has {format_names(labels, 3)}"
        raise ValueError(
            f"battles['query'] names {format_names(absent, 3)}, which "
            f"{'is' if len(absent) == 1 else 'are'} no row of X; X {has}. Give X as a "
            "DataFrame whose index names the queries, or the positions of its rows as "
            "integers."
        )
    return np.array([place[cell] for cell in cells], dtype=np.intp)


def _check_connected(battles: Battles) -> None:
    """Refuse models that never met, not even through others."""
    n_models = len(battles.models)
    links = coo_array(
        (
            np.ones(len(battles.first), dtype=bool),
            (battles.first.astype(np.int32), battles.second.astype(np.int32)),
        ),
        shape=(n_models, n_models),
    )
    n_parts, part = connected_components(links, directed=False)
    if n_parts == 1:
        return
    order = np.argsort(-np.bincount(part), kind="stable")
    listed = "; ".join(format_names(battles.models[part == p], 4) for p in order[:4])
    more = f"; and {n_parts - 4} more" if n_parts > 4 else ""
    raise ValueError(
        "battles must connect all models, so that each can be compared with each "
        f"through others; these {n_parts} groups never met: {listed}{more}. Add "
        "battles between them, or keep those of one group "
        "(from_battles(..., models=[...]))."
    )
