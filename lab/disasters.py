"""What goes wrong on servers, and what is left of it."""

import re
import shutil
import time

from days import BORG, URLS, archives, fastness, keep_tree, real_borg, shows
from hosts import connect
from server import Server, difference, recorded
from storage import HOME, Storage

FULL_COPY = "/var/backups/mariadb/full"
# Runs in a week of four a day.
WEEK = 28


def mailbox(lab):
    """What the administrator got so far; the mailbox is empty afterwards."""
    box = lab.server.path("/var/mail/admin")
    text = box.read_text() if box.exists() else ""
    box.write_text("")
    return text


def counts(lab):
    return {label: len(archives(lab, label)) for label in URLS}


@shows(13, short=True)
def files_back(lab):
    """A file and a directory come back, by one command each, from either destination"""
    for label in URLS:
        path = "home/grace/photos/0.jpg"
        fastness(lab, "extract", "--repository", label, "--archive", "latest", "--path", path, "--destination", "/tmp")
        lab.server.run("cmp", f"/tmp/{path}", f"/{path}")
        fastness(lab, "extract", "--repository", label, "--archive", "latest", "--path", "home/ada", "--destination", "/tmp")
        here, back = (recorded(lab.server.root_view() + prefix, tops=["home/ada"]) for prefix in ("", "/tmp"))
        assert here == back, difference(here, back)
        lab.server.run("rm", "-rf", "/tmp/home")
    lab.table.note(13, f"a file and a directory of {len(here)} entries, from both")


@shows(7, 13)
def database_back(lab):
    """MariaDB is destroyed and comes back: from the hooks' copy, and from a native backup made while it was written to"""
    lab.database.pause()
    fastness(lab, "create")
    before = lab.database.checksums()
    for label in URLS:
        destroy(lab)
        fastness(lab, "extract", "--repository", label, "--archive", "latest", "--path", FULL_COPY.lstrip("/"), "--destination", "/tmp")
        lab.server.shell(f"cp -rT /tmp{FULL_COPY} /var/lib/mysql; chown -R mysql:mysql /var/lib/mysql; rm -rf /tmp/var")
        lab.database.start()
        assert lab.database.checksums() == before, "the restored tables differ"
    configuration = lab.server.path("/etc/borgmatic/config.yaml").read_text()
    native = re.sub(r"(?ms)^commands:.*", "", configuration).replace("{hostname}-{now", "{hostname}-native-{now")
    lab.server.run("tee", "/etc/borgmatic/native.yaml", stdin=native)
    lab.server.run("tee", "/etc/borgmatic/native.yaml.fastness", stdin="mariadb_physical:\n    - label: main\n")
    ours = lambda *words: fastness(lab, "--config", "/etc/borgmatic/native.yaml", *words)
    lab.database.write()
    time.sleep(0.5)
    lowest = int(lab.database.sql("SELECT COUNT(*) FROM shop.orders"))
    ours("create")
    lab.database.pause()
    destroy(lab)
    ours("restore", "--repository", "remote-nas", "--archive", "latest", "--to", "/var/lib/mysql")
    lab.database.start()
    orders = lab.database.consistent()
    assert orders >= lowest, f"{orders} orders came back, {lowest} were there before the backup began"
    before = lab.database.checksums()
    ours("create")
    destroy(lab)
    ours("restore", "--repository", "local-nas", "--archive", "latest", "--to", "/var/lib/mysql")
    lab.database.start()
    assert lab.database.checksums() == before, "the restored tables differ"
    lab.table.note(7, f"restored: the hooks' copy and the native backup with equal checksums; under writes {orders} whole transactions")
    lab.table.note(13, "the database by one command")
    lab.server.run("rm", "/etc/borgmatic/native.yaml", "/etc/borgmatic/native.yaml.fastness")


def destroy(lab):
    """The database system is gone."""
    lab.database.stop()
    lab.server.shell("rm -rf /var/lib/mysql; install -d -o mysql -g mysql -m 700 /var/lib/mysql")


@shows(2, 12, short=True)
def unreachable(lab):
    """The remote storage cannot be reached for a week of runs: the other gets its archives, mail is sent"""
    runs = 3 if lab.short else WEEK
    mailbox(lab)
    before = counts(lab)
    lab.line.cut()
    try:
        for number in range(runs):
            lab.server.change(100 + number)
            began = time.monotonic()
            fastness(lab, "create", "--retries", "0", expect=(1,))
            took = time.monotonic() - began
    finally:
        lab.line.open()
    text = mailbox(lab)
    for word in ("server", "remote-nas", "Connection refused", "notify: configuration /etc/borgmatic/config.yaml"):
        assert word in text, f"no word of {word!r} in the mail:\n{text}"
    fastness(lab, "create")
    after = counts(lab)
    assert after == {"local-nas": before["local-nas"] + runs + 1, "remote-nas": before["remote-nas"] + 1}, (before, after)
    keep_tree(lab, *URLS)
    lab.table.note(2, f"remote down: {runs} archives on the other ({took:.1f} s a run), then both again")
    lab.table.note(12, "mail by the hook and by ourselves names server, repository and error")


@shows(2)
def disk_full(lab):
    """The disk of the near storage is full: the other gets its archive, and with room again both do"""
    before = counts(lab)
    lab.server.change(200)
    lab.near.shell(f"dd if=/dev/zero of={HOME}/filler bs=1M status=none || true")
    try:
        full = fastness(lab, "create", "--retries", "0", expect=(1,))
    finally:
        lab.near.run("rm", f"{HOME}/filler")
    said = full.stdout + full.stderr
    assert re.search(r"space|full", said, re.I), said
    assert counts(lab) == {**before, "remote-nas": before["remote-nas"] + 1}
    fastness(lab, "create")
    keep_tree(lab, *URLS)
    assert counts(lab)["local-nas"] == before["local-nas"] + 1
    lab.table.note(2, "near disk full: the remote got its archive; both after room was made")


@shows(2)
def rotten(lab):
    """A block of the near repository rots: the check tells it, the other is not touched"""
    victim = lab.near.shell(f"find {HOME}/server/data -type f -size +1M | sort | head -n 1").stdout.strip()
    lab.near.run("cp", "-p", victim, f"{HOME}/sound")
    lab.near.shell(f"printf rotten | dd of={victim} bs=1 seek=400000 conv=notrunc status=none")
    try:
        ended = fastness(lab, "check", "--force", "--only", "repository", "--retries", "0", expect=(1,))
    finally:
        lab.near.run("mv", f"{HOME}/sound", victim)
    said = ended.stdout + ended.stderr
    assert "local-nas" in said and "remote-nas: Error" not in said, said
    fastness(lab, "check", "--force", "--only", "repository")
    lab.table.note(2, "rotten block found by the check, the other repository sound")


@shows(4, 12)
def wrong_passphrase(lab):
    """The passphrase is wrong: nothing is made, nothing is lost, everything is told"""
    before = counts(lab)
    mailbox(lab)
    ended = fastness(lab, "create", "--retries", "0", "--encryption-passcommand", "echo wrong", expect=(1,))
    assert "passphrase" in (ended.stdout + ended.stderr).lower()
    assert counts(lab) == before
    assert "passphrase" in mailbox(lab).lower()
    left = lab.server.shell("find /var/backups/mariadb -mindepth 1").stdout
    assert not left, left


@shows(2)
def killed(lab):
    """The process is killed in the middle, several times; the next run needs no help"""
    before = counts(lab)
    lab.database.write()
    for number in range(4):
        lab.server.change(300 + number)
        lab.server.shell("head -c 8M /dev/urandom > /home/grace/new.bin")
        running = lab.server.spawn("/usr/local/bin/fastness", "create", log="killed")
        time.sleep(2.5 + 1.7 * number)
        lab.server.run("pkill", "-KILL", "-x", "fastness", expect=None)
        running.wait()
    time.sleep(1)
    began = time.monotonic()
    fastness(lab, "create", "--retries", "0")
    took = time.monotonic() - began
    lab.database.pause()
    keep_tree(lab, *URLS)
    places = "/var/backups/mariadb /run/user /run/borgmatic* /tmp"
    left = lab.server.shell(f"find {places} -mindepth 1 2>/dev/null || true").stdout
    assert not left, left
    after = counts(lab)
    assert all(after[label] > before[label] for label in URLS), (before, after)
    lab.table.note(2, f"killed four times: the next run is complete after {took:.0f} s and nothing is left")


@shows(12)
def mail_is_down(lab):
    """Mail cannot be sent: no backup is lost by it"""
    before = counts(lab)
    mailbox(lab)
    lab.server.run("touch", "/run/mail-is-down")
    lab.line.cut()
    try:
        ended = fastness(lab, "create", "--retries", "0", expect=(1,))
    finally:
        lab.line.open()
        lab.server.run("rm", "/run/mail-is-down")
    assert "no route to the mail server" in ended.stdout + ended.stderr, ended.stderr
    assert counts(lab)["local-nas"] == before["local-nas"] + 1
    lab.table.note(12, "with mail down the archive is made, and the log says that no mail was sent")


@shows(14)
def two_files(lab):
    """A configuration for each destination works like one for both"""
    whole = lab.server.path("/etc/borgmatic/config.yaml").read_text()
    begin, end = whole.index("repositories:"), whole.index("exclude_patterns:")
    lab.server.run("mkdir", "/etc/borgmatic.two")
    for label, url in URLS.items():
        part = whole[:begin] + f"repositories:\n    - path: {url}\n      label: {label}\n\n" + whole[end:]
        lab.server.run("tee", f"/etc/borgmatic.two/{label}.yaml", stdin=part)
    fastness(lab, "create")
    one = {label: archives(lab, label)[-1] for label in URLS}
    fastness(lab, "--config", "/etc/borgmatic.two", "create")
    for label, url in URLS.items():
        lists = [entries(lab, f"{url}::{name}") for name in (one[label], archives(lab, label)[-1])]
        assert lists[0] == lists[1], difference(dict.fromkeys(lists[0]), dict.fromkeys(lists[1]))
    lab.server.run("rm", "-r", "/etc/borgmatic.two")
    lab.table.note(14, f"{len(lists[0])} entries, the same either way, on both")


def entries(lab, archive):
    """The entries of an archive but for what runs write themselves."""
    moving = ("/.local/", " var/backups", " var/log", " var/lib/borg", "etc/borg/security", " borgmatic", " etc/borgmatic")
    lines = real_borg(lab, "list", "--format", "{mode} {user} {group} {size} {path}{NL}", archive).stdout.splitlines()
    return [line for line in lines if not any(word in line for word in moving)]


@shows(13, 6, 8, short=True)
def server_is_wiped(lab):
    """The server is gone; a new machine gets the program, the ssh key, the key on paper and the passphrase"""
    lab.database.pause()
    fastness(lab, "create")
    server = lab.server
    tree = recorded(server.root_view())
    checksums, packages = lab.database.checksums(), server.packages()
    paper = fastness(lab, "key", "export", "--repository", "local-nas", "--paper").stdout
    passphrase = server.path("/etc/borg/passphrase").read_text()
    ssh_key = server.path("/etc/borg/ssh/id_ed25519").read_text()
    lab.database.stop()
    server.stop()
    shutil.rmtree(server.root)
    new = lab.server = lab.database.server = Server(lab, "server")
    lab.hosts = (new, lab.near, lab.far)
    new.install()
    new.start()
    connect(new, lab.near, "near", ("10.99.1.1", "10.99.1.2"))
    connect(new, lab.far, "far", ("10.99.2.1", "10.99.2.2"))
    new.shell("install -d -m 700 /root/safe")
    for name, text in (("paper", paper), ("passphrase", passphrase), ("ssh", ssh_key)):
        new.run("tee", f"/root/safe/{name}", stdin=text)
    new.shell("chmod 600 /root/safe/*; install -d -m 700 /root/.ssh; ssh-keyscan local-nas.example.net >>/root/.ssh/known_hosts")
    began = time.monotonic()
    new.run("fastness", "recover", "--repository", URLS["local-nas"], "--ssh-key", "/root/safe/ssh", "--paper", "/root/safe/paper",
            "--passphrase-file", "/root/safe/passphrase", "--overwrite", "always", "--packages", "simulate", "--yes")
    took = time.monotonic() - began
    new.shell(f"rm -rf /root/safe {FULL_COPY}")
    lab.database.start()
    assert lab.database.checksums() == checksums, "the tables differ"
    back = recorded(new.root_view())
    assert back == tree, difference(back, tree)
    assert new.packages() == packages
    fastness(lab, "create")
    lab.table.note(13, f"the whole machine in {took:.0f} s: {len(tree)} entries, package lists and tables as before")
    lab.table.note(6, "recovered with the key from paper")


@shows(2)
def storage_burns(lab):
    """The near storage burns down: the remote one serves, and a new one takes its place"""
    lab.near.stop()
    shutil.rmtree(lab.near.root)
    fastness(lab, "extract", "--repository", "remote-nas", "--archive", "latest", "--path", "etc/hosts", "--destination", "/tmp")
    lab.server.shell("cmp /tmp/etc/hosts /etc/hosts; rm -rf /tmp/etc; ip link delete near 2>/dev/null || true")
    lab.near = Storage(lab, "local-nas", disk="1500m")
    lab.near.install()
    lab.near.start()
    lab.hosts = (lab.server, lab.near, lab.far)
    connect(lab.server, lab.near, "near", ("10.99.1.1", "10.99.1.2"))
    lab.near.admit(lab.server.path("/etc/borg/ssh/id_ed25519.pub").read_text())
    known = f"local-nas.example.net {lab.near.host_key()}\n[remote-nas.example.net]:6883 {lab.far.host_key()}\n"
    lab.server.run("tee", "/root/.ssh/known_hosts", stdin=known)
    fastness(lab, "repo-create", "--repository", "local-nas", "--encryption", "keyfile-blake2")
    fastness(lab, "create")
    keep_tree(lab, *URLS)
    lab.trees = {key: tree for key, tree in lab.trees.items() if key[0] == "remote-nas" or key[1] in archives(lab, "local-nas")}
    lab.table.note(2, "near storage burnt: restored from the remote one, a new one filled")


@shows(1)
def everything_is_sound(lab):
    """Official Borg finds both repositories clean and brings back every recorded tree"""
    lab.line.tune(0, 0)
    for url in URLS.values():
        real_borg(lab, "check", "--verify-data", url)
    for (label, name), tree in lab.trees.items():
        lab.server.run("mkdir", "/tmp/back")
        lab.server.run("/opt/real/borg", "extract", "--numeric-ids", f"{URLS[label]}::{name}", env=BORG, directory="/tmp/back")
        back = recorded(lab.server.root_view() + "/tmp/back")
        assert back == tree, (label, name, difference(back, tree))
        lab.server.run("rm", "-rf", "/tmp/back")
    lab.table.note(1, f"official Borg: both clean with --verify-data, {len(lab.trees)} archives extracted as recorded")


STEPS = [files_back, database_back, unreachable, disk_full, rotten, wrong_passphrase, killed, mail_is_down, two_files, server_is_wiped,
         storage_burns, everything_is_sound]
