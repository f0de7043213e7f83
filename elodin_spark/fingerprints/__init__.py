"""Windows to vectors and label sets."""
