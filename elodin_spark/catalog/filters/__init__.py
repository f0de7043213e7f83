"""Conditions on cutouts, parsed against a list of what is allowed and run by DuckDB."""
