"""From queries to the expected quality and cost of every model."""
