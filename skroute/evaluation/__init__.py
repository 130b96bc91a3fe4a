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
from skroute.evaluation.logs import PolicyValue, policy_value
from skroute.evaluation.pools import SmallerPool, smaller_pool
from skroute.evaluation.verdict import Routability
from skroute.evaluation.worth import routability

__all__ = [
    "BUDGET_SHARES",
    "METRICS",
    "ORACLE",
    "Comparison",
    "PolicyValue",
    "Routability",
    "RouterResult",
    "SmallerPool",
    "compare_routers",
    "default_routers",
    "policy_value",
    "routability",
    "smaller_pool",
]
