"""Every public docstring names its parameters, as numpydoc reads them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import ModuleType

import pytest
from numpydoc.validate import validate

import skroute
import skroute.base
import skroute.cascade
import skroute.crossfit
import skroute.datasets
import skroute.decision
import skroute.evaluation
import skroute.exceptions
import skroute.metrics
import skroute.outcomes
import skroute.plotting
import skroute.preferences
import skroute.serve
import skroute.text
import skroute.validation

MODULES = (
    skroute,
    skroute.base,
    skroute.cascade,
    skroute.crossfit,
    skroute.datasets,
    skroute.decision,
    skroute.evaluation,
    skroute.exceptions,
    skroute.metrics,
    skroute.outcomes,
    skroute.plotting,
    skroute.preferences,
    skroute.serve,
    skroute.text,
    skroute.validation,
)
# No summary; parameters missing, unknown, out of order or without a text; returns
# missing; a summary that is no sentence.
ERRORS = {"GL08", "SS01", "SS03", "PR01", "PR02", "PR03", "PR07", "RT01", "RT03"}


def _public(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        item = getattr(module, name)
        if not (inspect.isclass(item) or inspect.isfunction(item)):
            continue
        yield f"{module.__name__}.{name}"
        if not inspect.isclass(item):
            continue
        for method, function in vars(item).items():
            if not method.startswith("_") and inspect.isfunction(function):
                yield f"{module.__name__}.{name}.{method}"


@pytest.mark.parametrize("name", [n for module in MODULES for n in _public(module)])
def test_docstring_is_complete(name: str) -> None:
    # A result that is only read documents its attributes, and not its constructor.
    module, _, item = name.rpartition(".")
    found_item = getattr(sys.modules.get(module), item, None)
    read_only = is_dataclass(found_item) or hasattr(found_item, "_fields")
    codes = ERRORS - {"PR01"} if read_only else ERRORS
    found = [f"{code} {text}" for code, text in validate(name)["errors"]]
    assert not [error for error in found if error[:4] in codes]
