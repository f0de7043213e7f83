"""A catalog in the form of other tools."""
