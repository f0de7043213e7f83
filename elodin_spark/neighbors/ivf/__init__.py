"""The sharded index of vectors: inverted lists, trained, built and tuned."""
