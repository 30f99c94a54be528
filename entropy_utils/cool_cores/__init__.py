"""Notebook 03: the entropy of galaxy-cluster cores, what changes it, and how such changes are counted."""
