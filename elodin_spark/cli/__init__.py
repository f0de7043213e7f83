"""The command line, and what the programs in jobs/ call."""
