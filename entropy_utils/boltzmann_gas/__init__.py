"""Notebook 01: hard discs and their Boltzmann equation, the entropy of cell counts, and the theory of free expansion."""
