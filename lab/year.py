"""A year of four backups a day, told by the times of the archives, and what of it is kept."""

import re
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from days import BORG, URLS, archives, fastness, real_borg, shows

COUNT = 1460
RULE = ["--keep-within", "24H", "--keep-daily", "7", "--keep-weekly", "4", "--keep-monthly", "6", "--keep-yearly", "2"]
SCRATCH = "/tmp/year"

# Makes the archives in one go: begins with the oldest.
LOOP = """
mkdir -p {scratch}/tree && cd {scratch}/tree
while read -r when name; do
    echo "$when" > state
    borg create --timestamp "$when" {scratch}/repository::"$name" .
done
"""


@shows(10)
def a_year(lab):
    """1,460 archives in each repository, then the mission's rule: the same stay as with official Borg"""
    scratch = {"BORG_PASSPHRASE": "year", "BORG_BASE_DIR": f"{SCRATCH}/base"}
    newest = datetime.now(ZoneInfo("Europe/Berlin")).replace(microsecond=0) - timedelta(hours=7)
    times = [(newest - timedelta(hours=6) * number).astimezone(ZoneInfo("UTC")) for number in range(COUNT)]
    lines = "".join(f"{at:%Y-%m-%dT%H:%M:%S} server-{at:%Y-%m-%dT%H:%M:%S}Z\n" for at in reversed(times))
    lab.server.run("borg", "init", "-e", "repokey-blake2", f"{SCRATCH}/repository", "--make-parent-dirs", env=scratch)
    began = time.monotonic()
    lab.server.shell(LOOP.format(scratch=SCRATCH), env=scratch, stdin=lines)
    made = time.monotonic() - began
    began = time.monotonic()
    lab.line.tune(0, 0)
    for label, url in URLS.items():
        lab.server.run("/usr/local/bin/borg", "transfer", "--other-repo", f"{SCRATCH}/repository", url,
                       env={**BORG, "BORG_OTHER_PASSPHRASE": "year"})
        assert len(archives(lab, label)) >= COUNT
    copied = time.monotonic() - began
    for label, url in URLS.items():
        theirs = decisions(real_borg(lab, "prune", "--list", "--dry-run", *RULE, "--glob-archives", "server-*", url))
        ours = decisions(fastness(lab, "prune", "--list", "--dry-run", "--repository", label))
        assert len(theirs) >= COUNT and ours == theirs, [pair for pair in zip(ours, theirs) if pair[0] != pair[1]][:3]
        fastness(lab, "prune", "--repository", label)
        kept = [name for verdict, name in theirs if verdict.startswith("keep")]
        assert sorted(archives(lab, label)) == sorted(kept)
        fastness(lab, "compact", "--repository", label)
    lab.line.tune()
    lab.trees = {key: tree for key, tree in lab.trees.items() if key[1] in kept}
    lab.server.run("rm", "-rf", SCRATCH)
    lab.table.note(10, f"{len(theirs)} archives ({made:.0f} s to make, {copied:.0f} s to copy to both): "
                       f"{len(kept)} kept, for the same reasons as by official Borg, on both")


def decisions(ended):
    """What `prune --list` said: for each archive whether it stays, and by which rule."""
    found = []
    for line in (ended.stderr + ended.stdout).splitlines():
        match = re.search(r"(Keeping archive|Would prune|Pruning archive)[^(:]*(\(rule: [^)]*\))?[^:]*: +(\S+) ", line)
        if match:
            verdict, rule, name = match.groups()
            found.append((f"keep {rule}" if verdict == "Keeping archive" else "prune", name))
    return found


STEPS = [a_year]
