"""Win rates: invariants, the truth of simulated votes, and what cannot be known."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from skroute import RankingRouter
from skroute.datasets import make_routing, read_routerbench
from skroute.preferences import win_rates

N = 400
MODELS = np.array(["ada", "bob", "cy", "dot"])


def draw(seed=0, n=N, n_models=4, *, neighbours=False, position=0.0, effect=2.0):
    """Battles with a known truth: strengths that are linear in two features."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    weights = np.zeros((4, n_models))
    weights[:2] = rng.normal(0, effect, (2, n_models))
    level = np.arange(n_models) * 0.5
    strength = X @ weights + level
    if neighbours:
        first = rng.integers(n_models - 1, size=n)
        second = first + 1
        turned = rng.random(n) < 0.5
        first, second = np.where(turned, [second, first], [first, second])
    else:
        first = rng.integers(n_models, size=n)
        second = (first + rng.integers(1, n_models, size=n)) % n_models
    rows = np.arange(n)
    chance = expit(strength[rows, first] - strength[rows, second] + position)
    score = np.where(rng.random(n) < 0.2, 0.5, (rng.random(n) < chance) * 1.0)
    names = MODELS[:n_models]
    battles = {
        "model_a": names[first].astype(object),
        "model_b": names[second].astype(object),
        "score": score,
    }
    lead = expit(strength[:, :, None] - strength[:, None, :])
    # One vote in five is a tie.
    truth = 0.8 * (lead.sum(axis=2) - 0.5) / (n_models - 1) + 0.1
    return X, battles, truth


def swap(battles, turned):
    """The same battles with the positions of some swapped."""
    first, second, score = (np.asarray(battles[k]) for k in battles)
    return {
        "model_a": np.where(turned, second, first),
        "model_b": np.where(turned, first, second),
        "score": np.where(turned, 1 - score, score),
    }


@pytest.mark.parametrize("neighbours", [False, True])
def test_rates_are_those_of_the_truth(neighbours):
    X, battles, truth = draw(0, 3000, neighbours=neighbours)
    rates = win_rates(X, battles, random_state=0)
    assert list(rates.columns) == MODELS.tolist()
    found = rates.to_numpy()
    np.testing.assert_allclose(found.mean(axis=1), 0.5)
    assert (found > 0).all()
    assert (found < 1).all()
    assert np.abs(found - truth).mean() < 0.08
    lost = truth.max(axis=1) - truth[np.arange(3000), found.argmax(axis=1)]
    assert lost.mean() < 0.1 * (truth.max(axis=1).mean() - truth.mean(axis=0).max())


def test_neighbours_do_not_make_the_router_a_constant():
    """Wins and losses with holes do: everyone wins half against an equal."""
    table = make_routing(2500, n_models=5, random_state=0)
    rng = np.random.default_rng(0)
    quality = table.expected_quality
    order = quality[:2000].mean(axis=0).argsort()
    at = rng.integers(4, size=2000)
    pair = np.stack([order[at], order[at + 1]], axis=1)
    first, second = rng.permuted(pair, axis=1).T
    rows = np.arange(2000)
    odds = 4 * (quality[rows, first] - quality[rows, second])
    score = (rng.random(2000) < expit(odds)) * 1.0
    battles = {"model_a": first, "model_b": second, "score": score}
    rates = win_rates(table.data[:2000], battles, random_state=0)
    router = RankingRouter(dict.fromkeys(rates.columns, 1.0), n_estimators=0)
    names = router.fit(table.data[:2000], rates).route(table.data[2000:])
    held_out = quality[2000:]
    reached = held_out[np.arange(500), names.astype(int)].mean()
    single, best = held_out.mean(axis=0).max(), held_out.max(axis=1).mean()
    assert best - reached < 0.5 * (best - single)


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(4)), seed=st.integers(0, 3))
def test_names_of_models_do_not_matter(order, seed):
    X, battles, _ = draw(seed)
    rates = win_rates(X, battles, cv=3, random_state=0)
    new = dict(zip(MODELS, MODELS[list(order)], strict=True))
    renamed = {
        **battles,
        "model_a": [new[m] for m in battles["model_a"]],
        "model_b": [new[m] for m in battles["model_b"]],
    }
    again = win_rates(X, renamed, cv=3, random_state=0)
    np.testing.assert_allclose(
        rates.rename(columns=new)[again.columns], again, atol=2e-3
    )


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 3))
def test_all_positions_swapped_are_the_same_battles(seed):
    X, battles, _ = draw(seed, position=0.4)
    rates = win_rates(X, battles, cv=3, random_state=0)
    swapped = swap(battles, np.ones(N, dtype=bool))
    np.testing.assert_allclose(
        win_rates(X, swapped, cv=3, random_state=0), rates, atol=2e-3
    )


def test_the_position_is_left_out():
    for position in (0.0, 1.0):
        X, battles, truth = draw(1, 3000, position=position)
        rates = win_rates(X, battles, random_state=0).to_numpy()
        assert np.abs(rates - truth).mean() < 0.06
    # Always in the same position: this is the model's merit, for all one can know.
    X, battles, truth = draw(2, 2000, n_models=2)
    swapped = swap(battles, np.asarray(battles["model_a"]) == "bob")
    assert set(swapped["model_a"]) == {"ada"}
    rates = win_rates(X, swapped, random_state=0).to_numpy()
    assert np.abs(rates - truth).mean() < 0.06


def test_kinds_of_tables_rows_and_holes():
    X, battles, _ = draw(3)
    rates = win_rates(X, battles, random_state=0)
    frame = pd.DataFrame(battles)
    structured = np.zeros(N, [("model_a", object), ("model_b", object), ("score", "f")])
    for name in battles:
        structured[name] = battles[name]
    for table in (frame, pl.DataFrame(frame), structured, frame.to_dict("list")):
        pd.testing.assert_frame_equal(win_rates(X, table, random_state=0), rates)
    # In another order, by position, and by names of rows.
    order = np.random.default_rng(0).permutation(N)
    turned = frame.iloc[order].reset_index(drop=True)
    for X_given, query in (
        (X, order),
        (pd.DataFrame(X), order),
        (pd.DataFrame(X, index=[f"q{i}" for i in range(N)]), order),
        (
            pd.DataFrame(X, index=[f"q{i}" for i in range(N)]),
            [f"q{i}" for i in order],
        ),
        (pd.DataFrame(X, index=range(7, N + 7)), order + 7),
    ):
        found = win_rates(X_given, turned.assign(query=query), random_state=0)
        np.testing.assert_allclose(found, rates, atol=2e-3)
        if hasattr(X_given, "index"):
            assert found.index.equals(X_given.index)
    # Without a score, a battle is none; a query without a battle is estimated.
    holes = frame.assign(query=np.arange(N))
    kept = holes.iloc[: N // 2]
    holes.loc[N // 2 :, "score"] = np.nan
    found = win_rates(X, holes, random_state=0)
    assert found.notna().all(axis=None)
    pd.testing.assert_frame_equal(found, win_rates(X, kept, random_state=0))


def test_same_seed_same_numbers():
    X, battles, _ = draw(4)
    one, two = (win_rates(X, battles, random_state=3) for _ in range(2))
    assert one.to_numpy().tobytes() == two.to_numpy().tobytes()


def test_no_query_knows_its_own_battles_nor_those_of_its_duplicates():
    """Random votes on repeated prompts teach nothing about these very prompts."""
    rng = np.random.default_rng(0)
    prompts = rng.normal(size=(60, 80))
    which = np.repeat(np.arange(60), 4)
    liked = rng.random(60) < 0.5
    battles = {
        "model_a": ["x"] * 240,
        "model_b": ["y"] * 240,
        "score": liked[which] * 1.0,
    }
    X = prompts[which] + rng.normal(0, 1e-6, (240, 80))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rates = win_rates(X, battles, random_state=0)
        grouped = win_rates(np.eye(240), battles, groups=which, random_state=0)
    assert np.corrcoef(rates["x"], liked[which])[0, 1] < 0.3
    assert np.corrcoef(grouped["x"], liked[which])[0, 1] < 0.3


def test_models_that_never_met_are_refused():
    X, battles, _ = draw(5)
    apart = {
        "model_a": ["ada", "cy"] * 200,
        "model_b": ["bob", "dot"] * 200,
        "score": battles["score"],
    }
    with pytest.raises(
        ValueError, match=r"2 groups never met: ada, bob; cy, dot\. Add"
    ):
        win_rates(X, apart)
    # Battles that were not voted on connect nothing.
    joined = pd.DataFrame(apart)
    joined.loc[0, ["model_a", "model_b"]] = "ada", "cy"
    joined["score"] = joined["score"].where(joined.index > 0)
    with pytest.raises(ValueError, match="never met"):
        win_rates(X, joined)
    joined.loc[0, "score"] = 1.0
    with pytest.warns(UserWarning, match="do not show clearly"):
        win_rates(X, joined, random_state=0)


def test_models_of_few_battles_are_named():
    X, battles, _ = draw(6)
    battles["model_a"][:3] = "new"
    with pytest.warns(UserWarning, match=r"1 of the 5 models: new \(3\)\. Their"):
        win_rates(X, battles, random_state=0)


def test_votes_that_do_not_depend_on_the_query_are_not_silent():
    X, battles, _ = draw(7, 600, effect=0.0)
    with pytest.warns(UserWarning, match="do not show clearly that the better model"):
        rates = win_rates(X, battles, random_state=0)
    assert rates.std().max() < 0.1
    # The order of the models is known nevertheless.
    assert rates.mean().idxmax() == "dot"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [2.0] * N}, r"must lie in 0..1.*got 2 in row 0"),
        ({"score": [np.nan] * N}, "no battle with a score"),
        ({"score": ["a"] * N}, r"battles\['score'\] must hold numbers"),
        ({"score": [1.0] * (N - 1)}, "must have one model for each of the 399"),
        ({"model_a": ["ada"] * (N - 1) + [None]}, "row 399 is empty"),
        ({"model_a": ["x"] * N, "model_b": ["x"] * N}, "both x. Drop these rows, 400"),
        ({"model_a": ["a\n"] * N}, "cannot be printed"),
        ({"query": np.arange(N) + 1}, r"0\.\.399; got 400 in row 399"),
        ({"query": [f"q{i}" for i in range(N)]}, "X has no row labels"),
        ({"query": [0.5] * N}, "which are no row of X"),
        ({"query": [1, 2]}, "one query for each of the 400"),
    ],
)
def test_bad_battles_are_named(change, message):
    X, battles, _ = draw(8)
    with pytest.raises(ValueError, match=message):
        win_rates(X, {**battles, **change})


def test_bad_arguments_are_named():
    X, battles, _ = draw(8)
    with pytest.raises(ValueError, match=r"columns model_a, model_b and score; score"):
        win_rates(X, {k: battles[k] for k in ("model_a", "model_b")})
    with pytest.raises(ValueError, match="gives them as `battles`"):
        win_rates(X, {"data": X, "battles": battles})
    with pytest.raises(TypeError, match="got list"):
        win_rates(X, [1, 2])
    with pytest.raises(ValueError, match="400 battles and 399 rows of X"):
        win_rates(X[1:], battles)
    with pytest.raises(ValueError, match="cv must be at least 2"):
        win_rates(X, battles, cv=1)
    with pytest.raises(ValueError, match="at least 2 different queries"):
        win_rates(np.ones((5, 4)), pd.DataFrame(battles).head(5))
    with pytest.raises(ValueError, match="X holds texts"):
        win_rates(["text"] * N, battles)
    labels = pd.DataFrame(X, index=["q"] * N)
    with pytest.raises(ValueError, match="row labels of X repeat"):
        win_rates(labels, {**battles, "query": ["q"] * N})


def test_the_unit_of_the_embedding_does_not_matter():
    X, battles, _ = draw(9)
    rates = win_rates(X, battles, random_state=0)
    for scaled in (X * 1e6, X * 1e-6, X + 5.0):
        np.testing.assert_allclose(
            win_rates(scaled, battles, random_state=0), rates, atol=2e-3
        )


def test_without_pandas_it_is_an_array(run_strictly):
    said = run_strictly(
        """
        import sys
        sys.modules["pandas"] = None
        import numpy as np
        from skroute.preferences import win_rates
        X = np.random.default_rng(0).normal(size=(200, 3))
        battles = {"model_a": ["x"] * 200, "model_b": ["y"] * 200,
                   "score": (X[:, 0] > 0) * 1.0}
        rates = win_rates(X, battles, random_state=0)
        print(type(rates).__name__, rates.shape)
        """
    )
    assert said.split(maxsplit=1) == ["ndarray", "(200, 2)\n"]


@pytest.mark.slow
def test_battles_of_a_real_table_are_worth_a_router(shared_data):
    table = read_routerbench(
        shared_data / "paretobandit.csv.gz",
        embeddings=shared_data / "paretobandit_minilm.npy",
    )
    known = np.isfinite(table.quality).all(axis=1)
    X, y = table.data[known], table.quality[known]
    rng = np.random.default_rng(0)
    n_models = y.shape[1]
    query = rng.integers(len(X), size=3000)
    first = rng.integers(n_models, size=3000)
    second = (first + rng.integers(1, n_models, size=3000)) % n_models
    lead = y[query, first] - y[query, second]
    battles = {
        "query": query,
        "model_a": table.models[first],
        "model_b": table.models[second],
        "score": 0.5 * (np.sign(lead) + 1),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rates = win_rates(X, battles, random_state=0)
    # The models come in the order that their mean qualities have.
    means = pd.Series(y.mean(axis=0), index=table.models)[rates.columns]
    assert np.corrcoef(rates.mean(), means)[0, 1] > 0.9
    assert rates.shape == (len(X), n_models)
