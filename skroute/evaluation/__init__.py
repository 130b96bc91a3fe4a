"""Tell whether routing is worth it; compare routers, and pools of models."""

from skroute.evaluation._compare import (
    BUDGET_SHARES,
    METRICS,
    ORACLE,
    Comparison,
    RouterResult,
    compare_routers,
)
from skroute.evaluation.defaults import default_routers
from skroute.evaluation.log_routers import evaluate_log
from skroute.evaluation.log_scorer import make_log_scorer
from skroute.evaluation.log_verdict import LogEvaluation
from skroute.evaluation.logs import PolicyValue, policy_value
from skroute.evaluation.pools import SmallerPool, smaller_pool
from skroute.evaluation.verdict import Routability
from skroute.evaluation.worth import routability

__all__ = [
    "BUDGET_SHARES",
    "METRICS",
    "ORACLE",
    "Comparison",
    "LogEvaluation",
    "PolicyValue",
    "Routability",
    "RouterResult",
    "SmallerPool",
    "compare_routers",
    "default_routers",
    "evaluate_log",
    "make_log_scorer",
    "policy_value",
    "routability",
    "smaller_pool",
]
