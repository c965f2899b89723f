"""Hosts of the lab: namespaces on this machine, each with a network, a name, processes and files of its own.

A host lives as long as its first process. Nothing of it is visible outside: no mount, no interface, no
process is left when the lab has ended, whichever way it ended.
"""

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What a login on a host finds in its environment.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LC_ALL": "C.UTF-8",
    "TZ": "Europe/Berlin",
}

# What of this machine's /etc a fresh host has: what programs need to run, and no secrets.
ETC = """
alternatives bash.bashrc ca-certificates ca-certificates.conf cron.d cron.daily debian_version default dpkg environment fonts gai.conf group
host.conf init.d inputrc issue ld.so.cache ld.so.conf ld.so.conf.d localtime locale.gen login.defs logrotate.d magic mime.types mysql
nsswitch.conf os-release pam.d passwd perl profile profile.d protocols rpc security services shells skel ssl systemd terminfo timezone
apt/sources.list apt/sources.list.d apt/preferences.d apt/trusted.gpg.d apt/apt.conf.d
""".split()


class Failed(Exception):
    """A command on a host ended in another way than it should."""


class Host:
    """One machine of the lab."""

    def __init__(self, lab, name, disk=None):
        self.lab = lab
        self.name = name
        self.disk = disk
        self.root = Path(lab.directory) / "hosts" / name
        self.process = None
        self.pid = None

    def install(self):
        """Gives the host the files of a newly installed system."""
        for name in ("etc", "home", "root", "srv", "var", ".local/bin", ".local/sbin"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "root").chmod(0o700)
        for name in ETC:
            copy(Path("/etc") / name, self.root / "etc" / name)
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n" + self.lab.addresses())
        (etc / "shadow").write_text("root:*:19000:0:99999:7:::\n")
        (etc / "shadow").chmod(0o640)
        for name in ("lib", "log", "backups", "spool/cron/crontabs", "cache", "tmp"):
            (self.root / "var" / name).mkdir(parents=True, exist_ok=True)

    def start(self):
        """Starts the host's first process."""
        # Whichever way the lab ends, the host ends with it.
        bound = ["setpriv", "--pdeathsig", "KILL"]
        command = [*bound, "unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--propagation", "private"]
        command += [*bound, str(HERE / "host_init"), str(self.root), self.name, str(self.lab.tools)]
        command += [self.disk] if self.disk else []
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                        stderr=open(Path(self.lab.directory) / "logs" / f"{self.name}-host", "ab"))
        if self.process.stdout.readline() != "ready\n":
            raise Failed(f"host {self.name} did not start")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0])

    def stop(self):
        """Switches the host off: no process ends in good order."""
        if self.process and self.process.poll() is None:
            os.kill(self.pid, 9)
            self.process.wait()
        self.pid = None

    def command(self, *words, env=None, user=None, directory="/"):
        """The command line that runs these words on the host."""
        variables = {**ENVIRONMENT, **(env or {})}
        inside = ["env", "-i", "-C", directory, *(f"{name}={value}" for name, value in variables.items())]
        inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        enter = ["nsenter", "-t", str(self.pid), "-m", "-n", "-u", "-i", "-p", "-r"]
        return enter + inside + [str(word) for word in words]

    def run(self, *words, expect=(0,), timeout=600, text=True, stdin=None, **how):
        """Runs a command to its end and returns what it wrote (stdout and stderr apart, and the exit code)."""
        command = self.command(*words, **how)
        ended = subprocess.run(command, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                               capture_output=True, text=text, timeout=timeout)
        if expect is not None and ended.returncode not in expect:
            out, err = (ended.stdout, ended.stderr) if text else (b"", ended.stderr.decode(errors="replace"))
            raise Failed(f"{self.name}: {' '.join(map(str, words))}\nexit code {ended.returncode}\n{tail(out)}{tail(err)}")
        return ended

    def shell(self, script, **how):
        """Runs a script in bash, which ends with its first failing command."""
        return self.run("bash", "-euo", "pipefail", "-c", script, **how)

    def spawn(self, *words, log, **how):
        """Starts a command that goes on; its output goes to a file of the lab."""
        with open(Path(self.lab.directory) / "logs" / log, "ab") as output:
            return subprocess.Popen(self.command(*words, **how), stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def path(self, inside):
        """Where a file of the host's own directories is, seen from outside."""
        inside = str(inside)
        if inside.startswith("/usr/local"):
            return self.root / ".local" / inside.removeprefix("/usr/local").lstrip("/")
        return self.root / inside.lstrip("/")


def copy(source, target):
    """Copies a file, symlink or directory as it is; what is missing here is missing there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("private", "debian.cnf"))
    elif source.exists() or source.is_symlink():
        shutil.copy2(source, target, follow_symlinks=False)


def connect(one, other, name, addresses):
    """Lays a cable between two hosts: an interface `name` in the first, eth0 in the other."""
    subprocess.run(["ip", "link", "add", name, "netns", str(one.pid), "type", "veth", "peer", "name", "eth0", "netns", str(other.pid)],
                   check=True)
    for host, interface, address in zip((one, other), (name, "eth0"), addresses):
        host.run("ip", "address", "add", f"{address}/24", "dev", interface)
        host.run("ip", "link", "set", interface, "up")


def tail(text, lines=25):
    """The end of an output."""
    kept = text.strip().splitlines()[-lines:]
    return "\n".join(kept) + "\n" if kept else ""
