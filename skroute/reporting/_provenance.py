"""Where a report comes from: so that two of them can be told apart, or made again."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from skroute._judged import Judged
from skroute._table.texts import clean_text

_N_DIGITS = 16
_N_LETTERS = 300


@dataclass(frozen=True)
class Provenance:
    """A router with its parameters, and the table that it was judged on."""

    router: str
    #: Parameters of the router, and of the report.
    parameters: dict[str, str]
    settings: dict[str, str]
    #: Of the judged qualities, costs and names of models.
    fingerprint: str


def describe(router: Any, judged: Judged, **settings: Any) -> Provenance:
    """Describe a router and its table; `settings` are those of the report."""
    parameters = router.get_params(deep=False)
    return Provenance(
        type(router).__name__,
        {name: _write(value) for name, value in sorted(parameters.items())},
        {name: _write(value) for name, value in settings.items()},
        fingerprint_table(judged),
    )


def fingerprint_table(judged: Judged) -> str:
    """Hash the outcomes of a table, row by row: equal tables have equal hashes."""
    digest = hashlib.sha256()
    names = [str(model) for model in judged.models]
    digest.update(json.dumps([names, list(judged.y.shape)]).encode())
    for table in (judged.y, judged.costs):
        known = np.where(np.isnan(table), np.nan, table + 0.0)  # no -0.0, one NaN
        digest.update(np.ascontiguousarray(known, dtype="<f8").tobytes())
    return digest.hexdigest()[:_N_DIGITS]


def today() -> str:
    """Write the day in UTC; SOURCE_DATE_EPOCH sets it, for builds that are repeated."""
    at = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.now(UTC) if at is None else datetime.fromtimestamp(int(at), UTC)
    return f"{now:%Y-%m-%d}"


def _write(value: Any) -> str:
    text = " ".join(clean_text(repr(value)).split())
    return text if len(text) <= _N_LETTERS else f"{text[: _N_LETTERS - 1]}…"
