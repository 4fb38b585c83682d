"""gmm measured against its peers. Not part of the test suite: pytest ignores this folder.

How to reproduce, from the root of the repository, on a machine that does nothing else:

    pip install -e '.[bench]'
    python -m tests.benchmarks.compare --markdown tests/benchmarks/RESULTS.md
    python -m tests.benchmarks.converge --markdown tests/benchmarks/RESULTS.md
    python -m tests.benchmarks.end_to_end --markdown tests/benchmarks/RESULTS.md

- `compare`: milliseconds per EM pass, scenarios A to I, against scikit-learn, oneDAL and pomegranate.
- `converge`: passes and seconds to the optimum, against plain EM and scikit-learn.
- `end_to_end`: whole processes, from a file to a model and a labelled file, against pandas + scikit-learn.

Each prints a table, and with `--markdown FILE` also puts it in that file, in place of what the same script wrote
there before. `--help` lists options for smaller sizes. Peers take turns within a run, figures are medians, and
only ratios from one run mean anything. A peer that is not installed is left out, and the table says so.

What is in here: `problems` (data and starts), `peers` (everybody behind one call), `report` (tables, the machine),
`user_script` (what a user of pandas and scikit-learn would write), and the three scripts.
"""
