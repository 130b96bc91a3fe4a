"""Cascades that several modules ask, fitted once."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import simulate_table
from sklearn.utils import Bunch

from skroute import CascadeDecider


def fit(table: Bunch, *names: str, **parameters: Any) -> Bunch:
    """The table, a decider that was fitted on it, and what it was given, as `known`."""
    known = {name: table[name] for name in names}
    decider = CascadeDecider(random_state=0, **parameters)
    decider.fit(table.Z, table.y, costs=table.costs, **known)
    return Bunch(**table, decider=decider, known=known)


@pytest.fixture(scope="session")
def exact() -> Bunch:
    """A cascade whose checks tell the quality itself; `known` are such checks."""
    table = simulate_table()
    fitted = fit(table, price=0.02, check_cost=0.05)
    fitted.known = {"checks": table.y}
    return fitted


@pytest.fixture(scope="session")
def learned() -> Bunch:
    """A cascade that learned what checks and answers are worth, of four models."""
    table = simulate_table(n_models=4, random_state=2, accuracy=0.6)
    return fit(table, "checks", "answers", price=0.02)


@pytest.fixture(scope="session", params=["exact", "learned"])
def fitted(request: pytest.FixtureRequest) -> Bunch:
    """Each of the two."""
    return request.getfixturevalue(request.param)
