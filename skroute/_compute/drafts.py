"""Fits beside readers: a fit works on a draft, and a reader on a snapshot.

A router that serves may be fitted again, and a decider updated, while other threads ask
it. A fit therefore works on a draft, a copy of the estimator, which takes the place of
the old state in a single step at the end. Readers get the old answers until then, and
keep them if the fit fails; they work on a snapshot, so that no call mixes two states.
Fits of one object wait for each other, so that no update is lost; readers never wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Self, TypeVar

from sklearn.base import BaseEstimator

from skroute._compute.locks import get_lock

_FITS = ("continue_stream", "fit", "fit_transform", "partial_fit", "update")
_READS = (
    "add_model",
    "answer",
    "decision_function",
    "embed",
    "explain",
    "get_feature_names_out",
    "guarantee",
    "next",
    "predict",
    "predict_cost",
    "predict_quality",
    "probes",
    "remove_model",
    "replay",
    "route",
    "score",
    "to_local",
    "transform",
    "with_prices",
)

_Estimator = TypeVar("_Estimator")


class FitsOnDraft:
    """Makes methods of subclasses safe beside each other.

    Methods are wrapped by name when a subclass is made, as scikit-learn wraps
    `transform` for `set_output`, so that third parties need not think of threads.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Only methods that this class defines: inherited ones are wrapped already.
        wrappers = dict.fromkeys(_FITS, _wrap_fit) | dict.fromkeys(_READS, _wrap_read)
        for name, wrapper in wrappers.items():
            method = vars(cls).get(name)
            if inspect.isfunction(method):
                setattr(cls, name, wrapper(method))

    def _snapshot(self) -> Self:
        """Copy what a method reads; override it if there is something to check."""
        return snapshot(self)


@contextmanager
def open_draft(estimator: BaseEstimator) -> Iterator[Any]:
    """Yield a draft of `estimator` to change, which takes its place if that succeeds.

    The estimator is left as it was if the block fails or is interrupted.
    """
    with get_lock(estimator):
        draft = snapshot(estimator)
        before = dict(vars(draft))
        yield draft
        _swap_in(estimator, before, vars(draft))


def snapshot(estimator: _Estimator) -> _Estimator:
    """Copy the state of this moment while other threads may fit the estimator."""
    # copy.copy would ask for a state to pickle, which takes longer than to route.
    made = object.__new__(type(estimator))
    made.__dict__ = vars(estimator).copy()
    return made


def _swap_in(estimator: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Change what a fit changed, and keep what others set in the meantime."""
    # Attributes that the fit deleted.
    gone = before.keys() - after.keys()
    changed = {
        name: value
        for name, value in after.items()
        if name not in before or before[name] is not value
    }
    # Both are one step of the interpreter, so no reader sees a half of the change.
    if gone:
        kept = {k: v for k, v in vars(estimator).items() if k not in gone}
        estimator.__dict__ = kept | changed
    else:
        vars(estimator).update(changed)


def _wrap_fit(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def fit(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        # As `open_draft`, whose generator takes as long as the rest of it.
        with get_lock(self):
            draft = snapshot(self)
            before = vars(draft).copy()
            result = method(draft, *args, **kwargs)
            _swap_in(self, before, vars(draft))
        # `fit` returns self, which is the draft here.
        return self if result is draft else result

    return fit


def _wrap_read(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def read(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return method(self._snapshot(), *args, **kwargs)

    return read
