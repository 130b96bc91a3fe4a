r"""Second prices: decisions that also count what calls take beside money.

Where the mean of an extra cost is limited, it has a shadow price of its own: decisions
take the model with the largest ``quality - price * cost - second * extra``. Of all
pairs of prices that keep both the budget and the limit, the second is the lowest at
which the training queries do, as what they take falls while it rises. It is searched
between 0 and infinity as the share of the extra cost in ``(1 - share) * quality - share
* extra``; towards a target of quality in ``(1 - share) * cost + share * extra``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from skroute._decide.engine import Settled, settle
from skroute._decide.extra_estimates import ExtraEstimates, GivenExtras
from skroute._decide.extra_rule import ExtraRule
from skroute._decide.fallbacks import Decisions
from skroute._decide.price_path import PricePath, ShadowPrice
from skroute._decide.rule import Rule
from skroute._decide.utility import value_money
from skroute._table.costs import add_slack, replace_known_costs, round_up
from skroute._table.names import format_names
from skroute.exceptions import InfeasibleBudgetError

# Halvings of the interval in which a second price is found.
_N_HALVINGS = 40
# Highest price of what a target of quality takes, in units of their spreads. Money may
# be above the least possible by a part of its spread that is one over this.
_HIGHEST_PRICE = 1e4


@dataclass(frozen=True)
class Scales:
    """How extra costs enter decisions: what quality and cost are replaced by."""

    #: Decisions are by ``quality * of_quality - extra * from_quality``.
    of_quality: float
    from_quality: np.ndarray  # (n_extras,)
    #: And by ``cost * of_cost + extra * to_cost``.
    of_cost: float
    to_cost: np.ndarray

    def apply(
        self, quality: np.ndarray, cost: np.ndarray, extra: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Replace quality and cost; `extra` is (n_extras, n_queries, n_models)."""
        return (
            self.of_quality * quality - np.tensordot(self.from_quality, extra, 1),
            self.of_cost * cost + np.tensordot(self.to_cost, extra, 1),
        )


@dataclass(frozen=True)
class SettledExtras(Settled):
    """A rule with extra costs, and the prices that meet it; decides queries.

    The shadow price is that of the inner decisions, by quality and cost as they are
    replaced.
    """

    #: Decides by what quality and cost are replaced by.
    inner: Settled | None = None
    scales: Scales | None = None
    #: Expects extra costs; None where nothing was learned.
    learned: ExtraEstimates | None = None
    #: What the call says of them.
    given: GivenExtras | None = None

    @property
    def can_decide_in_parts(self) -> bool:
        """Whether `decide_in_parts` decides as `decide` does on all queries at once."""
        return False

    def decide(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        available: np.ndarray | None = None,
        top_k: int = 1,
        known: np.ndarray | None = None,
        uniform: np.ndarray | None = None,
    ) -> Decisions:
        """Decide every query, and its fallbacks, as `Settled.decide`."""
        assert self.inner is not None
        assert self.scales is not None
        if len(quality) == 0:
            return self.inner.decide(quality, cost, top_k=top_k)
        paid = replace_known_costs(cost, known)
        extra = self.expect(quality, cost)
        allowed = find_allowed(
            self.rule.extras, self.rule, quality, paid, extra, available
        )
        decisions = self.inner.decide(
            *self.scales.apply(quality, paid, extra), allowed, top_k
        )
        return decisions._replace(shadow_price=self._in_quality(decisions.shadow_price))

    def expect(self, quality: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Expect the extra costs of a call, (n_extras, n_queries, n_models)."""
        tables = [
            _expect(limit.name, quality, cost, self.learned, self.given)
            for limit in self.rule.extras
        ]
        return np.stack(tables)

    def value(
        self,
        quality: np.ndarray,
        cost: np.ndarray,
        extra: np.ndarray,
        shadow_price: np.ndarray,
    ) -> np.ndarray:
        """Value calls in quality, less their money and all that they take beside it.

        `extra` is what `expect` gives, and `shadow_price`, (n_queries,), are those of
        decisions; ``NaN`` where nothing has a value in quality, because a limit leaves
        no choice.
        """
        assert self.scales is not None
        scales = self.scales
        if not (scales.of_quality and scales.of_cost):
            return np.full(quality.shape, np.nan)
        gained, spent = scales.apply(quality, cost, extra)
        gained, spent = gained / scales.of_quality, spent / scales.of_cost
        valued: np.ndarray = gained - value_money(spent, shadow_price[:, None])
        return valued

    @property
    def second_prices(self) -> dict[str, float]:
        """Quality that a unit of each extra cost is worth, beside `price`."""
        assert self.scales is not None
        assert self.inner is not None
        scales, rules = self.scales, self.rule.extras
        with np.errstate(divide="ignore", invalid="ignore"):
            price = scales.from_quality + self.inner.price.high * scales.to_cost
            worth = np.where(price > 0, price / scales.of_quality, 0.0)
        return {r.name: float(w) for r, w in zip(rules, worth, strict=True)}

    def _in_quality(self, price: np.ndarray) -> np.ndarray:
        """Turn shadow prices of inner decisions into quality per unit of money."""
        assert self.scales is not None
        with np.errstate(divide="ignore", invalid="ignore"):
            turned = price * self.scales.of_cost / self.scales.of_quality
        return np.where(price == 0, 0.0, turned)


class TrainingExtras(NamedTuple):
    """Training queries on which second prices are found, (n_queries, n_models)."""

    quality: np.ndarray
    cost: np.ndarray
    gained: np.ndarray
    spent: np.ndarray
    #: What decisions rest on, and what calls took, (n_extras, n_queries, n_models).
    expected: np.ndarray
    taken: np.ndarray


def find_allowed(
    rules: Iterable[ExtraRule],
    rule: Rule,
    quality: np.ndarray,
    cost: np.ndarray,
    extra: np.ndarray,
    available: np.ndarray | None = None,
) -> np.ndarray:
    """Find the models that are available and under all caps, (n_queries, n_models)."""
    if available is None:
        available = np.ones((1, 1), dtype=bool)
    allowed = np.broadcast_to(available, quality.shape)
    for limit, table in zip(rules, extra, strict=True):
        if limit.query is None:
            continue
        left = allowed & (table <= add_slack(limit.query))
        stuck = ~left.any(axis=1)
        if stuck.any():
            least = np.where(allowed, table, np.inf).min(axis=1, keepdims=True)
            if rule.on_infeasible == "raise":
                smallest = float(least[stuck].max())
                raise InfeasibleBudgetError(
                    f"extra_costs[{limit.name!r}] must be at most {limit.query:g} of "
                    f"each query, and {stuck.sum()} queries have no model that takes "
                    f"so little; the smallest feasible limit is {round_up(smallest)}. "
                    "Raise it, or set on_infeasible='cheapest'.",
                    smallest_limit=smallest,
                )
            left |= stuck[:, None] & allowed & (table == least)
        allowed = left
    return replace(rule, tolerance=0.0).find_candidates(quality, cost, allowed)


def settle_extras(
    rule: Rule,
    training: TrainingExtras | None,
    learned: ExtraEstimates | None,
    best_single_quality: float,
    may_call_single: bool = True,
) -> SettledExtras:
    """Find the prices of a rule with extra costs on training queries.

    These may be None where no average is asked for.
    """
    rules = rule.extras
    # Caps are kept before the inner rule looks at what is left.
    inner = replace(rule, extra_costs=None)
    if rule.has_cap:
        inner = replace(inner, budget=None, scope="mean")
    weight = np.array([limit.weight for limit in rules])
    plain = Scales(1.0, np.zeros(len(rules)), 1.0, weight)
    limit = next((i for i, r in enumerate(rules) if r.mean is not None), None)
    if training is None:
        zero = np.zeros(1)
        empty = PricePath(zero, zero, zero, np.zeros(1, dtype=int))
        found = settle(inner, empty.without_singles(), best_single_quality)
        return _wrap(rule, found, plain, learned, best_single_quality)
    allowed = find_allowed(
        rules, rule, training.quality, training.cost, training.expected
    )
    means = training.taken.mean(axis=1)
    barred = np.zeros(len(means[0]), dtype=bool)
    if limit is not None:
        barred = means[limit] > add_slack(rules[limit].mean)
    # What money weighs beside an extra cost is no matter of one model's quality.
    alone = may_call_single and not weight.any()
    rows = np.arange(len(allowed))

    def settle_at(scales: Scales, highest: float = np.inf) -> tuple[Settled, float]:
        quality, cost = scales.apply(training.quality, training.cost, training.expected)
        path = PricePath.from_estimates(
            *(quality, cost, training.gained, training.spent),
            allowed=allowed,
            highest=highest,
        )
        path = path.without_singles(barred if alone else None)
        asked = inner
        if scales is not plain and rule.min_quality is not None:
            # What can be reached without the limit: chance may smooth the trade-off
            # otherwise here, and then the best decisions are taken.
            asked = replace(inner, on_infeasible="cheapest")
        if rule.price is not None:
            asked = replace(asked, price=rule.price * scales.of_quality)
        try:
            found = settle(asked, path, best_single_quality)
        except InfeasibleBudgetError as error:
            raise _name_weights(error, rule, rules) from None
        if limit is None:
            return found, 0.0
        choice = found.decide(quality, cost, allowed).choice[:, 0]
        return found, float(training.taken[limit, rows, choice].mean())

    found, mean = settle_at(plain)
    scales = plain
    if limit is not None and mean > add_slack(rules[limit].mean):
        spread = _spread_of(training, limit)
        of_cost = rule.min_quality is not None

        def scale(share: float) -> Scales:
            one = np.zeros(len(rules))
            one[limit] = share / spread[2]
            if of_cost:
                left = (1 - share) / spread[1]
                return Scales(1.0, 0 * one, left, left * weight + one)
            return Scales((1 - share) / spread[0], one, 1.0, weight)

        most = add_slack(rules[limit].mean)
        low, high, scales = 0.0, 1.0, scale(1.0)
        highest = _HIGHEST_PRICE * spread[0] if of_cost else np.inf
        found, mean = settle_at(scales)
        if mean > most:
            # Where nothing is known of single queries, one model may take less.
            single = None
            if alone:
                single = _find_fastest(rule, found, training, allowed, means[limit])
            if single is not None and means[limit][single] < mean:
                found = replace(found, price=replace(found.price, single=single))
                mean = float(means[limit][single])
        if mean > most and rule.on_infeasible == "raise":
            raise InfeasibleBudgetError(
                f"extra_costs[{rules[limit].name!r}] must have a mean of at most "
                f"{rules[limit].mean:g}, which no decisions on the training queries "
                "have that keep all else that is asked; the smallest feasible limit is "
                f"{round_up(mean)}.",
                smallest_limit=mean,
            )
        while mean <= most and high - low > 2.0**-_N_HALVINGS:
            middle = (low + high) / 2
            try:
                tried, took = settle_at(scale(middle), highest)
            except InfeasibleBudgetError:  # ties are broken otherwise here
                took = np.inf
            if took <= most:
                high, scales, found = middle, scale(middle), tried
            else:
                low = middle
    return _wrap(rule, found, scales, learned, best_single_quality)


def _find_fastest(
    rule: Rule,
    found: Settled,
    training: TrainingExtras,
    allowed: np.ndarray,
    means: np.ndarray,
) -> int | None:
    """Find the model of the least mean that may be called alone, if any may."""
    may_be = allowed.all(axis=0)
    if rule.has_mean_budget:
        may_be &= training.spent.mean(axis=0) <= add_slack(rule.budget)
    if found.target is not None:
        may_be &= training.gained.mean(axis=0) >= found.target
    least = np.where(may_be, means, np.inf)
    return int(least.argmin()) if may_be.any() else None


def _wrap(
    rule: Rule,
    found: Settled,
    scales: Scales,
    learned: ExtraEstimates | None,
    best_single_quality: float,
) -> SettledExtras:
    made = SettledExtras(
        rule,
        found.price,
        found.target,
        found.path,
        best_single_quality,
        inner=found,
        scales=scales,
        learned=learned,
    )
    in_quality = float(made._in_quality(np.array([found.price.high]))[0])
    return replace(made, price=ShadowPrice(in_quality, single=found.price.single))


def gather_training(
    rule: Rule,
    kept: tuple[np.ndarray, ...],
    cost: np.ndarray,
    learned: ExtraEstimates | None,
    given: GivenExtras | None,
    is_call: bool,
) -> TrainingExtras | None:
    """Gather what is known of training queries; None if no average is asked for.

    `cost` is what they are decided by. Where `is_call`, they are those of the call.
    """
    rules = rule.extras
    is_limited = any(limit.mean is not None for limit in rules)
    if not (is_limited or rule.is_met_on_average):
        return None
    expected, taken = [], []
    if is_call and given is not None:
        given = given.take(len(cost))
    for limit in rules:
        name = limit.name
        table = None if given is None else given.tables.get(name)
        if is_call:
            # The queries to decide stand for the traffic, as what is known of them.
            values = _expect(name, kept[0], kept[1], learned, given)
            expected.append(values)
            taken.append(values)
            continue
        before, after = _look_up(name, learned, cost.shape)
        if table is not None and given is not None and name in given.by_model:
            # What each model takes now holds for any query.
            now = np.broadcast_to(table[0], cost.shape)
            before, after = (np.where(np.isnan(now), t, now) for t in (before, after))
        elif given is not None and (models := given.find_models(name)) is not None:
            before = np.where(models & np.isfinite(after), after, before)
        if np.isnan(before).any():
            raise ValueError(
                f"extra_costs[{name!r}] is limited or weighed on average, which is "
                "settled on training queries, and what these take is not known: give "
                "extra_costs to fit (update, add_model and remove_model forget them), "
                "or one value for each model here, or ask for a limit of each query "
                "and a price."
            )
        expected.append(before)
        taken.append(np.where(np.isnan(after), before, after))
    quality, estimated, gained, bill = kept
    spent = np.where(np.isnan(bill), estimated, bill)
    return TrainingExtras(
        quality, cost, gained, spent, np.stack(expected), np.stack(taken)
    )


def _look_up(
    name: str, learned: ExtraEstimates | None, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """What kept queries were expected to take, and took; ``NaN`` where unknown."""
    if learned is None or name not in learned.names:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    k = learned.names.index(name)
    return learned.expected[k], learned.taken[k]


def _expect(
    name: str,
    quality: np.ndarray,
    cost: np.ndarray,
    learned: ExtraEstimates | None,
    given: GivenExtras | None,
) -> np.ndarray:
    """What queries are expected to take, or known to, (n_queries, n_models)."""
    table = None if given is None else given.tables.get(name)
    values = np.full(quality.shape, np.nan)
    if learned is not None and name in learned.names:
        values = learned.predict(name, quality, cost)
    values = replace_known_costs(values, table)
    if np.isnan(values).any():
        columns = np.flatnonzero(np.isnan(values).any(axis=0))
        raise ValueError(
            f"extra_costs[{name!r}] is not known of the models in the columns "
            f"{format_names(columns)}: nothing was learned of it in fit, which takes "
            "extra_costs (update, add_model and remove_model forget them), and the "
            "call does not give it."
        )
    return values


def _spread_of(training: TrainingExtras, limit: int) -> tuple[float, float, float]:
    """By what quality, cost and the limited extra cost are divided to be compared."""
    tables = training.quality, training.cost, training.expected[limit]
    # Single decisions compare models of a query.
    spreads = (float(table.std(axis=1).mean()) or 1.0 for table in tables)
    quality, cost, extra = spreads
    return quality, cost, extra


def _name_weights(
    error: InfeasibleBudgetError, rule: Rule, rules: tuple[ExtraRule, ...]
) -> InfeasibleBudgetError:
    """Say that decisions by weights spend more than the cheapest models cost."""
    weighed = [limit.name for limit in rules if limit.weight]
    if not weighed or error.smallest_budget is None:
        return error
    return InfeasibleBudgetError(
        f"budget={rule.budget:g} per query is below what decisions cost that also "
        f"weigh {format_names(weighed)}; the smallest feasible budget is "
        f"{round_up(error.smallest_budget)}. Raise it, or lower the weight.",
        smallest_budget=error.smallest_budget,
    )
