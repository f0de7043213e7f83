"""A synthetic survey with known truth."""
