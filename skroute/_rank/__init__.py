"""LambdaRank over pairs of a query and a model."""
