"""For tools that look for it: all metadata are in pyproject.toml."""

from setuptools import setup

setup()
