"""Passes over the rows of the data: blocks, the survey, the coordinates, sums, and the kernels that make them."""
