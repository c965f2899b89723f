"""The server that is saved: its files, MariaDB with a writer going on, and the mission's configuration."""

import os
import random
import shutil
import subprocess
import threading
from pathlib import Path

from hosts import Host
from storage import wait_for

SAVED = ("etc", "home", "root", "usr/local", "var")

# What the configuration leaves out, as it stands in the lab's tree.
LEFT_OUT_NAMES = {".cache", "Trash", "downloads", "Downloads", "cache"}
LEFT_OUT = {"var/lib/mysql", "var/lib/clamav", "home/ada/scratch"}

# What programs write while backups run; a comparison of trees passes it over.
MOVING = ("var/backups", "var/log", "var/lib/borg", "etc/borg/security", "root/.local", "root/.config", "var/lib/mysql")

WORDS = "stone wall gate tower keep moat bridge well yard hall stair lamp bell rope chain bolt shield".split()


class Server(Host):
    """The server."""

    def install(self):
        """A new system, as it is before anything of ours is there."""
        super().install()
        for name in ("dpkg", "apt/extended_states"):
            source = Path("/var/lib") / name
            target = self.root / "var/lib" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("lock*", "*-old"))
            elif source.exists():
                shutil.copy2(source, target)

    def start(self):
        super().start()
        self.shell("""
            install -d -o mysql -g mysql -m 755 /run/mysqld
            for name in fastness borgmatic borg; do ln -sf /opt/fastness /usr/local/bin/$name; done
            ln -sf /opt/real/pip /usr/local/bin/pip
        """)

    def settle(self, seed=1):
        """Puts users with their files, programs and services on it."""
        rng = random.Random(seed)
        put = lambda path, data, mode=0o644: write(self.path(path), data, mode)
        for user, uid in (("ada", 1001), ("grace", 1002)):
            with open(self.path("/etc/passwd"), "a") as file:
                file.write(f"{user}:x:{uid}:{uid}:{user}:/home/{user}:/bin/bash\n")
            with open(self.path("/etc/group"), "a") as file:
                file.write(f"{user}:x:{uid}:\n")
            for number in range(150):
                put(f"/home/{user}/notes/{number % 7}/note {number}.txt", prose(rng, 200 + number * 40))
            for number in range(6):
                put(f"/home/{user}/photos/{number}.jpg", rng.randbytes(700_000 + number * 1000))
            put(f"/home/{user}/.cache/thumb", rng.randbytes(5000))
            put(f"/home/{user}/Downloads/big.iso", rng.randbytes(300_000))
        put("/home/ada/scratch/.nobackup", b"")
        put("/home/ada/scratch/x", rng.randbytes(10_000))
        put("/usr/local/bin/report", b"#!/bin/sh\nuptime\n", 0o755)
        put("/usr/local/etc/report.conf", b"to = admin\n")
        put("/var/lib/clamav/main.cvd", rng.randbytes(200_000))
        for number in range(40):
            put(f"/var/www/site/page{number}.html", b"<p>" + prose(rng, 3000) + b"</p>")
        put("/var/spool/cron/crontabs/ada", b"0 5 * * * /usr/local/bin/report\n", 0o600)
        self.shell("""
            ln -s ../www/site/page0.html /var/lib/front
            ln /usr/local/bin/report /usr/local/sbin/report-link
            truncate -s 3M /home/grace/image.raw; printf boot | dd of=/home/grace/image.raw conv=notrunc status=none
            touch -d '2001-02-03 04:05:06.123456789' /home/ada/notes/0/'note 0.txt'
            chown -R ada:ada /home/ada; chown -R grace:grace /home/grace; chmod 750 /home/ada
            mkfifo /var/lib/queue
        """)

    def change(self, seed):
        """A working day: some files change, some come, some go."""
        rng = random.Random(seed)
        write(self.path(f"/home/ada/notes/1/day {seed}.txt"), prose(rng, 4000), 0o644)
        write(self.path(f"/home/grace/photos/day{seed}.jpg"), rng.randbytes(150_000), 0o644)
        with open(self.path("/etc/hosts"), "a") as file:
            file.write(f"192.0.2.{seed % 250} host{seed}\n")
        write(self.path(f"/var/www/site/page{seed % 40}.html"), prose(rng, 3200), 0o644)
        gone = self.path(f"/home/ada/notes/{seed % 7}/note {seed % 150}.txt")
        gone.unlink(missing_ok=True)

    def root_view(self):
        """The host's tree as it is seen there, from outside."""
        return f"/proc/{self.pid}/root"

    def packages(self):
        """What dpkg knows to be installed."""
        return self.run("dpkg", "--get-selections").stdout


class Database:
    """MariaDB on the server. Every transaction of its writer puts one row into each of two tables."""

    OPTIONS = ("--user=mysql", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2",
               "--skip-name-resolve", "--skip-networking")
    TABLES = ("shop.orders", "shop.ledger", "shop.customers")

    def __init__(self, server):
        self.server = server
        self.process = None
        self.writer = None
        self.stopping = threading.Event()

    def create(self):
        """An empty database system, then tables with rows in them."""
        self.server.run("mariadb-install-db", "--user=mysql", "--datadir=/var/lib/mysql", "--auth-root-authentication-method=socket",
                        "--skip-test-db", *self.OPTIONS[1:2])
        self.start()
        self.sql("""
            CREATE DATABASE shop; USE shop;
            CREATE TABLE shop.orders (id INT PRIMARY KEY, text VARCHAR(200)) ENGINE=InnoDB;
            CREATE TABLE shop.ledger (id INT PRIMARY KEY, amount DECIMAL(12,2)) ENGINE=InnoDB;
            CREATE TABLE shop.customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(300)) ENGINE=InnoDB;
            INSERT INTO shop.customers (name) SELECT CONCAT(SHA2(seq, 512), SHA2(seq + 1, 512)) FROM seq_1_to_60000;
        """)

    def start(self):
        self.process = self.server.spawn("/usr/sbin/mariadbd", *self.OPTIONS, log="mariadb")
        wait_for(lambda: self.server.run("mariadb-admin", "ping", expect=None).returncode == 0, "MariaDB", 60)

    def stop(self):
        self.pause()
        if self.process and self.process.poll() is None:
            self.server.run("mariadb-admin", "shutdown", expect=None)
            self.process.wait(timeout=60)
        self.process = None

    def sql(self, statements):
        """Runs statements and returns the rows, with tabs between values."""
        return self.server.run("mariadb", "--batch", "--skip-column-names", stdin=statements).stdout

    def write(self):
        """Starts the writer."""
        self.stopping.clear()
        first = int(self.sql("SELECT COALESCE(MAX(id), 0) + 1 FROM shop.orders"))

        def go():
            client = subprocess.Popen(self.server.command("mariadb", "--unbuffered"), stdin=subprocess.PIPE, text=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            number = first
            try:
                while not self.stopping.wait(0.02):
                    client.stdin.write(f"BEGIN; INSERT INTO shop.orders VALUES ({number}, 'order {number}'); "
                                       f"INSERT INTO shop.ledger VALUES ({number}, {number}.25); COMMIT;\n")
                    client.stdin.flush()
                    number += 1
                client.stdin.close()
            except OSError:
                pass  # the server went away: that is what disasters are for
            client.wait()

        self.writer = threading.Thread(target=go, daemon=True)
        self.writer.start()

    def pause(self):
        """Stops the writer."""
        if self.writer:
            self.stopping.set()
            self.writer.join()
            self.writer = None

    def checksums(self):
        """A checksum of every table."""
        return self.sql(f"CHECKSUM TABLE {', '.join(self.TABLES)} EXTENDED")

    def consistent(self):
        """The number of orders, after a look whether both tables of each transaction are there."""
        orders, ledger, both = self.sql(
            "SELECT (SELECT COUNT(*) FROM shop.orders), (SELECT COUNT(*) FROM shop.ledger), "
            "(SELECT COUNT(*) FROM shop.orders JOIN shop.ledger USING (id))").split()
        assert orders == ledger == both, f"half a transaction: {orders} orders, {ledger} in the ledger, {both} in both"
        return int(orders)


def write(path, data, mode):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def prose(rng, length):
    text = " ".join(rng.choice(WORDS) for _ in range(length // 5 + 1))
    return text[:length].encode() + b"\n"


def recorded(root, moving=MOVING, tops=SAVED):
    """What a backup of the tree must bring back: for each path its kind, mode, owner, time, size and content."""
    tree = {}
    for top in tops:
        record(Path(root) / top, top, tree, moving)
    return tree


def record(path, name, tree, moving):
    if name in LEFT_OUT or name in moving or path.name in LEFT_OUT_NAMES:
        return
    stat = os.lstat(path)
    kind = stat.st_mode & 0o170000
    entry = [oct(stat.st_mode), stat.st_uid, stat.st_gid]
    if kind == 0o040000:
        if any(child.name == ".nobackup" for child in path.iterdir()):
            return
        for child in sorted(path.iterdir()):
            record(child, f"{name}/{child.name}", tree, moving)
    elif kind == 0o120000:
        entry.append(os.readlink(path))
    elif kind == 0o100000:
        with open(path, "rb") as file:
            entry += [stat.st_mtime_ns, hashed(file.read())]
    tree[name] = entry


def hashed(data):
    import hashlib

    return len(data), hashlib.blake2b(data, digest_size=16).hexdigest()


def difference(one, other):
    """The first few paths in which two recorded trees differ."""
    return [path for path in sorted(one.keys() | other.keys()) if one.get(path) != other.get(path)][:10]
