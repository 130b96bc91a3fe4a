"""Compare routers on one table, on paired splits."""

from skroute.evaluation._compare import (
    BUDGET_SHARES,
    METRICS,
    ORACLE,
    Comparison,
    RouterResult,
    compare_routers,
)
from skroute.evaluation.defaults import default_routers

__all__ = [
    "BUDGET_SHARES",
    "METRICS",
    "ORACLE",
    "Comparison",
    "RouterResult",
    "compare_routers",
    "default_routers",
]
