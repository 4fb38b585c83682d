"""The ways to evaluate mixtures on a chunk of rows, one file each behind base.py's contract; choice.py chooses."""
