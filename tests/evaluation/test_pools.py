"""Smaller pools: which few models keep how much of what routing gains."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from skroute import PointwiseRouter
from skroute.datasets import make_routing
from skroute.evaluation import smaller_pool
from skroute.plotting import PoolDisplay

pytestmark = pytest.mark.slow

DATA = make_routing(n_queries=400, n_models=5, random_state=0)


def find(y=DATA.quality, costs=DATA.costs, X=DATA.data, **options):
    router = PointwiseRouter(Ridge(), random_state=0)
    return smaller_pool(X, y, costs, router, **{"seeds": 2, **options})


def with_twins():
    """A table in which every model has a twin of twice its price."""
    costs = np.hstack([DATA.costs, 2 * DATA.costs])
    return np.hstack([DATA.quality, DATA.quality]), costs


def test_all_models_keep_all_and_one_keeps_nothing():
    pool = find()
    np.testing.assert_allclose(pool.kept[:, -1], 1.0)
    np.testing.assert_array_equal(pool.kept[:, 0], 0.0)
    np.testing.assert_allclose(pool.gain[:, -1], pool.gain_of_all)
    assert sorted(pool.models) == sorted(f"model_{i}" for i in range(5))


def test_twins_of_twice_the_price_are_not_needed():
    y, costs = with_twins()
    pool = find(y, costs)
    assert set(pool.models[:3]) <= {f"model_{i}" for i in range(5)}
    assert pool.kept[:, 2].min() > 0.95


def test_the_order_of_the_models_does_not_matter():
    names = [f"m{i}" for i in range(5)]
    y = pd.DataFrame(DATA.quality, columns=names)
    costs = pd.DataFrame(DATA.costs, columns=names)
    pool, other = find(y, costs), find(y[names[::-1]], costs)
    assert pool.models.tolist() == other.models.tolist()
    np.testing.assert_allclose(pool.kept, other.kept, atol=1e-9)


def test_unknown_outcomes_are_left_out():
    y = DATA.quality.copy()
    y[::7, 1] = np.nan
    pool = find(y)
    assert np.isfinite(pool.gain).all()
    assert len(pool.models) == 5


def test_repeated_prompts_stay_on_one_side():
    """Each query twice: a split of the rows would know the test queries."""
    twice = np.repeat(np.arange(200), 2)
    once = find(DATA.quality[:200], DATA.costs[:200], DATA.data[:200])
    again = find(DATA.quality[twice], DATA.costs[twice], DATA.data[twice])
    assert abs(once.gain_of_all.mean() - again.gain_of_all.mean()) < 0.1


def test_it_stops_at_as_many_as_are_asked_for():
    pool = find(max_models=2)
    assert pool.models.shape == (2,)
    assert pool.kept.shape == (2, 2)
    assert pool.times_chosen.shape == (2, 2)
    assert find(max_models=99, seeds=1).models.shape == (5,)


def test_where_nothing_is_gained_there_is_no_share():
    """One model is right always, and the cheapest."""
    y = np.zeros((100, 3))
    y[:, 0] = 1.0
    pool = find(y, np.array([1.0, 2.0, 3.0]), DATA.data[:100], seeds=1)
    assert pool.models[0] == "model_0"
    assert pool.gain_of_all.max() <= 0
    assert np.isnan(pool.kept).all()
    assert "not known" in str(pool)


def test_the_table_has_a_row_for_each_size():
    pool = find()
    frame = pool.to_frame()
    assert frame.index.tolist() == [1, 2, 3, 4, 5]
    assert frame["added"].tolist() == pool.models.tolist()
    np.testing.assert_allclose(frame["kept"], pool.kept.mean(axis=0))
    assert (frame["times_chosen"] <= 2).all()
    lines = str(pool).splitlines()
    assert len(lines) == 6
    assert "100%" in lines[-1]


def test_the_picture_has_a_point_for_each_size():
    pool = find()
    display = PoolDisplay.from_pool(pool, name="ridge")
    np.testing.assert_allclose(display.line_.get_ydata(), pool.kept.mean(axis=0))
    labels = [tick.get_text() for tick in display.ax_.get_xticklabels()]
    assert labels == [f"{k}: + {m}" for k, m in enumerate(pool.models, 1)]
    with pytest.raises(ValueError, match="kept must have a column for each of the 2"):
        PoolDisplay(["a", "b"], [[0.0, 0.5, 1.0]]).plot()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_models": 0}, "max_models must be at least 1; got 0"),
        ({"max_models": 2.5}, "max_models must be an integer"),
        ({"seeds": ()}, "seeds must be at least 1 split"),
        ({"costs": None}, "costs must be"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        find(**options)


def test_progress_counts_the_fits():
    seen = []
    find(seeds=1, progress=lambda *numbers: seen.append(numbers))
    assert seen == [(0, 2), (1, 2)]
