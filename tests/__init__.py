"""The tests. numpy's products, which stand for a BLAS in tests.hostile_blas, take one thread in every process."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
