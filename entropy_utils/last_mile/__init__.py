"""Notebook 02: structural entropy of last-mile delivery routes, and what consolidation does to it."""
