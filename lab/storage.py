"""The two storage servers: sshd, a user for the backups, and a fixed command for the one client they know."""

import time

from hosts import Host

USER = "borg-backup"
HOME = f"/srv/{USER}"

# What the client's key may run, on each of them.
COMMANDS = {
    # Official Borg, everything allowed in the client's own repository.
    "local-nas": f"/opt/real/borg serve --restrict-to-repository {HOME}/server",
    # Fastness, which keeps what was ever written.
    "remote-nas": f"/usr/local/bin/fastness borg serve --append-only --restrict-to-repository {HOME}/server",
}


class Storage(Host):
    """A storage server."""

    def install(self):
        super().install()
        etc = self.root / "etc"
        for name, line in (("passwd", f"{USER}:x:990:990::{HOME}:/bin/sh\n"), ("group", f"{USER}:x:990:\n"),
                           ("shadow", f"{USER}:*:19000:0:99999:7:::\n")):
            with open(etc / name, "a") as file:
                file.write(line)
        (etc / "ssh").mkdir(exist_ok=True)
        (etc / "ssh" / "sshd_config").write_text(
            "Port 22\nHostKey /etc/ssh/ssh_host_ed25519_key\nPidFile none\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nClientAliveInterval 5\nClientAliveCountMax 2\n")

    def start(self):
        super().start()
        self.shell(f"""
            install -d -m 755 /run/sshd
            install -d -o {USER} -g {USER} -m 755 {HOME}
            install -d -o {USER} -g {USER} -m 700 {HOME}/.ssh
            [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -C {self.name} -f /etc/ssh/ssh_host_ed25519_key
            ln -sf /opt/fastness /usr/local/bin/fastness
        """)
        self.spawn("/usr/sbin/sshd", "-D", "-e", log=f"{self.name}-sshd")

    def admit(self, public_key):
        """Lets the client in, for its own repository and nothing else."""
        line = f'command="{COMMANDS[self.name]}",restrict {public_key.strip()}\n'
        self.run("tee", f"{HOME}/.ssh/authorized_keys", stdin=line)

    def host_key(self):
        """The line that a client's known_hosts needs (without the name)."""
        return self.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()

    def borg(self, *words, key=None, **how):
        """Runs official Borg here, on the repository's directory, as its owner."""
        env = {"BORG_BASE_DIR": f"{HOME}/base", "HOME": HOME, "USER": USER, **how.pop("env", {})}
        return self.run("/opt/real/borg", *words, env=env, user=USER, directory=HOME, **how)


class Line:
    """The way to the remote storage server, with its delay and rate."""

    def __init__(self, storage):
        self.storage = storage
        self.settings = storage.root / "line"
        self.process = None

    def tune(self, milliseconds=40, megabits=20):
        """Sets the round trip and the rate; connections that come later have them."""
        self.settings.write_text(f"{milliseconds / 2} {megabits * 1e6}\n")

    def open(self):
        """Starts the relay."""
        self.tune()
        self.process = self.storage.spawn("/opt/real/python", "/opt/relay.py", "0.0.0.0", "6883", "22", "/line", log="relay")
        answers = ("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/6883")
        wait_for(lambda: self.storage.run(*answers, expect=None).returncode == 0, "the relay")

    def cut(self):
        """The line is dead: nobody takes connections any more."""
        if self.process:
            self.storage.run("pkill", "-f", "/opt/relay.py", expect=None)
            self.process.wait()
            self.process = None


def wait_for(condition, what, seconds=20):
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"lab: {what} did not come within {seconds} s")
        time.sleep(0.05)
