"""A sample of vectors to the plane."""
