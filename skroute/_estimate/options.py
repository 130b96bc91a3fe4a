"""Choices inside the ranking router that its parameters do not offer.

``benchmarks/ablation.py`` measures what each is worth by changing one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OPTIONS", "Options"]


@dataclass(frozen=True)
class Options:
    """What is estimated, and when a ranker is used.

    Attributes
    ----------
    gammas : tuple of float
        Widths of the kernels, for embeddings of unit mean squared distance from their
        centre. One is enough, about as wide as the cloud of queries.
    profiles : tuple of int
        Clusters of each profile: from tasks to topics.
    offsets : tuple of int
        Strengths of each regression that get a weight, as steps on the grid from the
        best one: a factor of 16 to either side. Smoother fits earn weight where the
        strength that is best for most queries is too weak for some.
    n_hidden : int
        How many of these strengths, at either end, the ranker does not see.
    two_weights : bool
        Weigh the level of a query and the differences of its models separately.
    trust : bool
        Shrink estimates of queries far from the training data to the models' means.
    min_ranked : int
        Least number of queries on which models differ; fewer teach a ranker noise.
    doubt : float
        Standard errors by which the gain of a ranker must exceed 0.
    """

    gammas: tuple[float, ...] = (1.0,)
    profiles: tuple[int, ...] = (8, 32, 128)
    offsets: tuple[int, ...] = (-4, -2, 0, 2, 4)
    n_hidden: int = 1
    two_weights: bool = True
    trust: bool = True
    min_ranked: int = 100
    doubt: float = 2.0

    @property
    def shown(self) -> slice:
        """Strengths that the ranker sees."""
        return slice(self.n_hidden, len(self.offsets) - self.n_hidden)

    @property
    def best(self) -> slice:
        """The strength with the least error, which stands in the middle."""
        middle = len(self.offsets) // 2
        return slice(middle, middle + 1)


OPTIONS = Options()
