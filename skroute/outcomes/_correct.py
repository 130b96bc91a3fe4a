"""Correction of a judge's scores by gold on some of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skroute._table.names import (
    check_rows,
    format_names,
    make_default_names,
    model_names,
    reorder_columns,
)
from skroute._table.numbers import LARGEST_OUTCOME, check_magnitude
from skroute._table.tables import check_quality

# With fewer rows, the standard error of a mean is a third of the spread or more.
_FEWEST = 10


@dataclass(frozen=True)
class CorrectionSummary:
    """What gold told about a judge, for each model.

    Attributes
    ----------
    models : ndarray of str of shape (n_models,)
        Names of the models, in the order of the columns of the judge's scores.
    n_gold : ndarray of int of shape (n_models,)
        Rows on which both the judge's score and gold are known.
    slope : ndarray of shape (n_models,)
        How much gold rises with the judge's score: 1 for a judge on the scale of gold,
        0 for one that tells nothing.
    judge_mean : ndarray of shape (n_models,)
        Mean of the judge's scores.
    gold_mean, gold_error : ndarray of shape (n_models,)
        Mean of gold alone, and its standard error.
    mean, error : ndarray of shape (n_models,)
        Mean of the corrected qualities, and its standard error as an estimate of the
        mean quality on all queries of this kind.
    """

    models: np.ndarray
    n_gold: np.ndarray
    slope: np.ndarray
    judge_mean: np.ndarray
    gold_mean: np.ndarray
    gold_error: np.ndarray
    mean: np.ndarray
    error: np.ndarray

    def __str__(self) -> str:
        """Write a line for each model."""
        width = max(len("model"), *(len(str(model)) for model in self.models))
        lines = [
            f"{'model':{width}}  judge  gold rows  gold alone      corrected      slope"
        ]
        for i, model in enumerate(self.models):
            lines.append(
                f"{model!s:{width}}  {self.judge_mean[i]:5.3f}  {self.n_gold[i]:9d}  "
                f"{self.gold_mean[i]:5.3f} +- {self.gold_error[i]:5.3f}  "
                f"{self.mean[i]:5.3f} +- {self.error[i]:5.3f}  {self.slope[i]:5.2f}"
            )
        return "\n".join(lines)


class _Lines(NamedTuple):
    """A line for each model, `gold_mean + slope * (judge - judge_mean)`, (n_models,).

    The means are those of the rows with gold, and `spread` is the standard deviation of
    gold around the line.
    """

    slope: np.ndarray
    judge_mean: np.ndarray
    gold_mean: np.ndarray
    spread: np.ndarray

    def predict(self, judge: np.ndarray) -> np.ndarray:
        lines: np.ndarray = self.gold_mean + self.slope * (judge - self.judge_mean)
        return lines


def correct(judge: Any, gold: Any, *, return_summary: bool = False) -> Any:
    """Correct a judge's scores by gold that is known on some of the rows.

    A judge scores all answers, but it errs: it likes some models, or long answers, and
    its scale is its own. Gold, such as the labels of a person or of tests, is known on
    some rows. Where gold is known it stands; elsewhere the judge's score is replaced by
    the gold that is expected at this score, on a line for each model.

    The mean of each model is then that of prediction-powered inference [1]_ at its best
    weight [2]_: unbiased whatever the judge does, and at most as uncertain as the mean
    of gold alone. This needs rows with gold that were drawn at random. The order of the
    rows within a model is that of the judge. Slopes of the models are drawn to their
    common slope as far as the noise of each explains that they differ [3]_.

    Parameters
    ----------
    judge : array-like of shape (n_queries, n_models)
        Scores of the judge, in any unit; ``NaN`` where unknown. Columns of a DataFrame
        name the models.
    gold : array-like of shape (n_queries, n_models)
        Qualities, ``NaN`` where unknown; at least 10 of each model beside a score. A
        DataFrame is matched by the names of its columns.
    return_summary : bool, default=False
        Whether to return also what the correction knows about each model.

    Returns
    -------
    qualities : ndarray or DataFrame of shape (n_queries, n_models)
        In the unit of `gold`, and as `judge` in its type and in its names. ``NaN``
        where neither is known.
    summary : CorrectionSummary
        Only with `return_summary`: means and standard errors of each model, by gold
        alone and as corrected.

    Raises
    ------
    ValueError
        If an argument is not as described, or a model has too few rows with gold.

    References
    ----------
    .. [1] A. N. Angelopoulos et al., "Prediction-Powered Inference", Science 382, 2023,
       arXiv:2301.09633.
    .. [2] A. N. Angelopoulos, J. C. Duchi and T. Zrnic, "PPI++: Efficient
       Prediction-Powered Inference", arXiv:2311.01453, 2023.
    .. [3] R. DerSimonian and N. Laird, "Meta-analysis in clinical trials", Controlled
       Clinical Trials 7, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> from skroute.outcomes import correct
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(size=(1000, 2))
    >>> judge = 0.5 * truth + [0.4, 0.0]  # it likes the first model
    >>> gold = np.where(np.arange(1000)[:, None] < 100, truth, np.nan)
    >>> qualities = correct(judge, gold)
    >>> bool(np.allclose(qualities, truth))
    True
    """
    check_rows(judge=judge, gold=gold)
    own, named = model_names(judge, "judge"), model_names(gold, "gold")
    scores, truth = check_quality(judge, "judge"), check_quality(gold, "gold")
    if scores.shape != truth.shape:
        raise ValueError(
            "gold must have the shape of judge, with NaN where it is not known, "
            f"{scores.shape}; got {truth.shape}."
        )
    check_magnitude(scores, "judge", LARGEST_OUTCOME)
    check_magnitude(truth, "gold", LARGEST_OUTCOME)
    truth = reorder_columns(truth, named, own, "gold")
    models = own if own is not None else named
    models = make_default_names(scores.shape[1]) if models is None else models
    both = np.isfinite(scores) & np.isfinite(truth)
    _check_enough(both, models)
    lines = _fit_lines(scores, truth, both)
    expected = lines.predict(scores)
    qualities = np.where(np.isfinite(truth), truth, expected)
    table = _name_as(judge, qualities)
    if not return_summary:
        return table
    return table, _summarize(models, scores, truth, both, lines, qualities)


def _check_enough(both: np.ndarray, models: np.ndarray) -> None:
    count = both.sum(axis=0)
    few = np.flatnonzero(count < _FEWEST)
    if len(few):
        listed = format_names([f"{models[m]} ({count[m]})" for m in few])
        raise ValueError(
            f"gold must be known on at least {_FEWEST} rows of each model that the "
            f"judge scored too; it is on fewer of {listed}. Label more of their "
            "answers, drawn at random, or drop these models."
        )


def _fit_lines(scores: np.ndarray, truth: np.ndarray, both: np.ndarray) -> _Lines:
    """Fit a line to the rows with gold of each model, with slopes that are shared."""
    count = both.sum(axis=0)
    judge_mean = np.where(both, scores, 0.0).sum(axis=0) / count
    gold_mean = np.where(both, truth, 0.0).sum(axis=0) / count
    x = np.where(both, scores - judge_mean, 0.0)
    y = np.where(both, truth - gold_mean, 0.0)
    square, product = (x**2).sum(axis=0), (x * y).sum(axis=0)
    # Scores that do not vary tell nothing: their slope is never used.
    varied = square > np.finfo(np.float64).eps * count * np.abs(judge_mean) ** 2
    slope = np.divide(product, square, out=np.zeros(len(square)), where=varied)
    noise = ((y - slope * x) ** 2).sum(axis=0) / (count - 2)
    if varied.sum() > 1:
        variance = noise[varied] / square[varied]
        slope[varied] = _share(slope[varied], variance)
    spread = np.sqrt(((y - slope * x) ** 2).sum(axis=0) / (count - 2))
    return _Lines(slope, judge_mean, gold_mean, spread)


def _share(values: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Draw estimates to their common mean as far as their variances explain."""
    # A judge that is right in all rows of a model has a variance of 0.
    variance = np.maximum(variance, 1e-12 * max(1.0, float(variance.max())))
    mass = 1.0 / variance
    common = (mass * values).sum() / mass.sum()
    excess = (mass * (values - common) ** 2).sum() - (len(values) - 1)
    between = max(0.0, excess / (mass.sum() - (mass**2).sum() / mass.sum()))
    # The mean of values that differ beyond their noise.
    mass = 1.0 / (variance + between)
    common = (mass * values).sum() / mass.sum()
    shared: np.ndarray = common + between / (between + variance) * (values - common)
    return shared


def _summarize(
    models: np.ndarray,
    scores: np.ndarray,
    truth: np.ndarray,
    both: np.ndarray,
    lines: _Lines,
    qualities: np.ndarray,
) -> CorrectionSummary:
    count = both.sum(axis=0)
    n_scored = np.isfinite(scores).sum(axis=0)
    of_lines = np.nanvar(lines.predict(scores), axis=0) / n_scored
    known = np.isfinite(truth)
    return CorrectionSummary(
        models=models,
        n_gold=count,
        slope=lines.slope,
        judge_mean=np.nanmean(scores, axis=0),
        gold_mean=np.nanmean(truth, axis=0),
        gold_error=np.nanstd(truth, axis=0, ddof=1) / np.sqrt(known.sum(axis=0)),
        mean=np.nanmean(qualities, axis=0),
        error=np.sqrt(lines.spread**2 / count + of_lines),
    )


def _name_as(judge: Any, qualities: np.ndarray) -> Any:
    """Give a table the type and the names of the judge's."""
    if hasattr(judge, "iloc") and hasattr(judge, "columns"):
        return type(judge)(qualities, index=judge.index, columns=judge.columns)
    if hasattr(judge, "get_columns"):
        named = zip(judge.columns, qualities.T, strict=True)
        return type(judge)({name: column.copy() for name, column in named})
    return qualities
