"""From prompts and the numbers beside them to the vectors that a router reads.

`TextRouter` is the public face; comparisons give the same vectors to every router.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_array

from skroute._table.numbers import FLOATS, has_plain_numbers
from skroute.text._encoder import SentenceEncoder
from skroute.text._features import PromptFeatures
from skroute.text._prompts import split_table


class MissingEncoder(TransformerMixin, BaseEstimator):
    """Stands in a router's file for an encoder that no file holds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(self, X: Any, y: Any = None) -> NoReturn:
        """Say which encoder is lacking."""
        self.transform(X)

    def transform(self, X: Any) -> NoReturn:
        """Say which encoder is lacking."""
        raise ValueError(
            f"this router was fitted with {self.name} as its encoder, which its file "
            "does not hold: give it again, router.set_params(encoder=...)."
        )


@dataclass(frozen=True)
class TextVectors:
    """The parts of a vector: numbers that came along, an encoder's, words and surface.

    Each part but the last is divided by its mean length in training, so that none
    outweighs the others by its unit alone.
    """

    encoder: Any
    features: Any
    #: Width and mean length of the numbers and of the encoder's vectors; ``None`` for
    #: a part that is not there.
    numbers: tuple[int, float] | None = None
    encoded: tuple[int, float] | None = None
    #: Place of the prompts among the columns of X.
    prompt_column: int = 0

    @classmethod
    def fit(
        cls,
        X: Any,
        encoder: Any = None,
        prompt_features: Any = True,
        random_state: Any = None,
    ) -> tuple[Self, np.ndarray]:
        """Fit the parts on training prompts; returns also the vectors of these.

        `X` and the others are as in `TextRouter`.
        """
        prompts, numbers, column = split_table(X)
        encoder = _prepare_encoder(encoder)
        features = _prepare_features(prompt_features, random_state)
        if encoder is None and features is None and numbers is None:
            raise ValueError(
                "encoder=None and prompt_features=False leave nothing of a prompt: "
                "give an encoder, prompt_features=True, or columns of an embedding "
                "beside the prompts."
            )
        if encoder is not None and not _is_stateless(encoder):
            encoder = encoder.fit(prompts)
        encoded = None if encoder is None else _encode(encoder, prompts)
        if features is not None:
            features = features.fit(prompts)
        made = cls(encoder, features, _measure(numbers), _measure(encoded), column)
        return made, made._join(prompts, numbers, encoded)

    def transform(self, X: Any, given: Any = None) -> np.ndarray:
        """Give the vectors of prompts, (n_queries, n_features).

        An encoder that the file of the router did not hold is to be `given`.
        """
        prompts, numbers, _ = split_table(X, self.prompt_column)
        encoder = self.encoder
        if isinstance(encoder, MissingEncoder) and given is not None:
            encoder = _prepare_encoder(given)
        encoded = None
        if encoder is not None:
            assert self.encoded is not None
            width = self.encoded[0]
            # Not every encoder takes no texts.
            encoded = np.empty((0, width), np.float32)
            if prompts:
                encoded = _encode(encoder, prompts)
            if encoded.shape[1] != width:
                raise ValueError(
                    f"the encoder gave {encoded.shape[1]} numbers for each prompt, and "
                    f"{width} in fit: use the same encoder, or fit again."
                )
        return self._join(prompts, numbers, encoded)

    def without_encoder(self) -> TextVectors:
        """Replace an encoder that no file holds by its name."""
        return replace(self, encoder=name_missing(self.encoder))

    def find_blocks(self, width: int) -> tuple[int, ...]:
        """Find the widths of the parts of vectors of this `width`, in their order."""
        given = [size[0] for size in (self.numbers, self.encoded) if size]
        described = width - sum(given)
        return (*given, described) if described else tuple(given)

    def _join(
        self,
        prompts: list[str],
        numbers: np.ndarray | None,
        encoded: np.ndarray | None,
    ) -> np.ndarray:
        given = [(numbers, self.numbers), (encoded, self.encoded)]
        parts = [(part, size[1]) for part, size in given if part is not None and size]
        # What stands alone needs no scale, and keeps its precision.
        if self.features is None and len(parts) == 1:
            return parts[0][0]
        scaled = [(part / length).astype(np.float32) for part, length in parts]
        if self.features is not None:
            scaled.append(_check_vectors(self.features.transform(prompts), prompts))
        return np.concatenate(scaled, axis=1, dtype=np.float32)


def name_missing(encoder: Any) -> Any:
    """Give the name of an encoder in place of one that no file holds."""
    if isinstance(encoder, str):
        return MissingEncoder(repr(encoder))
    if isinstance(encoder, SentenceEncoder):
        model = encoder.model
        named = repr(model) if isinstance(model, str) else type(model).__name__
        return MissingEncoder(f"SentenceEncoder({named})")
    if encoder is None or hasattr(encoder, "transform"):
        return encoder
    name = getattr(encoder, "__name__", type(encoder).__name__)
    return MissingEncoder(f"the function {name}")


def _prepare_encoder(encoder: Any) -> Any:
    """Make a copy to fit of what is given as `encoder`; functions stay as they are."""
    if encoder is None:
        return None
    if isinstance(encoder, str):
        return SentenceEncoder(encoder)
    if isinstance(encoder, type):
        raise TypeError(
            f"encoder must be an encoder, not the class {encoder.__name__}: give "
            f"{encoder.__name__}()."
        )
    if _is_stateless(encoder):
        return encoder
    if hasattr(encoder, "fit") and hasattr(encoder, "transform"):
        return clone(encoder)
    raise TypeError(
        "encoder must be None, the name of a model of sentence-transformers, a "
        "transformer of texts, or a function that takes a list of texts and returns "
        f"an array of shape (n_queries, n_features); got {encoder!r}."
    )


def _is_stateless(encoder: Any) -> bool:
    """Whether nothing is to be fitted: a function, or a model that was trained."""
    if isinstance(encoder, SentenceEncoder):
        return True
    return callable(encoder) and not hasattr(encoder, "transform")


def _prepare_features(prompt_features: Any, random_state: Any) -> Any:
    if prompt_features is True:
        return PromptFeatures(random_state=random_state)
    if prompt_features is False:
        return None
    if isinstance(prompt_features, type) or not hasattr(prompt_features, "transform"):
        raise TypeError(
            "prompt_features must be True, False, or a transformer of texts such as "
            f"PromptFeatures(); got {prompt_features!r}."
        )
    return clone(prompt_features)


def _encode(encoder: Any, prompts: list[str]) -> np.ndarray:
    embed: Callable[[list[str]], Any] = getattr(encoder, "transform", encoder)
    return _check_vectors(embed(prompts), prompts, "the encoder")


def _check_vectors(
    vectors: Any, prompts: list[str], source: str = "prompt_features"
) -> np.ndarray:
    """Check what an encoder of others gave: dense, finite, a row for each prompt."""
    if hasattr(vectors, "tocsr"):
        raise TypeError(
            f"{source} gave a sparse matrix of shape {vectors.shape}, but a router "
            "needs dense vectors: put TruncatedSVD behind it, "
            "make_pipeline(TfidfVectorizer(), TruncatedSVD(256))."
        )
    if type(vectors) is np.ndarray and vectors.ndim == 2:
        vectors = np.ascontiguousarray(vectors)
    if not has_plain_numbers(vectors):
        vectors = check_array(
            vectors,
            dtype=FLOATS,
            order="C",
            ensure_min_samples=0,
            input_name=f"what {source} gave",
        )
    if len(vectors) != len(prompts):
        raise ValueError(
            f"{source} gave {len(vectors)} vectors for {len(prompts)} prompts; it must "
            "give one for each, in their order."
        )
    return vectors


def _measure(part: np.ndarray | None) -> tuple[int, float] | None:
    """Width and root mean squared length of a part."""
    if part is None:
        return None
    squares = np.einsum("ij,ij->i", part, part, dtype=np.float64)
    length = float(np.sqrt(squares.mean())) if len(part) else 0.0
    return part.shape[1], length or 1.0
