"""skroute: learn which LLM to call, and decide it under a budget.

Routers estimate the quality and the cost of every model on a query; a
:class:`BudgetDecider` turns the estimates into calls. Everything is a scikit-learn
estimator.
"""

from skroute.decision import BudgetDecider
from skroute.dummy import DummyRouter
from skroute.exceptions import InfeasibleBudgetError, NoCostWarning
from skroute.persistence import load, save
from skroute.pointwise import PointwiseRouter
from skroute.ranking import RankingRouter
from skroute.reporting import report

__version__ = "0.1.0.dev0"

__all__ = [
    "BudgetDecider",
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
