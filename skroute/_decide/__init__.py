"""From estimates to the model that is called."""
