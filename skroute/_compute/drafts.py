"""Fits beside readers: a fit works on a draft, and a reader on a snapshot.

A router that serves may be fitted again, and a decider updated, while other threads ask
it. What fits therefore works on a draft, a copy of the estimator, and what it learned
takes the place of the old state in a single step at the end. Readers get the old
answers until then, and keep them if the fit fails. What reads works on a snapshot, so
that no call mixes two states. Fits of one object wait for each other, so that no update
is lost; readers wait for nobody.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Self, TypeVar

from sklearn.base import BaseEstimator

from skroute._compute.locks import lock_of

__all__ = ["FitsOnDraft", "drafted", "snapshot"]

_FITS = ("fit", "fit_transform", "partial_fit")
_READS = (
    "add_model",
    "decision_function",
    "explain",
    "get_feature_names_out",
    "predict",
    "predict_cost",
    "predict_quality",
    "remove_model",
    "route",
    "score",
    "to_local",
    "transform",
)


_Estimator = TypeVar("_Estimator")


class FitsOnDraft:
    """Makes the methods of subclasses safe beside each other, also of third parties'.

    Methods that fit work on a draft, those that read on a snapshot. This is done by
    name when a subclass is made, as scikit-learn wraps `transform` for `set_output`, so
    that whoever writes a router need not think of threads.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        wrappers = dict.fromkeys(_FITS, _on_draft) | dict.fromkeys(_READS, _on_snapshot)
        for name, wrapper in wrappers.items():
            method = vars(cls).get(name)
            if inspect.isfunction(method):
                setattr(cls, name, wrapper(method))

    def _snapshot(self) -> Self:
        """Give what a method reads; to override where there is something to check."""
        return snapshot(self)


@contextmanager
def drafted(estimator: BaseEstimator) -> Iterator[Any]:
    """Change a copy of `estimator`; if that succeeds, the estimator becomes the copy.

    Parameters
    ----------
    estimator : estimator
        What is to be fitted. It is left as it was if the block fails or is interrupted.

    Yields
    ------
    estimator
        The draft to fit in its place.
    """
    with lock_of(estimator):
        before = dict(vars(estimator))
        draft = _copy(estimator, before)
        yield draft
        _swap_in(estimator, before, vars(draft))


def snapshot(estimator: _Estimator) -> _Estimator:
    """Copy an estimator, attribute by attribute, in a single step.

    Parameters
    ----------
    estimator : estimator
        What is read while other threads may fit it.

    Returns
    -------
    estimator
        One that nobody else knows, in the state of this moment.
    """
    return _copy(estimator, vars(estimator))


def _copy(estimator: _Estimator, state: dict[str, Any]) -> _Estimator:
    # copy.copy would ask for a state to pickle, which takes longer than to route.
    made = object.__new__(type(estimator))
    made.__dict__ = state.copy()
    return made


def _swap_in(estimator: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Change what a fit changed, and leave what others set in the meantime."""
    gone = before.keys() - after.keys()
    changed = {
        name: value
        for name, value in after.items()
        if name not in before or before[name] is not value
    }
    # Nothing of either runs code of Python in between, so no reader sees a half of it.
    if gone:
        kept = {k: v for k, v in vars(estimator).items() if k not in gone}
        estimator.__dict__ = kept | changed
    else:
        vars(estimator).update(changed)


def _on_draft(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def fit(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        with drafted(self) as draft:
            result = method(draft, *args, **kwargs)
        return self if result is draft else result

    return fit


def _on_snapshot(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def read(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return method(self._snapshot(), *args, **kwargs)

    return read
