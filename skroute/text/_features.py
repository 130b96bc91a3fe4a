"""PromptFeatures: the words of a prompt and its surface, as a few numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.validation import check_is_fitted

from skroute._compute.threads import single_threaded
from skroute._doc_link import LinksToDocs
from skroute._table.numbers import check_integer
from skroute.text._prompts import check_prompts
from skroute.text._surface import SURFACE, measure_surface

__all__ = ["PromptFeatures"]

# Lengths of the two parts, beside an embedding of length 1.
_WORDS_NORM = 0.7
_SURFACE_NORM = 0.5
# Standard deviations beyond which a measure of the surface counts no further.
_CLIPPED = 3.0
_LARGEST_BYTE = 127.0


class PromptFeatures(LinksToDocs, TransformerMixin, BaseEstimator):
    """Describe prompts by their words and by their surface.

    Words are weighed by TF-IDF (single words and pairs of neighbours) and reduced by a
    truncated singular value decomposition to vectors of length 0.7. The surface is 14
    measures (length, words, lines, question marks, code, lettered options, shares of
    digits, capitals, operators, ...), standardised and clipped, of length 0.5 on
    average. So scaled they stand beside an embedding of length 1, and tell what it does
    not: :class:`TextRouter` puts them there.

    Parameters
    ----------
    n_components : int, default=128
        Width of the words' part, at most.
    max_terms : int, default=15000
        Words and pairs that are kept, the most frequent ones. A saved router grows by
        about 0.15 kB for each.
    random_state : int, RandomState instance or None, default=None
        Starts the decomposition.

    Attributes
    ----------
    vectorizer_ : TfidfVectorizer or None
        Terms and their weights; ``None`` where no prompt has words.
    directions_ : ndarray of int8 of shape (n_terms, n_components) or None
        What each term adds to the words' part, in units of its `term_weights_`.
    term_weights_ : ndarray of shape (n_terms,) or None
        Inverse document frequency of each term, times the unit of its direction.
    surface_mean_, surface_std_ : ndarray of shape (14,)
        Mean and standard deviation of each measure; 0 where it does not vary.

    See Also
    --------
    SentenceEncoder : Embeddings of a neural network.
    TextRouter : A router that reads prompts.

    Examples
    --------
    >>> from skroute.text import PromptFeatures
    >>> prompts = ["Sort a list in Python", "Write a poem on rain", "What is 2 + 3?"]
    >>> features = PromptFeatures(random_state=0).fit(prompts)
    >>> features.transform(["Sort names in Python"]).shape
    (1, 17)
    >>> features.get_feature_names_out()[[0, -1]].tolist()
    ['words_0', 'commas']
    """

    def __init__(
        self,
        n_components: int = 128,
        *,
        max_terms: int = 15_000,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.max_terms = max_terms
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the terms, their directions and the spread of the surface.

        Parameters
        ----------
        X : array-like of str, of shape (n_queries,)
            Prompts; also a DataFrame with one column.
        y : object, default=None
            Ignored: nothing is learnt from outcomes.

        Returns
        -------
        self : PromptFeatures
            The fitted transformer.

        Raises
        ------
        TypeError
            If `X` holds anything but texts.
        ValueError
            If there are no prompts, or a parameter is not as described.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, and describe the same prompts.

        Parameters
        ----------
        X, y
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_queries, n_features)
            As `transform` gives it. Errors are those of `fit`.
        """
        return self._fit(X).transform(X)

    def transform(self, X: Any) -> np.ndarray:
        """Describe prompts.

        Parameters
        ----------
        X : array-like of str, of shape (n_queries,)
            Prompts; also a DataFrame with one column.

        Returns
        -------
        ndarray of shape (n_queries, n_features)
            The words, then the surface, float32.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        TypeError
            If `X` holds anything but texts.
        """
        check_is_fitted(self)
        prompts = check_prompts(X)
        surface = measure_surface(prompts) - self.surface_mean_
        # What is the same in all training prompts says nothing of another prompt.
        surface /= np.where(self.surface_std_ > 0, self.surface_std_, np.inf)
        # np.clip takes several times as long on the few numbers of a prompt.
        surface = np.minimum(np.maximum(surface, -_CLIPPED), _CLIPPED)
        surface *= _SURFACE_NORM / np.sqrt(len(SURFACE))
        parts = self._reduce_words(prompts), surface
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of `transform`.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``words_0``, ``words_1``, ..., then the measures of the surface.
        """
        check_is_fitted(self)
        n_words = 0 if self.directions_ is None else self.directions_.shape[1]
        names = [*(f"words_{i}" for i in range(n_words)), *SURFACE]
        return np.array(names, dtype=object)

    def _fit(self, X: Any) -> Self:
        """Fit all parts, and set them once none has failed."""
        n_components = check_integer(self.n_components, "n_components", low=1)
        max_terms = check_integer(self.max_terms, "max_terms", low=2)
        prompts = check_prompts(X)
        if not prompts:
            raise ValueError("X must hold at least one prompt; got none.")
        # One thread: sums in another order are other directions.
        with single_threaded():
            words = self._fit_words(prompts, n_components, max_terms)
        surface = measure_surface(prompts)
        spread = surface.std(axis=0)
        # Of equal numbers rounding leaves a spread that is not quite 0.
        constant = spread <= 1e-9 * np.maximum(1.0, np.abs(surface).max(axis=0))
        self.vectorizer_, self.directions_, self.term_weights_ = words
        self.surface_mean_ = surface.mean(axis=0)
        self.surface_std_ = np.where(constant, 0.0, spread)
        return self

    def _fit_words(
        self, prompts: list[str], n_components: int, max_terms: int
    ) -> tuple[Any, np.ndarray | None, np.ndarray | None]:
        """Fit TF-IDF and its decomposition, unless there are fewer than two terms."""
        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2),
            sublinear_tf=True,
            max_features=max_terms,
            dtype=np.float32,
        )
        analyze = vectorizer.build_analyzer()
        # Two terms are the fewest that are decomposed.
        if not any(len(set(analyze(prompt))) > 1 for prompt in prompts):
            return None, None, None
        counts = vectorizer.fit_transform(prompts)
        # Plain numbers, in their order: numpy's take several times the room in a file.
        columns = sorted((int(i), term) for term, i in vectorizer.vocabulary_.items())
        vectorizer.vocabulary_ = {term: i for i, term in columns}
        svd = TruncatedSVD(
            min(n_components, *counts.shape), random_state=self.random_state
        )
        # A row for each term, of which few are in a prompt. A byte for each number is
        # enough: errors average out over these, and more terms fit into a file.
        directions = np.ascontiguousarray(svd.fit(counts).components_.T)
        unit = np.abs(directions).max(axis=1) / _LARGEST_BYTE
        unit[unit == 0] = 1.0
        weights = (vectorizer.idf_ * unit).astype(np.float32)
        return vectorizer, np.rint(directions / unit[:, None]).astype(np.int8), weights

    def _reduce_words(self, prompts: list[str]) -> np.ndarray:
        """Project the words of prompts; a prompt of unknown words is a row of zeros."""
        if self.directions_ is None or self.term_weights_ is None:
            return np.zeros((len(prompts), 0), dtype=np.float32)
        columns = self.vectorizer_.vocabulary_
        analyze = self.vectorizer_.build_analyzer()
        words = np.zeros((len(prompts), self.directions_.shape[1]), dtype=np.float32)
        # TfidfVectorizer.transform checks a single prompt for longer than it reads it.
        for row, prompt in enumerate(prompts):
            counts = Counter([columns[t] for t in analyze(prompt) if t in columns])
            if not counts:
                continue
            found = np.fromiter(counts, dtype=np.intp)
            count = np.fromiter(counts.values(), dtype=np.float32)
            weight = (1.0 + np.log(count)) * self.term_weights_[found]
            words[row] = weight @ self.directions_[found].astype(np.float32)
        length = np.sqrt(np.add.reduce(words * words, axis=1, keepdims=True))
        return words * (_WORDS_NORM / np.where(length > 0, length, 1.0))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
