"""What can be asked of a catalog, and what answers it."""
