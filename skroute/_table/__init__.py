"""What comes in: checks of queries, outcomes, costs and names."""
