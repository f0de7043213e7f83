"""Weights of networks: found, downloaded, checked, packed."""
