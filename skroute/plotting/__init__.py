"""Pictures of routers; they need matplotlib: ``pip install 'scikit-route[plot]'``."""

from __future__ import annotations

from skroute.plotting._call_share import CallShareDisplay
from skroute.plotting._cascade import CascadeDisplay
from skroute.plotting._margin import MarginDisplay
from skroute.plotting._pool import PoolDisplay
from skroute.plotting._routing_curve import RoutingCurveDisplay

__all__ = [
    "CallShareDisplay",
    "CascadeDisplay",
    "MarginDisplay",
    "PoolDisplay",
    "RoutingCurveDisplay",
]
