"""Compare routers, and pools of models, on one table, on paired splits."""

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

__all__ = [
    "BUDGET_SHARES",
    "METRICS",
    "ORACLE",
    "Comparison",
    "PolicyValue",
    "RouterResult",
    "SmallerPool",
    "compare_routers",
    "default_routers",
    "policy_value",
    "smaller_pool",
]
