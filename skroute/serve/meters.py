"""What a service counts, for Prometheus."""

from __future__ import annotations

import math
from typing import Any

from skroute._optional import require

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_CALL_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0)


class Meters:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        prometheus: Any = require("prometheus_client", "/metrics", "serve")
        self._prometheus = prometheus
        self._registry = prometheus.CollectorRegistry()

        def make(kind: str, name: str, text: str, *labels: str, **options: Any) -> Any:
            make_kind = getattr(prometheus, kind)
            return make_kind(name, text, labels, registry=self._registry, **options)

        self._decisions = make(
            "Counter", "skroute_decisions", "Queries decided, by first model.", "model"
        )
        self._decision_seconds = make(
            "Histogram",
            "skroute_decision_seconds",
            "Seconds of a decision, of all queries of its request.",
            buckets=_SECONDS,
        )
        self._expected = make(
            "Counter",
            "skroute_expected_cost",
            "Money that calls were expected to cost.",
            "model",
        )
        self._calls = make(
            "Counter",
            "skroute_calls",
            "Calls of models; outcome is ok, error or failed_check.",
            *("model", "outcome"),
        )
        self._cost = make(
            "Counter", "skroute_cost", "Money that calls did cost, if known.", "model"
        )
        self._unknown = make(
            "Counter", "skroute_unknown_cost_calls", "Calls of unknown cost.", "model"
        )
        self._call_seconds = make(
            "Histogram",
            "skroute_call_seconds",
            "Seconds of a call; of a stream, until its end.",
            "model",
            buckets=_CALL_SECONDS,
        )
        self._refused = make(
            "Counter", "skroute_refused_requests", "Requests refused.", "status"
        )
        self._reloads = make(
            "Counter", "skroute_reloads", "Replaced router files, by result.", "result"
        )
        self._lost_rows = make(
            "Counter", "skroute_lost_log_rows", "Rows that the log could not take."
        )

        # Only a service that paces has these.
        self._paced: dict[str, Any] = {}
        self._make = make

    def show_pace(self, budget: float, price: float) -> None:
        """Show a mean budget, and the shadow price that keeps to it."""
        if not self._paced:
            self._paced = {
                "budget": self._make(
                    "Gauge", "skroute_budget", "Mean budget of a query that is kept to."
                ),
                "price": self._make(
                    "Gauge", "skroute_shadow_price", "Quality that money is worth now."
                ),
                "queries": self._make(
                    "Counter", "skroute_paced_queries", "Queries whose bill counted."
                ),
                "cost": self._make(
                    "Counter",
                    "skroute_paced_cost",
                    "Money of these queries, expected where the bill is unknown.",
                ),
            }
        self._paced["budget"].set(budget)
        self._paced["price"].set(price)

    def count_paced(self, cost: float, price: float) -> None:
        """Count the bill of a query, after which the shadow price is `price`."""
        self._paced["queries"].inc()
        self._paced["cost"].inc(cost)
        self._paced["price"].set(price)

    def count_decisions(self, models: list[str], seconds: float) -> None:
        """Count the first models of the queries of a request."""
        for model in models:
            self._decisions.labels(model).inc()
        self._decision_seconds.observe(seconds)

    def count_call(
        self, model: str, outcome: str, seconds: float, cost: float, expected: float
    ) -> None:
        """Count a call that ended; `cost` is NaN where it is not known."""
        self._calls.labels(model, outcome).inc()
        self._call_seconds.labels(model).observe(seconds)
        if outcome == "error":
            return
        if math.isfinite(expected) and expected >= 0:
            self._expected.labels(model).inc(expected)
        if math.isnan(cost):
            self._unknown.labels(model).inc()
        else:
            self._cost.labels(model).inc(cost)

    def count_refused(self, status: int) -> None:
        """Count a request that was refused or failed."""
        self._refused.labels(str(status)).inc()

    def count_reload(self, result: str) -> None:
        """Count a replaced file: loaded or refused."""
        self._reloads.labels(result).inc()

    def count_lost_row(self) -> None:
        """Count a row that the log could not take."""
        self._lost_rows.inc()

    def write(self) -> tuple[bytes, str]:
        """Write all counters; returns also the type of the content."""
        content: bytes = self._prometheus.generate_latest(self._registry)
        return content, self._prometheus.CONTENT_TYPE_LATEST
