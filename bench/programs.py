"""The programs that are measured, each with the same verbs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
MEASURED = HERE / "bench/measured.py"
PEERS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastness-peers"


class Program:
    """A program with a repository and a home of its own, below `place`."""

    name = ""

    def __init__(self, place, mode, cores):
        self.place = Path(place) / self.name
        self.repository = self.place / "repository"
        self.mode = mode
        self.cores = cores
        self.archives = 0

    def fresh(self):
        """Starts over with an empty repository."""
        shutil.rmtree(self.place, ignore_errors=True)
        (self.place / "home").mkdir(parents=True)
        self.archives = 0
        self.run(self.init())

    def environment(self):
        home = str(self.place / "home")
        return {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "XDG_CACHE_HOME": f"{home}/.cache",
            "TMPDIR": home,
            "LANG": "C.UTF-8",
            "BORG_BASE_DIR": home,
            "BORG_PASSPHRASE": "benchmark",
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": str(self.repository),
            "RUSTIC_PASSWORD": "benchmark",
            "RUSTIC_REPOSITORY": str(self.repository),
        }

    def run(self, *commands, directory=None):
        """Runs the commands one after the other; returns wall and CPU seconds and peak RSS in MiB."""
        wall = cpu = peak = 0.0
        for command in commands:
            log, figures = self.place / "log", self.place / "figures"
            with open(log, "wb") as output:
                code = subprocess.run(
                    [sys.executable, "-ISB", MEASURED, figures, *command],
                    cwd=directory or self.place,
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    preexec_fn=self.bind,
                ).returncode
            if code != 0:
                tail = log.read_bytes()[-3000:].decode(errors="replace")
                raise SystemExit(f"{' '.join(map(str, command))}: exit code {code}\n{tail}")
            seconds, cpu_seconds, memory = map(float, figures.read_text().split())
            wall += seconds
            cpu += cpu_seconds
            peak = max(peak, memory)
        return {"wall": wall, "cpu": cpu, "rss": peak}

    def bind(self):
        """Keeps the child on as many cores as the comparison is about."""
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, usable[: self.cores])

    def next_archive(self):
        self.archives += 1
        return f"archive{self.archives}"


class Borg(Program):
    """Official Borg, and ours: they take the same commands."""

    name = "borg"
    binary = PEERS / "borg-1.4.5/bin/borg"

    @classmethod
    def available(cls):
        return cls.binary.exists()

    def command(self, *arguments):
        return [str(self.binary), *map(str, arguments)]

    def init(self):
        return self.command("init", "--encryption", self.mode, self.repository)

    def create(self, corpus):
        archive = f"{self.repository}::{self.next_archive()}"
        return self.run(self.command("create", "--compression", "lz4", archive, corpus))

    def list(self):
        return self.run(self.command("list", f"{self.repository}::archive{self.archives}"))

    def check(self):
        return self.run(self.command("check", "--verify-data", self.repository))

    def extract(self, target):
        command = self.command("extract", f"{self.repository}::archive{self.archives}")
        return self.run(command, directory=target)

    def prune(self):
        prune = self.command("prune", "--keep-last", "1", self.repository)
        return self.run(prune, self.command("compact", self.repository))

    def version(self):
        return self.run([str(self.binary), "--version"])

    def unique(self):
        """Returns the bytes of different chunks, before and after compression."""
        command = self.command("info", "--json", self.repository)
        answer = subprocess.run(command, env=self.environment(), capture_output=True, check=True, cwd=self.place)
        stats = json.loads(answer.stdout)["cache"]["stats"]
        return {"unique": stats["unique_size"], "stored": stats["unique_csize"]}


class Fastness(Borg):
    """This project's binary, by its long name."""

    name = "fastness"
    binary = HERE / "target/release/fastness"

    def command(self, *arguments):
        return [str(self.binary), "borg", *map(str, arguments)]


class Restic(Program):
    """restic, the best known neighbour."""

    name = "restic"

    @classmethod
    def available(cls):
        return shutil.which(cls.name) is not None

    def command(self, *arguments):
        return [self.name, *map(str, arguments)]

    def init(self):
        return self.command("init")

    def create(self, corpus):
        self.next_archive()
        return self.run(self.command("backup", corpus))

    def list(self):
        return self.run(self.command("ls", "latest"))

    def check(self):
        return self.run(self.command("check", "--read-data"))

    def extract(self, target):
        return self.run(self.command("restore", "latest", "--target", target))

    def prune(self):
        return self.run(self.command("forget", "--keep-last", "1", "--group-by", "host", "--prune"))

    def version(self):
        return self.run(self.command("version"))


class Rustic(Restic):
    """rustic, restic's format in Rust."""

    name = "rustic"

    def extract(self, target):
        return self.run(self.command("restore", "latest", target))

    def version(self):
        return self.run(self.command("--version"))


ALL = {program.name: program for program in (Fastness, Borg, Restic, Rustic)}


def prepare(wanted, binary):
    """Builds Fastness, or takes `binary` for it, and makes sure that Borg is there; returns the programs."""
    if "fastness" in wanted:
        if binary:
            Fastness.binary = binary.resolve()
        else:
            build = ["cargo", "build", "--locked", "--release", "--package", "fastness"]
            subprocess.run(build, cwd=HERE, check=True)
    if "borg" in wanted and not Borg.available():
        subprocess.run([HERE / "scripts/setup", "tests"], check=True)
    missing = [name for name in wanted if not ALL[name].available()]
    if missing:
        print(f"left out, not installed: {', '.join(missing)}", file=sys.stderr)
    return [ALL[name] for name in wanted if name not in missing]
