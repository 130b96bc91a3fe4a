"""TextRouter on real prompts, their MiniLM embeddings and the money that was paid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skroute import RankingRouter, load, save
from skroute.datasets import read_routerbench
from skroute.text import PromptFeatures, TextRouter


@pytest.mark.slow
def test_captions_and_texts_of_images_are_a_block(shared_data) -> None:
    path = shared_data / "mathvista21.csv.gz"
    if not path.exists():
        pytest.skip("no mathvista21 among the shared tables")
    table = read_routerbench(path, embeddings=shared_data / "mathvista21_minilm.npy")
    images = (
        pd.read_csv(path, usecols=["caption", "ocr"]).fillna("").agg(" ".join, axis=1)
    )
    train, test = np.split(np.random.default_rng(0).permutation(len(images)), [700])
    described = PromptFeatures(32, random_state=0).fit(images.iloc[train])
    X = np.hstack([table.data, described.transform(images)], dtype=np.float32)
    y = pd.DataFrame(table.quality, columns=table.models)
    blocks = (table.data.shape[1], X.shape[1] - table.data.shape[1])
    settings = {"n_estimators": 0, "n_landmarks": 128, "random_state": 0}
    both = RankingRouter(blocks=blocks, **settings)
    both.fit(X[train], y.iloc[train], costs=table.costs[train])
    alone = RankingRouter(**settings)
    alone.fit(table.data[train], y.iloc[train], costs=table.costs[train])

    def find_error(quality: np.ndarray) -> float:
        return float(np.nanmean((quality - table.quality[test]) ** 2))

    error = find_error(both.predict_quality(X[test]))
    assert error < 1.005 * find_error(alone.predict_quality(table.data[test]))
    # Models that read the text of an image are paid for it.
    paid = table.costs[test]
    errors = [
        np.nanmean(np.abs(router.predict_cost(Z[test]) - paid))
        for router, Z in ((both, X), (alone, table.data))
    ]
    assert errors[0] < errors[1]
    assert set(both.route(X[test], min_quality="90%")) <= set(table.models)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["livecodebench", "paretobandit"])
def test_prompts_tell_what_embeddings_do_not(shared_data, name, tmp_path):
    table = read_routerbench(
        shared_data / f"{name}.csv.gz", embeddings=shared_data / f"{name}_minilm.npy"
    )
    rng = np.random.default_rng(0)
    train, test = np.split(rng.permutation(len(table.quality))[:800], [400])
    y = pd.DataFrame(table.quality, columns=table.models)
    # Holes, as tables of outcomes have them.
    y = y.mask(rng.random(y.shape) < 0.1)
    X = pd.DataFrame(table.data).add_prefix("e").assign(prompt=table.prompts)
    settings = {"n_estimators": 0, "n_landmarks": 128, "random_state": 0}
    router = TextRouter(RankingRouter(**settings))
    router.fit(X.iloc[train], y.iloc[train], costs=table.costs[train])
    alone = RankingRouter(**settings)
    alone.fit(table.data[train], y.iloc[train], costs=table.costs[train])

    def find_error(expected: np.ndarray) -> float:
        known = np.isfinite(table.costs[test])
        return float(np.abs(expected - table.costs[test])[known].mean())

    # How long the prompt is, is most of what a call costs.
    with_prompts = find_error(router.predict_cost(X.iloc[test]))
    assert with_prompts < 0.97 * find_error(alone.predict_cost(table.data[test]))
    save(router, tmp_path / "r.skroute")
    assert (tmp_path / "r.skroute").stat().st_size <= 10 * 2**20
    np.testing.assert_array_equal(
        load(tmp_path / "r.skroute").route(X.iloc[test], min_quality="95%"),
        router.route(X.iloc[test], min_quality="95%"),
    )
