"""Prompts of four kinds, of which two are hard for the small model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch

KINDS = [
    "Greet my friend number {}",
    "Prove lemma {} on compact groups, step by step:\n1. state it\n2. prove it",
    "Translate sentence {} into Italian, please",
    "Fix this code:\n```python\ndef f_{}(x):\n    return x + 1\n```",
]


@pytest.fixture(scope="session")
def pool() -> Bunch:
    """Prompts, embeddings that tell nothing, qualities with holes, and costs."""
    rng = np.random.default_rng(0)
    n = 240
    prompts = [KINDS[i % 4].format(i) for i in range(n)]
    hard = np.arange(n) % 4 % 2 == 1
    quality = np.column_stack([rng.uniform(size=n) > 0.1 + 0.8 * hard, np.ones(n)])
    y = pd.DataFrame(quality.astype(float), columns=["small", "large"])
    y.iloc[::9, 0] = np.nan
    length = np.array([len(prompt) for prompt in prompts])
    costs = length[:, None] * [0.01, 0.2]
    embeddings = rng.normal(size=(n, 6)).astype(np.float32)
    return Bunch(prompts=prompts, embeddings=embeddings, y=y, costs=costs, hard=hard)


@pytest.fixture(scope="session")
def frame(pool: Any) -> pd.DataFrame:
    """The prompts between the columns of their embeddings."""
    table = pd.DataFrame(pool.embeddings, columns=[f"e{i}" for i in range(6)])
    table.insert(2, "question", pool.prompts)
    return table
