"""The user guide's walk, typed as it is written there, on two fresh machines."""

import re
import subprocess
from pathlib import Path

from days import shows
from hosts import HERE, Host, connect, copy
from server import Server

PAGE = HERE.parent / "docs/guides/walkthrough.md"
KEY = "ssh-ed25519 AAAA… server"


class Bare(Host):
    """A storage machine that nobody has prepared, but for sshd."""

    def install(self):
        super().install()
        (self.root / "etc/ssh").mkdir()
        copy(Path("/etc/ssh/sshd_config"), self.root / "etc/ssh/sshd_config")

    def prepare(self):
        """Starts sshd."""
        self.shell("install -d -m 755 /run/sshd; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
        self.spawn("/usr/sbin/sshd", "-D", "-e", log=f"{self.name}-sshd")


class Guided:
    """What the hosts of the walk need of a lab."""

    def __init__(self, lab):
        self.directory, self.tools = lab.directory, lab.tools

    @staticmethod
    def addresses():
        return "10.98.1.2 storage.example.net\n"


@shows(short=True)
def the_guide(lab):
    """Every command of docs/guides/walkthrough.md, as it stands there"""
    blocks = re.findall(r"(?ms)^```sh (server|storage)\n(.*?)^```$", PAGE.read_text())
    assert len(blocks) >= 9, "the page has another form than this step reads"
    around = Guided(lab)
    hosts = {"server": Server(around, "guide-server"), "storage": Bare(around, "guide-storage")}
    try:
        for host in hosts.values():
            host.install()
            host.start()
            host.shell("install -d -m 700 /root/.ssh; ln -s /opt/fastness /root/fastness")
        connect(hosts["server"], hosts["storage"], "storage", ("10.98.1.1", "10.98.1.2"))
        hosts["storage"].prepare()
        said = ""
        for where, block in blocks:
            public = re.findall(r"(?m)^ssh-ed25519 \S+ server$", said)
            if public:
                block = block.replace(KEY, public[-1])
            said += hosts[where].shell(block, directory="/root").stdout
        lab.table.note(13, f"the guide: {sum(block.count(chr(10)) for _, block in blocks)} lines typed as written, a file came back")
    finally:
        for host in hosts.values():
            host.stop()
            subprocess.run(["rm", "-rf", "--one-file-system", host.root], check=False)


STEPS = [the_guide]
