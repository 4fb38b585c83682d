"""The choice of the number of components and of the family: grids of fits, their criteria, and the bootstrap.

- `grid`: every cell fitted, none below one that it contains.
- `cells`: the record of a fit, the choice among them, and cells on disk, for a grid that is resumed.
- `folds`: cross-validated log-likelihoods. `watcher`: a listener of a grid. `options`: the options of a grid.
- `bootstrap`: the likelihood-ratio test of K against K + 1, and standard errors.
"""
