"""The rules of the decision: what the messages need, and what is allowed."""
