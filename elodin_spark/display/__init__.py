"""Matplotlib figures: an Axes in, an Axes out, or a whole figure made without a display."""
