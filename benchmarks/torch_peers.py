"""Peer routers that are networks, in PyTorch, which is imported when one is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

__all__ = ["TorchModel", "cost_networks", "equi", "factors"]


class TorchModel(BaseEstimator):
    """A network ``build(n_features, n_models)`` as a table model, trained by Adam.

    `target` is what the network learns: the values "as is", "standardised" by column,
    or "paired": differences of scores as log-odds that one model does better than
    another, ties counting half, so that the mean difference is expected quality.
    """

    def __init__(
        self,
        build: Callable[[int, int], Any],
        loss: Callable[[Any, Any, Any], Any],
        *,
        target: str = "as is",
        epochs: int = 5,
        batch: int = 128,
        rate: float = 1e-4,
        decay: float = 0.0,
    ) -> None:
        self.build = build
        self.loss = loss
        self.target = target
        self.epochs = epochs
        self.batch = batch
        self.rate = rate
        self.decay = decay

    def fit(self, X: np.ndarray, Y: np.ndarray) -> TorchModel:
        """Train on the known entries of Y."""
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.mean_, self.unit_ = np.nanmean(Y, axis=0), 1.0
        if self.target == "standardised":
            self.unit_ = np.maximum(np.nanstd(Y, axis=0), 1e-12)
            Y = (Y - self.mean_) / self.unit_
        elif self.target == "paired":
            low, self.unit_ = np.nanmin(Y), np.nanmax(Y) - np.nanmin(Y) or 1.0
            Y = (Y - low) / self.unit_
        known = torch.tensor(np.isfinite(Y))
        inputs = torch.tensor(X, dtype=torch.float32)
        outputs = torch.tensor(np.nan_to_num(Y), dtype=torch.float32)
        self.net_ = self.build(X.shape[1], Y.shape[1])
        adam = torch.optim.Adam(
            self.net_.parameters(), lr=self.rate, weight_decay=self.decay
        )
        for _ in range(self.epochs):
            for rows in torch.randperm(len(X)).split(self.batch):
                adam.zero_grad()
                self.loss(
                    self.net_(inputs[rows]), outputs[rows], known[rows]
                ).backward()
                adam.step()
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict the table."""
        import torch

        with torch.no_grad():
            parts = torch.tensor(X, dtype=torch.float32).split(256)
            scores = torch.cat([self.net_(part) for part in parts]).double().numpy()
        if self.target == "as is":
            return scores
        if self.target == "standardised":
            return self.mean_ + self.unit_ * scores
        wins = np.tanh((scores[:, :, None] - scores[:, None, :]) / 2).mean(axis=2)
        return self.mean_.mean() + self.unit_ * wins


def _equi_network(n_features: int, n_models: int) -> Any:
    """Trunk, model embeddings that scale and shift it, and a head on both."""
    import torch
    from torch import nn

    def layer(n_in: int, n_out: int) -> list[Any]:
        return [nn.Linear(n_in, n_out), nn.GELU(), nn.LayerNorm(n_out)]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(
                *layer(n_features, 1024), *layer(1024, 512), *layer(512, 512)
            )
            self.models = nn.Embedding(n_models, 128)
            self.film = nn.Linear(128, 2 * 512)
            # The products in the head need the embedding as wide as the trunk.
            self.widen = nn.Linear(128, 512)
            self.head = nn.Sequential(
                nn.Linear(2048, 512), nn.GELU(), nn.Linear(512, 1)
            )

        def forward(self, x: Any) -> Any:
            scale, shift = self.film(self.models.weight).chunk(2, dim=-1)
            z = self.trunk(x)[:, None, :] * (1 + scale) + shift
            e = self.widen(self.models.weight).expand_as(z)
            joined = torch.cat([z, e, z * e, (z - e).abs()], dim=-1)
            return self.head(joined)[..., 0]

    return Network()


def _equi_loss(scores: Any, quality: Any, known: Any) -> Any:
    from torch.nn.functional import softplus

    loss = ((scores - quality) ** 2)[known].mean()
    ahead = quality[:, :, None] > quality[:, None, :]
    ahead &= known[:, :, None] & known[:, None, :]
    margins = (scores[:, :, None] - scores[:, None, :])[ahead]
    return loss + 50 * softplus(-margins).mean() if len(margins) else loss


def _cost_network(n_features: int, n_models: int) -> Any:
    from torch import nn

    hidden = [nn.Linear(n_features, 256), nn.GELU(), nn.Linear(256, 128), nn.GELU()]
    return nn.Sequential(*hidden, nn.Linear(128, n_models))


def _squared_loss(scores: Any, target: Any, known: Any) -> Any:
    return ((scores - target) ** 2)[known].mean()


def _factor_network(n_features: int, n_models: int) -> Any:
    """Projected query times model embedding, weighed by component."""
    from torch import nn

    # The weights of the components are part of the last layer's rows.
    return nn.Sequential(nn.Linear(n_features, 128), nn.Linear(128, n_models))


def _win_loss(scores: Any, quality: Any, known: Any) -> Any:
    from torch.nn.functional import binary_cross_entropy_with_logits

    both = known[:, :, None] & known[:, None, :]
    margins = (scores[:, :, None] - scores[:, None, :])[both]
    wins = (1 + quality[:, :, None] - quality[:, None, :])[both] / 2
    return binary_cross_entropy_with_logits(margins, wins)


def equi() -> list[TorchModel]:
    return [TorchModel(_equi_network, _equi_loss)]


def cost_networks() -> list[TorchModel]:
    shared = {"target": "standardised", "rate": 1e-3}
    return [
        TorchModel(_cost_network, _squared_loss, epochs=n, **shared) for n in (20, 60)
    ]


def factors() -> list[TorchModel]:
    shared = {"target": "paired", "batch": 64, "rate": 1e-3, "decay": 1e-5}
    return [
        TorchModel(_factor_network, _win_loss, epochs=n, **shared) for n in (5, 15, 40)
    ]
