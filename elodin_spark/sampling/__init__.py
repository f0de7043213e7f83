"""Stable samples by hash."""
