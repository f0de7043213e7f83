"""The explorer: a catalog in the browser, and the API under it."""
