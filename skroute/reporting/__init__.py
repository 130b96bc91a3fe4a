"""The report: one HTML file about what a router saves, loses and costs."""

from __future__ import annotations

from skroute.reporting._report import report
from skroute.reporting._result import Report

__all__ = ["Report", "report"]
