"""skroute: learn which LLM to call, and decide it under a budget.

Routers estimate the quality and the cost of every model on a query; a
:class:`BudgetDecider` turns the estimates into calls. Everything is a scikit-learn
estimator.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skroute._version import __version__

__all__ = [
    "BudgetDecider",
    "CascadeDecider",
    "DummyRouter",
    "InfeasibleBudgetError",
    "NoCostWarning",
    "PointwiseRouter",
    "RankingRouter",
    "__version__",
    "load",
    "report",
    "save",
]

if TYPE_CHECKING:
    from skroute.cascade import CascadeDecider
    from skroute.decision import BudgetDecider
    from skroute.dummy import DummyRouter
    from skroute.exceptions import InfeasibleBudgetError, NoCostWarning
    from skroute.persistence import load, save
    from skroute.pointwise import PointwiseRouter
    from skroute.ranking import RankingRouter
    from skroute.reporting import report
else:
    # Imported at their first use: `skroute --help` need not wait for scikit-learn.
    _MODULES = {
        "BudgetDecider": "decision",
        "CascadeDecider": "cascade",
        "DummyRouter": "dummy",
        "InfeasibleBudgetError": "exceptions",
        "NoCostWarning": "exceptions",
        "PointwiseRouter": "pointwise",
        "RankingRouter": "ranking",
        "load": "persistence",
        "report": "reporting",
        "save": "persistence",
    }
    _PACKAGES = {
        "base",
        "cascade",
        "crossfit",
        "datasets",
        "evaluation",
        "exceptions",
        "metrics",
        "plotting",
        "text",
        "validation",
    }

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return import_module(f"skroute.{name}")
        if name not in _MODULES:
            raise AttributeError(f"module 'skroute' has no attribute {name!r}")
        value = getattr(import_module(f"skroute.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_MODULES, *_PACKAGES})
