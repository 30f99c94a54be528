"""Notebook 04: the entropy of attention, its floor, sigmaReparam and its rivals, and the training that collapses without."""
