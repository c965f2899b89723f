"""Ordinary days of the server: keys, backups by both programs, restores, checks, timers."""

import json
import re
import shlex
import time
from datetime import date, timedelta

from hosts import HERE, tail
from server import LEFT_OUT, LEFT_OUT_NAMES, recorded
from storage import HOME

CONFIGURATION = HERE.parent / "testdata/borgmatic/mission.yaml"
URLS = {
    "local-nas": "ssh://borg-backup@local-nas.example.net/./server",
    "remote-nas": "ssh://borg-backup@remote-nas.example.net:6883/./server",
}

# What Borg needs to know that the configuration says to borgmatic.
BORG = {
    "BORG_PASSCOMMAND": "cat /etc/borg/passphrase",
    "BORG_BASE_DIR": "/var/lib/borg",
    "BORG_CONFIG_DIR": "/etc/borg",
    "BORG_CACHE_DIR": "/var/cache/borg",
    "BORG_SECURITY_DIR": "/etc/borg/security",
    "BORG_KEYS_DIR": "/etc/borg/keys",
    "BORG_RSH": "ssh -i /etc/borg/ssh/id_ed25519 -o BatchMode=yes",
}

# Tells the mail of the hooks from ours: both end up in the same mailbox.
NOTIFY = """#!/bin/sh
{ echo "notify: configuration $1, repository $2"; echo "$3"; echo "$4"; } >>/var/mail/admin
"""
SENDMAIL = """#!/bin/sh
[ -e /run/mail-is-down ] && { echo "sendmail: no route to the mail server" >&2; exit 75; }
cat >>/var/mail/admin
"""
EXTRAS = """
mail:
    to: [admin@example.org]
    from: backup@server.example.org
    sendmail_command: /usr/local/sbin/sendmail
    digest: weekly
schedule:
    create: 00/6:00
    random_delay: 30 minutes
"""

# Where runs are remembered on the server.
RUNS = "/root/.local/state/fastness/runs"


def shows(*rows, needed=False, short=False):
    """Says which rows of the mission a step shows, whether all later ones need it, and whether it is in the short version."""

    def mark(step):
        step.rows, step.needed, step.short = rows, needed, short
        return step

    return mark


def fastness(lab, *words, **how):
    """Runs Fastness with the server's configuration."""
    return lab.server.run("/usr/local/bin/fastness", *words, **how)


def real_borgmatic(lab, *words, **how):
    """Runs official borgmatic with official Borg, with the same configuration."""
    path = {"PATH": "/opt/real:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    return lab.server.run("/opt/real/borgmatic", *words, env=path, **how)


def real_borg(lab, *words, env=None, **how):
    """Runs official Borg on the server."""
    return lab.server.run("/opt/real/borg", *words, env={**BORG, **(env or {})}, **how)


def archives(lab, label):
    """The names of a repository's archives, oldest first."""
    # Official Borg sleeps for a tenth of the time that it may wait, also when it has just removed a stale lock.
    patience = ("--retries", "0", "--lock-wait", "10")
    listed = json.loads(fastness(lab, "repo-list", "--repository", label, "--json", *patience).stdout)
    return [archive["name"] for archive in listed[0]["archives"]]


def keep_tree(lab, *labels):
    """Remembers the tree as what the newest archive of these repositories holds."""
    tree = recorded(lab.server.root_view())
    for label in labels:
        lab.trees[label, archives(lab, label)[-1]] = tree


@shows(3, 5, needed=True)
def keys_and_access(lab):
    """A passphrase, an ssh key, and a place on each storage server for this client"""
    server = lab.server
    made = fastness(lab, "passphrase")
    words = made.stdout.strip().split()
    entropy = float(re.search(r"(\d+(\.\d+)?) bits", made.stderr).group(1))
    assert len(words) == 7 and entropy > 90, made.stderr
    lab.table.note(5, f"seven words, {entropy:.1f} bits")
    server.shell("install -d -m 700 /etc/borg /etc/borg/ssh /etc/borg/keys /etc/borgmatic /root/.ssh; install -d /var/mail")
    server.run("tee", "/etc/borg/passphrase", stdin=made.stdout)
    server.shell("chmod 600 /etc/borg/passphrase; ssh-keygen -q -t ed25519 -N '' -C server -f /etc/borg/ssh/id_ed25519")
    public = server.path("/etc/borg/ssh/id_ed25519.pub").read_text()
    for storage in (lab.near, lab.far):
        storage.admit(public)
    known = (f"local-nas.example.net {lab.near.host_key()}\n[remote-nas.example.net]:6883 {lab.far.host_key()}\n")
    server.run("tee", "/root/.ssh/known_hosts", stdin=known)
    server.run("tee", "/etc/borgmatic/config.yaml", stdin=CONFIGURATION.read_text())
    server.run("tee", "/etc/borgmatic/config.yaml.fastness", stdin=EXTRAS)
    server.run("tee", "/etc/borgmatic/notify.sh", stdin=NOTIFY)
    server.run("tee", "/usr/local/sbin/sendmail", stdin=SENDMAIL)
    server.shell("chmod 600 /etc/borgmatic/config.yaml*; chmod 755 /etc/borgmatic/notify.sh /usr/local/sbin/sendmail")
    real_borgmatic(lab, "config", "validate")
    fastness(lab, "config", "validate")
    fastness(lab, "repo-create", "--encryption", "keyfile-blake2")


@shows(1, 7, 8, needed=True)
def first_backup(lab):
    """The first backup to both, while MariaDB is written to"""
    lab.database.write()
    fastness(lab, "create", "--stats")
    lab.database.pause()
    left = lab.server.shell("find /var/backups/mariadb -mindepth 1").stdout
    assert not left, f"left in /var/backups/mariadb: {left}"
    lab.table.note(7, "the hooks' directory is empty afterwards")
    for label in URLS:
        listing = real_borg(lab, "list", "--short", f"{URLS[label]}::{archives(lab, label)[-1]}").stdout.splitlines()
        saved = {path.split("/")[0] for path in listing}
        assert {"etc", "home", "root", "usr", "var"} <= saved, saved
        wrong = [path for path in listing if LEFT_OUT_NAMES & set(path.split("/")) or path in LEFT_OUT]
        assert not wrong, wrong[:5]
        for name in ("dpkg-selections.txt", "apt-manual.txt", "pip.txt"):
            assert f"var/backups/packages/{name}" in listing, name
    lab.table.note(8, "three lists in the archive")


@shows(1)
def as_borgmatic(lab):
    """Ten runs, ours and official borgmatic with official Borg in turns, on both repositories"""
    for turn in range(10):
        lab.server.change(turn)
        run = fastness if turn % 2 == 0 else real_borgmatic
        ended = run(lab, "create", "--verbosity", "1")
        for word in ("inconsistent", "relocated", "newer than"):
            assert word not in ended.stderr + ended.stdout, f"turn {turn}: {tail(ended.stderr + ended.stdout)}"
        if turn >= 6:
            keep_tree(lab, *URLS)
    listings = []
    for name in archives(lab, "local-nas")[-2:]:
        paths = real_borg(lab, "list", "--format", "{mode} {user} {group} {path}{NL}", f"{URLS['local-nas']}::{name}").stdout.splitlines()
        # What runs themselves write, the files that came between the two, and configurations, of which we store one more.
        moving = ("/.local/", "/var/cache", " var/backups", " var/log", " var/lib/borg", "etc/borg/security", " borgmatic",
                  "etc/borgmatic/config.yaml",
                  "day", "page", "note ")
        listings.append([line for line in paths if not any(word in line for word in moving)])
    assert listings[0] == listings[1], [pair for pair in zip(*listings) if pair[0] != pair[1]][:6]
    lab.table.note(1, f"{len(listings[0])} entries as in official borgmatic's archive; ten runs in turns")


@shows(2)
def side_by_side(lab):
    """Both archives at once, after one run of the hooks"""
    lab.server.change(20)
    before = {label: len(archives(lab, label)) for label in URLS}
    lab.server.run("tee", "/etc/borgmatic/config.yaml.fastness", stdin=EXTRAS + "parallel_repositories: true\n")
    began = time.monotonic()
    said = fastness(lab, "create", "--verbosity", "1").stdout
    took = time.monotonic() - began
    keep_tree(lab, *URLS)
    lab.server.run("tee", "/etc/borgmatic/config.yaml.fastness", stdin=EXTRAS)
    assert {label: len(archives(lab, label)) - 1 for label in URLS} == before
    hooks = len(re.findall(r"commands for before create action hook", said))
    assert hooks == 1, said
    lab.table.note(2, f"side by side: both archives in {took:.1f} s, the hooks ran once")


@shows(3)
def only_its_own(lab):
    """A client that asks for more is refused"""
    for url in URLS.values():
        other = url.replace("/./server", "/./other")
        for words in (("list", other), ("init", "-e", "none", other), ("list", url.replace("/./server", "/etc"))):
            ended = lab.server.run("/usr/local/bin/borg", *words, env=BORG, expect=None)
            assert ended.returncode == 2 and "not allowed" in ended.stderr, ended.stderr
        shell = lab.server.run("ssh", "-i", "/etc/borg/ssh/id_ed25519", "-o", "BatchMode=yes", *target(url), "id", expect=None)
        assert "uid=" not in shell.stdout, shell.stdout
    lab.table.note(3, "other paths, init elsewhere and a shell are refused on both")


@shows(4)
def two_factors(lab):
    """Without passphrase or key file nothing can be read; with both, on another machine, everything"""
    url, place = URLS["local-nas"], "/tmp/elsewhere"
    nowhere = {"BORG_BASE_DIR": place, "BORG_SECURITY_DIR": f"{place}/s", "BORG_CACHE_DIR": f"{place}/c"}
    for program in ("/opt/real/borg", "/usr/local/bin/borg"):
        wrong = lab.server.run(program, "list", url, env={**BORG, **nowhere, "BORG_PASSCOMMAND": "echo wrong"}, expect=None)
        assert wrong.returncode == 2 and "assphrase" in wrong.stderr, wrong.stderr
        keyless = {**BORG, **nowhere, "BORG_KEYS_DIR": "/tmp/elsewhere/keys", "BORG_CONFIG_DIR": "/tmp/elsewhere/config"}
        none = lab.server.run(program, "list", url, env=keyless, expect=None)
        assert none.returncode == 2 and "key" in none.stderr.lower(), none.stderr
    repository = f"{HOME}/server"
    key = lab.server.shell("cat /etc/borg/keys/*").stdout
    lab.near.run("tee", f"{HOME}/key", stdin=key)
    both = {"BORG_KEY_FILE": f"{HOME}/key", "BORG_PASSPHRASE": lab.server.path("/etc/borg/passphrase").read_text().strip(),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    lab.near.run("chown", "borg-backup:", f"{HOME}/key")
    listed = lab.near.borg("list", "--short", repository, env=both).stdout.split()
    assert listed == archives(lab, "local-nas")
    lab.near.run("rm", f"{HOME}/key")
    lab.server.run("rm", "-rf", "/tmp/elsewhere")
    lab.table.note(4, f"refused without either, {len(listed)} archives with both on another host, official Borg agrees")


@shows(6)
def keys_are_safe(lab):
    """The key on paper is proved to be enough; until then status reminds"""
    reminded = fastness(lab, "status", expect=(1,)).stdout
    assert "key confirm" in reminded, reminded
    for label in URLS:
        paper = f"/root/{label}-paper.txt"
        fastness(lab, "key", "export", "--repository", label, "--paper", "--path", paper)
        wrong = fastness(lab, "key", "confirm", paper, "--repository", label, env={"BORG_PASSPHRASE": "wrong"}, expect=None)
        assert wrong.returncode != 0, wrong.stdout
        fastness(lab, "key", "confirm", paper, "--repository", label, "--passphrase-file", "/etc/borg/passphrase")
        lab.server.run("rm", paper)
    content = fastness(lab, "status", expect=None).stdout
    assert "key confirm" not in content, content
    lab.table.note(6, "reminded by status until the key on paper and the passphrase opened both repositories")


@shows(9)
def timers(lab):
    """Timers for four backups a day; a run that did not happen is noticed"""
    said = fastness(lab, "timer", "install", expect=None)
    assert said.returncode == 0, said.stdout + said.stderr
    exposure = re.search(r"exposure level (\S+)", said.stdout).group(1)
    units = lab.server.shell("ls /etc/systemd/system/fastness-*").stdout.split()
    lab.server.run("systemd-analyze", "verify", *units)
    timer = lab.server.path("/etc/systemd/system/fastness-config-create.timer").read_text()
    when = re.search(r"(?m)^OnCalendar=(.*)$", timer).group(1)
    shown = lab.server.run("systemd-analyze", "calendar", "--iterations=4", when).stdout
    hours = [int(hour) for hour in re.findall(r"(?m)(?:Next elapse|Iteration #\d|Iter. #\d): .* (\d\d):\d\d:\d\d", shown)]
    assert len(hours) == 4 and sorted(hour % 24 // 6 for hour in hours) == [0, 1, 2, 3], shown
    assert "Persistent=true" in timer, timer
    lab.table.note(9, f"systemd verifies {len(units)} units, exposure {exposure}; {when}: four a day, caught up")
    records = list(lab.server.path(RUNS).rglob("*.json"))
    known = {record: record.read_text() for record in records}
    assert known, "nothing is remembered of the runs"
    for record, text in known.items():
        record.write_text(re.sub(r"\d{4}-\d\d-\d\d(?=T\d\d:)", lambda day: str(date.fromisoformat(day[0]) - timedelta(days=2)), text))
    status = fastness(lab, "status", expect=(1, 2))
    missed = re.search(r"(\d+) scheduled runs did not happen", status.stdout)
    assert missed and 7 <= int(missed[1]) <= 9, status.stdout
    fastness(lab, "digest", expect=None)
    mail = lab.server.path("/var/mail/admin").read_text()
    assert missed[0] in mail, mail
    for record, text in known.items():
        record.write_text(text)
    lab.table.note(9, f"after two days without a run: {missed[0]!r} in status (exit code {status.returncode}) and in the digest by mail")


@shows(11)
def checks(lab):
    """Checks run when they are due and not before"""
    first = fastness(lab, "check", "--verbosity", "1")
    again = fastness(lab, "check", "--verbosity", "1")
    ran = lambda ended: len(re.findall(r"consistency checks|spot check", ended.stdout + ended.stderr, re.I))
    assert ran(first) > 0, first.stdout + first.stderr
    said = again.stdout + again.stderr
    assert "spot" not in said.lower() or "skipping" in said.lower(), said
    state = lab.server.shell("find /root/.local/state/borgmatic /var/lib/borgmatic -path '*checks*' -type f 2>/dev/null || true").stdout
    times = [line for line in state.splitlines() if re.search(r"/(repository|archives|spot)", line)]
    assert len(times) >= 6, state
    lab.table.note(11, f"{len(times)} kinds on two repositories ran when due, none ran again at once")


def target(url):
    """The words for ssh that lead where a repository's address leads."""
    place = re.match(r"ssh://([^/:]+)(?::(\d+))?/", url)
    return (["-p", place.group(2)] if place.group(2) else []) + [place.group(1)]


def quoted(words):
    return " ".join(map(shlex.quote, words))


STEPS = [keys_and_access, first_backup, as_borgmatic, side_by_side, only_its_own, two_factors, keys_are_safe, timers, checks]
