"""Runs one command and writes what it took: measured.py REPORT COMMAND...

A process begins with the peak memory of the one it was forked from. This one is small, so that the peak
of a command is its own (above 9 MiB), whatever the benchmark itself holds.
"""

import os
import sys
import time

start = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
wall = time.monotonic() - start
with open(sys.argv[1], "w") as report:
    report.write(f"{wall} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024}")
sys.exit(max(os.waitstatus_to_exitcode(status), -1) % 256)
