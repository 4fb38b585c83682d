"""A mixture as its user holds it: densities, draws, the model file, and comparisons."""
