"""Pixels to windows."""
