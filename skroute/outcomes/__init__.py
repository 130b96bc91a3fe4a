"""Outcomes that are known in part, or by a judge that errs."""

from __future__ import annotations

from skroute.outcomes._correct import CorrectionSummary, correct

__all__ = ["CorrectionSummary", "correct"]
