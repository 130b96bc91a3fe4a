"""SentenceEncoder: sentence-transformers as a step of scikit-learn, which it is not."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from skroute._doc_link import LinksToDocs
from skroute._optional import require
from skroute._table.numbers import check_integer
from skroute.text._prompts import check_prompts

__all__ = ["SentenceEncoder"]


class SentenceEncoder(LinksToDocs, TransformerMixin, BaseEstimator):
    """Embed texts with a model of sentence-transformers.

    Nothing is learnt from the texts, so it need not be fitted; the model is loaded when
    it is first used. Needs ``pip install 'scikit-route[text]'``.

    Parameters
    ----------
    model : str, path-like or SentenceTransformer, \
            default="sentence-transformers/all-MiniLM-L6-v2"
        A name on the Hugging Face hub, the folder of a saved model, or a loaded model.
    batch_size : int, default=32
        Texts that are embedded at once.
    normalize : bool, default=True
        Scale vectors to length 1.
    device : str, default=None
        Such as ``"cpu"`` or ``"cuda"``; by default the fastest there is.

    See Also
    --------
    TextRouter : A router that embeds its prompts itself.
    PromptFeatures : Words and surface of prompts, without a neural network.

    Notes
    -----
    Pickles and clones of an encoder with a name or a folder hold only that, and load
    the model again where they are used; with a loaded model they hold its weights. A
    model by name is downloaded the first time, unless the environment variable
    ``HF_HUB_OFFLINE`` is set.

    Most models read the beginning of a text only (``max_seq_length``, 256 tokens for
    the default): texts that begin with the same long instruction get the same vector,
    and no router tells them apart. Embed the part that differs.

    Examples
    --------
    >>> from skroute import BudgetDecider, RankingRouter
    >>> from skroute.text import SentenceEncoder
    >>> from sklearn.pipeline import make_pipeline
    >>> make_pipeline(
    ...     SentenceEncoder(batch_size=64), RankingRouter(), BudgetDecider(budget=0.01)
    ... )
    Pipeline(...SentenceEncoder(batch_size=64)...
    """

    def __init__(
        self,
        model: Any = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        batch_size: int = 32,
        normalize: bool = True,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.normalize = normalize
        self.device = device

    def fit(self, X: Any, y: Any = None) -> SentenceEncoder:
        """Load the model and check the texts; nothing is learnt.

        Parameters
        ----------
        X : array-like of str, of shape (n_queries,)
            Texts; also a DataFrame with one column.
        y : object, default=None
            Ignored.

        Returns
        -------
        SentenceEncoder
            The encoder itself.

        Raises
        ------
        ImportError
            If sentence-transformers is not installed.
        OSError
            If the model cannot be found or downloaded.
        TypeError
            If `X` holds anything but texts.
        """
        check_prompts(X)
        check_integer(self.batch_size, "batch_size", low=1)
        self._load()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed texts.

        Parameters
        ----------
        X : array-like of str, of shape (n_queries,)
            Texts; also a DataFrame with one column.

        Returns
        -------
        ndarray of shape (n_queries, n_features)
            Vectors, float32. Errors are those of `fit`.
        """
        texts = check_prompts(X)
        batch_size = check_integer(self.batch_size, "batch_size", low=1)
        model = self._load()
        # An empty table still has the width of the model.
        if not texts:
            return np.empty((0, self._find_width()), dtype=np.float32)
        vectors = model.encode(
            texts,
            batch_size=batch_size,
            normalize_embeddings=self.normalize,
            device=self.device,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of the vectors.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of shape (n_features,)
            ``embedding_0``, ``embedding_1``, ...
        """
        names = [f"embedding_{i}" for i in range(self._find_width())]
        return np.array(names, dtype=object)

    def _find_width(self) -> int:
        model = self._load()
        # The second is its name before sentence-transformers 5.
        for name in ("get_embedding_dimension", "get_sentence_embedding_dimension"):
            if hasattr(model, name):
                return getattr(model, name)()
        return np.shape(model.encode([""]))[1]

    def _load(self) -> Any:
        """Give the model; one that is named is loaded once for each name and device."""
        if not isinstance(self.model, str | os.PathLike):
            return self.model
        wanted = str(self.model), self.device
        if vars(self).get("_loaded_from") != wanted:
            self._loaded = _load_model(*wanted)
            self._loaded_from = wanted
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the weights of a model that can be loaded by its name."""
        state = dict(super().__getstate__())
        state.pop("_loaded", None)
        state.pop("_loaded_from", None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags


@lru_cache(maxsize=2)
def _load_model(model: str, device: str | None) -> Any:
    """Load a model, which clones share: each fold of a search has an encoder."""
    library = require("sentence_transformers", "SentenceEncoder", "text")
    return library.SentenceTransformer(model, device=device)
