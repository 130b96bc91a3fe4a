"""What a log says of the routers that were learnt from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skroute.evaluation.logs import PolicyValue
from skroute.evaluation.scores import write_json


@dataclass(frozen=True)
class LogEvaluation:
    """Routers learnt from a log, judged on calls of it that they did not see.

    Attributes
    ----------
    values : dict of str to dict of str to PolicyValue
        What each router would have given and cost under each rule, by their names.
    logged : PolicyValue
        What the log itself gave and cost.
    best_single : str
        The model that is the best on average, as far as the log tells.
    best_single_value : PolicyValue
        What the best single model would have given and cost. It is chosen without the
        calls that it is judged on, so parts of them may have been judged on another.
    propensity_estimated : bool
        Whether the chances of the calls were estimated, because the log lacks them.
    rules : dict of str to dict
        Arguments of ``route`` of each rule.
    doubts : tuple of str
        What weakens the result, in sentences; the values that they are about first.
    models : ndarray of str of shape (n_models,)
        Names of the models.
    n_queries, n_left_out, n_prompts : int
        Queries that were judged, those left out because nothing was known of a call,
        and different prompts among all.
    confidence : float
        Of the intervals.
    """

    values: dict[str, dict[str, PolicyValue]]
    logged: PolicyValue
    best_single: str
    best_single_value: PolicyValue
    propensity_estimated: bool
    rules: dict[str, dict[str, Any]]
    doubts: tuple[str, ...]
    models: np.ndarray
    n_queries: int
    n_left_out: int
    n_prompts: int
    confidence: float

    @property
    def rows(self) -> list[tuple[str, str, PolicyValue]]:
        """All that was judged: who, by which rule, and its value."""
        beside = [
            ("the log itself", "", self.logged),
            (f"{self.best_single} alone", "", self.best_single_value),
        ]
        return beside + [
            (name, rule, value)
            for name, by_rule in self.values.items()
            for rule, value in by_rule.items()
        ]

    @property
    def sentence(self) -> str:
        """What was found, in a sentence or two."""
        name = next(iter(self.values))
        rule, value = next(iter(self.values[name].items()))
        found = (
            f"By {self.n_queries:,} logged calls, {name} set to {rule} would have "
            f"given {_write(value)}; the log gave {_write(self.logged)}, and "
            f"{self.best_single} alone {_write(self.best_single_value)}."
        )
        if self.propensity_estimated:
            found += f" {ESTIMATED}"
        return found

    def __str__(self) -> str:
        lines = [self.sentence, ""]
        for name, rule, value in self.rows:
            label = f"{name} ({rule})" if rule else name
            worth = f"worth {value.effective_sample_size:,.0f} queries"
            lines.append(f"{label}: {_write(value)}, {worth}")
        return "\n".join([*lines, *(f"Note: {doubt}" for doubt in self.doubts)])

    def to_dict(self) -> dict[str, Any]:
        """Turn the evaluation into lists, numbers and strings, for JSON.

        Returns
        -------
        dict
            ``None`` where a number is undefined.
        """
        return {
            "n_queries": self.n_queries,
            "n_left_out": self.n_left_out,
            "n_prompts": self.n_prompts,
            "models": self.models.tolist(),
            "confidence": self.confidence,
            "propensity_estimated": self.propensity_estimated,
            "rules": self.rules,
            "logged": _describe(self.logged),
            "best_single": {
                "model": self.best_single,
                **_describe(self.best_single_value),
            },
            "routers": {
                name: {rule: _describe(value) for rule, value in by_rule.items()}
                for name, by_rule in self.values.items()
            },
            "doubts": list(self.doubts),
        }


#: What has to be said where chances were estimated.
ESTIMATED = (
    "The log has no chances of its calls: they are estimated from the queries. If the "
    "calls were made for reasons that the queries do not show, such as a user's wish "
    "or a failed first call, or by a fixed rule, these figures are wrong, and the "
    "intervals do not say so."
)


def _write(value: PolicyValue) -> str:
    """Write a quality and a cost with their intervals."""
    (low, high), (least, most) = value.quality_interval, value.cost_interval
    return (
        f"quality {value.quality:.3g} ({low:.3g} to {high:.3g}) for "
        f"{value.cost:.3g} ({least:.3g} to {most:.3g}) per query"
    )


def _describe(value: PolicyValue) -> dict[str, Any]:
    return {
        "quality": write_json(value.quality),
        "quality_interval": write_json(value.quality_interval),
        "cost": write_json(value.cost),
        "cost_interval": write_json(value.cost_interval),
        "effective_sample_size": write_json(value.effective_sample_size),
        "covered": write_json(value.covered),
    }
