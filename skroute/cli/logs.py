"""Logs of one call per query, which commands judge by what the calls tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skroute.cli import console
from skroute.cli.options import group_prompts, take_queries

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import Bunch

    from skroute.evaluation import LogEvaluation


def is_log(data: Bunch) -> bool:
    """Whether a table has the outcome of at most one model for each query."""
    import numpy as np

    n_known = np.isfinite(data.quality).sum(axis=1)
    return data.quality.shape[1] > 1 and len(n_known) > 0 and n_known.max() == 1


def refuse_for_log(**given: Any) -> None:
    """Refuse options that were given and that judging a log has no use for."""
    used = [name for name, value in given.items() if value is not None]
    names = [f"--{name.replace('_', '-')}" for name in used]
    if names:
        raise ValueError(
            f"{' and '.join(names)} cannot be used with a log of one call per query, "
            "which is judged as a whole, each query by routers that were learned from "
            "the others: leave that out, or give a table where all models were run."
        )


def weigh_outcomes(propensity: np.ndarray, y: Any) -> np.ndarray:
    """Weigh the outcomes of calls by their chances, (n_queries, n_models)."""
    import numpy as np

    from skroute.evaluation.doubly_robust import weigh_calls

    known = np.isfinite(np.asarray(y, dtype=float))
    return np.where(known, weigh_calls(propensity)[:, None], 0.0)


def judge_log(data: Bunch, name: str, seed: int) -> LogEvaluation:
    """Learn routers from a log and judge them on it; say what the log is."""
    import numpy as np

    from skroute.cli.files import name_quality
    from skroute.evaluation import evaluate_log

    told = "no chances of the calls" if data.propensity is None else "their chances"
    console.output.print(
        f"{name}: a log of {len(data.quality):,} queries with one call each, of "
        f"{len(data.models)} models, and {told}."
    )
    lacking = [("a quality", data.quality)]
    if data.costs.ndim == 2:
        lacking.append(("a cost", data.costs))
    for what, table in lacking:
        n_unknown = int(np.isnan(table).all(axis=1).sum())
        if n_unknown:
            console.note(
                f"{n_unknown:,} calls lack {what}: they are left out where it counts, "
                "as if it were unknown by chance."
            )
    queries, encoder = take_queries(data, seed)
    with console.show_progress("Judging on the log") as progress:
        return evaluate_log(
            queries,
            name_quality(data),
            data.costs,
            propensity=data.propensity,
            encoder=encoder,
            groups=group_prompts(data),
            random_state=seed,
            progress=progress,
        )
