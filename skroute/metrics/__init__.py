"""Metrics of a router's quality, its cost, and whether it collapsed."""

from skroute.metrics._choices import (
    best_single,
    net_utility,
    oracle_choice,
    regret,
    top2_margin,
)
from skroute.metrics._curve import RoutingCurve, oracle_curve, routing_curve
from skroute.metrics._curve_metrics import (
    apgr,
    average_improvement_in_quality,
    call_performance_threshold,
    normalized_auc,
    peak_quality,
    quality_neutral_cost,
    routing_collapse_index,
    strongest_call_share,
)
from skroute.metrics._luck import OracleLuck, oracle_luck
from skroute.metrics._monitor import CollapseMonitor
from skroute.metrics._monitor_summary import MonitorSummary
from skroute.metrics._scorer import make_routing_scorer
from skroute.metrics._settled import quality_within_budget, settled_cost

__all__ = [
    "CollapseMonitor",
    "MonitorSummary",
    "OracleLuck",
    "RoutingCurve",
    "apgr",
    "average_improvement_in_quality",
    "best_single",
    "call_performance_threshold",
    "make_routing_scorer",
    "net_utility",
    "normalized_auc",
    "oracle_choice",
    "oracle_curve",
    "oracle_luck",
    "peak_quality",
    "quality_neutral_cost",
    "quality_within_budget",
    "regret",
    "routing_collapse_index",
    "routing_curve",
    "settled_cost",
    "strongest_call_share",
    "top2_margin",
]
