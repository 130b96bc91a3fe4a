"""Check answers, then escalate: which model next, and whose answer is returned."""
