"""What networks learn from: cutouts as batches of images."""
