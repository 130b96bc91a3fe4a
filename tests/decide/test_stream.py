"""What a stream costs and gives on average: intervals that hold whenever one looks."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import skroute
from skroute import BudgetDecider
from skroute._decide.stream import RunningMean

FORMAT_6 = Path(__file__).parents[1] / "data" / "routers" / "format_6"
PRICES = np.array([1.0, 5.0])
RNG = np.random.default_rng(0)
Z = np.hstack([RNG.uniform(size=(400, 2)), np.tile(PRICES, (400, 1))])
Y = (RNG.random((400, 2)) < [0.5, 0.8]) * 1.0
PAID = RNG.uniform(0, 4, 400)


@pytest.fixture
def decider():
    return BudgetDecider(3.0).fit(Z, Y)


# --- the intervals -------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.0, 0.25])
@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_intervals_hold_at_all_times_while_means_drift(spread, confidence):
    n_runs, n_values, missed = 100, 600, 0
    expected = 0.3 + spread * np.sin(np.arange(n_values) / 50)
    so_far = expected.cumsum() / np.arange(1, n_values + 1)
    for seed in range(n_runs):
        drawn = np.random.default_rng(seed).random(n_values) < expected
        mean, is_missed = RunningMean(0.0, 1.0), False
        for at in range(0, n_values, 10):
            mean = mean.record(drawn[at : at + 10] * 1.0)
            low, high = mean.bound(confidence)
            is_missed |= not low <= so_far[at + 9] <= high
        missed += is_missed
    error = np.sqrt(confidence * (1 - confidence) / n_runs)
    assert missed / n_runs <= 1 - confidence + 2 * error
    # They are of use, too: two and a half times as wide as one for a single look.
    assert high - low < 0.25


VALUES = st.lists(st.floats(-2, 12) | st.just(float("nan")), max_size=20)


@settings(max_examples=50, deadline=None)
@given(VALUES, VALUES)
def test_values_come_in_any_parts(one, other):
    both = np.array(one + other)
    together = RunningMean(0.0, 10.0).record(both)
    apart = RunningMean(0.0, 10.0).record(np.array(one)).record(np.array(other))
    assert together == apart
    known = both[~np.isnan(both)]
    assert together.n_values == len(known)
    assert together.n_outside == ((known < 0) | (known > 10)).sum()
    low, high = together.bound(0.9)
    assert 0 <= low <= high <= 10
    if len(known):
        assert low - 1e-9 <= known.clip(0, 10).mean() <= high + 1e-9
        assert together.mean == pytest.approx(known.clip(0, 10).mean())


def test_more_values_and_less_confidence_make_narrower_intervals():
    mean = RunningMean(0.0, 5.0).record(PAID)
    widths = [np.ptp(mean.bound(level)) for level in (0.5, 0.9, 0.99)]
    assert widths == sorted(widths)
    more = mean.record(PAID).record(PAID).record(PAID)
    assert np.ptp(more.bound(0.9)) < 0.7 * np.ptp(mean.bound(0.9))
    # Values that hardly vary prove more.
    constant = RunningMean(0.0, 5.0).record(np.full(400, 2.0))
    assert np.ptp(constant.bound(0.9)) < 0.7 * np.ptp(mean.bound(0.9))


# --- of a decider --------------------------------------------------------------------


def test_a_report_is_a_sentence(decider):
    assert str(decider.stream_report()) == (
        "nothing is known yet of what queries cost or gave"
    )
    told = np.where(np.arange(400) < 100, np.arange(400) % 2, np.nan)
    report = decider.partial_fit(Z, costs=PAID, quality=told).stream_report(0.9)
    assert report.spend == pytest.approx(PAID.mean())
    assert report.spend_range == (0.0, 5.0)
    assert report.quality == 0.5
    assert (report.n_bills, report.n_ratings) == (400, 100)
    (low, high), (worst, best) = report.spend_interval, report.quality_interval
    assert str(report) == (
        f"{report.spend:.4g} of money per query ({low:.4g} to {high:.4g}), from 400 "
        f"bills; a mean quality of 0.5 ({worst:.4g} to {best:.4g}), from 100 answers; "
        "with 90% confidence, whenever you look"
    )


def test_only_bills_that_are_known_count(decider):
    decider.partial_fit(Z[:100])
    assert decider.stream_report().n_bills == 0
    assert decider.stream_report().spend_interval == (0.0, 5.0)
    half = np.where(np.arange(100) % 2, PAID[:100], np.nan)
    report = decider.partial_fit(Z[:100], costs=half).stream_report()
    assert report.n_bills == 50
    assert report.spend == pytest.approx(np.nanmean(half))


def test_what_is_above_counts_as_the_bound(decider):
    report = decider.partial_fit(Z[:4], costs=[1.0, 9.0, 2.0, 7.0]).stream_report()
    assert (report.n_above, report.spend) == (2, 13 / 4)
    assert "from 4 bills, 2 of them above 5 and counted as 5" in str(report)


def test_the_bound_is_the_largest_cost_of_fit():
    costs = np.tile(PRICES, (400, 1))
    costs[7, 1], costs[8, 0] = 20.0, np.nan
    decider = BudgetDecider(3.0).fit(Z, costs=costs)
    assert decider.stream_report().spend_range == (0.0, 20.0)
    # Without a fit, that of the first update.
    begun = BudgetDecider(3.0).partial_fit(Z[:10], costs=np.full(10, 6.0))
    assert begun.stream_report().spend_range == (0.0, 6.0)
    assert begun.stream_report().n_above == 0


def test_qualities_lie_in_the_range_of_fit(decider):
    graded = BudgetDecider(3.0).fit(Z, Y * 4 + 1)
    report = graded.partial_fit(Z[:3], quality=[1.0, 6.0, 3.0]).stream_report()
    assert report.quality_range == (1.0, 5.0)
    assert (report.quality, report.n_outside) == (3.0, 1)
    assert "1 of them outside 1 to 5 and counted as the nearest" in str(report)
    unseen = BudgetDecider(3.0).fit(Z)
    assert unseen.partial_fit(Z[:1], quality=[0.7]).stream_report().quality == 0.7
    before = pickle.dumps(unseen)
    with pytest.raises(ValueError, match=r"quality must be in \[0, 1\].*got 3"):
        unseen.partial_fit(Z[:1], quality=[3.0])
    assert pickle.dumps(unseen) == before


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        ([0.5, 0.5], r"quality must be how good.*\(3,\).*\(2,\)"),
        (np.ones((3, 2)), "quality must be how good"),
        ([np.inf, 0, 0], "quality.*infinity"),
        (["good"] * 3, "quality|could not convert"),
    ],
)
def test_ratings_that_are_none_are_refused(decider, quality, message):
    before = pickle.dumps(decider)
    with pytest.raises(ValueError, match=message):
        decider.partial_fit(Z[:3], quality=quality)
    assert pickle.dumps(decider) == before


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -1])
def test_a_confidence_is_between_0_and_1(decider, confidence):
    with pytest.raises(ValueError, match="confidence"):
        decider.stream_report(confidence)


def test_ratings_move_no_price(decider):
    other = BudgetDecider(3.0).fit(Z, Y)
    decider.partial_fit(Z, costs=PAID, quality=Y[:, 0])
    assert decider.price_ == other.partial_fit(Z, costs=PAID).price_


def test_a_fit_ends_the_stream(decider):
    decider.partial_fit(Z, costs=PAID)
    assert decider.fit(Z, Y).stream_report().n_bills == 0


def test_the_state_has_one_size_and_is_kept(decider, tmp_path):
    small = len(pickle.dumps(decider.partial_fit(Z, costs=PAID)._means))
    for _ in range(5):
        decider.partial_fit(Z, costs=PAID)
    assert len(pickle.dumps(decider._means)) <= small + 16
    skroute.save(decider, tmp_path / "stream")
    loaded = skroute.load(tmp_path / "stream")
    for made in (loaded, decider):
        made.partial_fit(Z, costs=PAID, quality=Y[:, 0])
    assert loaded.stream_report() == decider.stream_report()


def test_a_stream_of_an_older_file_begins_with_the_next_update():
    old = skroute.load(FORMAT_6 / "stream.skroute")
    with pytest.raises(ValueError, match="an older version saved this"):
        old.stream_report()
    n_models = len(old.models_)
    seen = np.hstack([np.full((5, n_models), 0.5), np.ones((5, n_models))])
    old.set_params(budget=1.0).partial_fit(seen, costs=np.ones(5))
    assert old.stream_report().n_bills == 5
