"""The primer: mixing balls over cells, what cells do to a density, an ideal gas, and the map of the nine papers."""
