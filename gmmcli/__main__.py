"""`python -m gmmcli`, and `torchrun -m gmmcli`: the same as `gmm`."""

import sys

from gmmcli.cli.app import main

sys.exit(main())
