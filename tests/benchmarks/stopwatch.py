"""Runs a command and prints, as JSON on stdout, its seconds, its peak memory in bytes and its exit code.

A process of its own and a small one: on Linux the peak of a process starts at that of whoever started it. The
command's own stdout goes to stderr.
"""

import json
import os
import sys
import time

begin = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - begin
unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
print(json.dumps({"seconds": seconds, "peak": usage.ru_maxrss * unit, "code": os.waitstatus_to_exitcode(status)}))
