"""Vectors to indices to neighbors."""
