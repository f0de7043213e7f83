"""Indices of label sets, by Jaccard distance."""
