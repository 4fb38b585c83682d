"""How many components, and of which family: grids of fits, the criteria that judge them, and the bootstrap.

- `grid`: every cell fitted, none below one that it contains.
- `cells`: what is kept of a fit, and the choice among them; `store`: cells kept on disk for --resume.
- `holdout`: cross-validated log-likelihoods. `splitting`: a mixture with more components than another.
- `bootstrap`: the likelihood-ratio test of K against K + 1, and standard errors.
"""
