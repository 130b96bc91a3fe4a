"""What people preferred, as qualities that a router can be fitted on."""

from __future__ import annotations

from skroute.preferences._win_rates import win_rates

__all__ = ["win_rates"]
