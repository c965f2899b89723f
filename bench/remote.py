"""An ssh server on loopback for the benchmark, and a relay that makes the way to it longer.

The server has keys and a configuration of its own and logs in nobody but the user who measures.
"""

import os
import queue
import shlex
import socket
import subprocess
import threading
import time
from pathlib import Path

SSHD = "/usr/sbin/sshd"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """A running sshd; what its sessions take of the CPU is known when they have ended."""

    def __init__(self, directory, cores):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("host", "client"):
            key = self.directory / name
            if not key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.port = free_port()
        if os.geteuid() == 0:
            # Where sshd locks itself up before anybody has logged in.
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        config = self.directory / "config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.directory}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.directory}/client.pub\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            f'SetEnv BORG_BASE_DIR="{self.directory}" LC_ALL=C.UTF-8\n'
        )
        log = open(self.directory / "log", "w")
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=lambda: bind(cores)
        )
        for _ in range(500):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise SystemExit(f"{SSHD} does not answer: see {self.directory}/log")

    def rsh(self):
        return (
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "
            f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i {self.directory}/client"
        )

    def carry(self, port, count):
        """Wall seconds that ssh alone needs to carry so many bytes, through a relay at a port."""
        command = [*shlex.split(self.rsh()), "-p", str(port), "127.0.0.1", "cat > /dev/null"]
        begun = time.monotonic()
        subprocess.run(command, input=os.urandom(count), check=True)
        return time.monotonic() - begun

    def cpu(self):
        """CPU seconds of all sessions that have ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def settled_cpu(self):
        """As `cpu`, when the session of the last command has ended, too."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for _ in range(1000):
            if not children.read_text().split():
                break
            time.sleep(0.005)
        return self.cpu()

    def close(self):
        self.process.terminate()
        self.process.wait()


def bind(cores):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


class Relay:
    """Passes connections on to a port; bytes are under way for half of `delay` seconds each way.

    Counts how often the direction turned: a client that waits for each answer turns it twice for
    each request, one that does not wait hardly ever.
    """

    def __init__(self, port, delay):
        self.to, self.delay, self.turns = port, delay, 0
        self.last = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.to))
            for pair in ((client, server), (server, client)):
                pair[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting = queue.Queue(4096)
                threading.Thread(target=self.read, args=(pair[0], waiting, pair), daemon=True).start()
                threading.Thread(target=self.write, args=(pair[1], waiting), daemon=True).start()

    def read(self, source, waiting, way):
        try:
            while data := source.recv(1 << 18):
                if self.last is not way:
                    self.last, self.turns = way, self.turns + 1
                waiting.put((time.monotonic() + self.delay / 2, data))
        except OSError:
            pass
        waiting.put((0, b""))

    def write(self, target, waiting):
        try:
            while True:
                due, data = waiting.get()
                if not data:
                    break
                time.sleep(max(0, due - time.monotonic()))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()
