"""What the lab's hosts have in /opt: Fastness, and the real programs with the Python that they were installed for."""

import os
import subprocess
from pathlib import Path

PEERS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastness-peers"

# name: (environment below PEERS, what Python runs)
REAL = {
    "borg": ("borg-1.4.5", "from borg.archiver import main; main()"),
    "borgmatic": ("borgmatic-2.1.10", "from borgmatic.commands.borgmatic import main; main()"),
    "pip": ("borg-1.4.5", "from pip._internal.cli.main import main; import sys; sys.exit(main())"),
}


def install(tools, binary):
    """Fills the directory that becomes /opt."""
    (tools / "real").mkdir(parents=True)
    subprocess.run(["install", "-m", "755", binary, tools / "fastness"], check=True)
    for name, (environment, code) in REAL.items():
        python = python_of(environment)
        prefix = Path(subprocess.check_output([python, "-c", "import sys; print(sys.base_prefix)"], text=True).strip())
        packages = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True).strip()
        program = f"/opt/python/bin/{python.resolve().name}"
        bind(prefix if prefix != Path("/usr") else None, tools / "python")
        if prefix == Path("/usr"):
            program = str(python.resolve())
        bind(PEERS, tools / "peers")
        packages = packages.replace(str(PEERS), "/opt/peers")
        script = tools / "real" / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {program} -s -c "import sys; sys.argv[0] = \'{name}\'; {code}" "$@"\n')
        script.chmod(0o755)
    interpreter = tools / "real" / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    interpreter.chmod(0o755)
    (tools / "relay.py").write_text((Path(__file__).parent / "relay.py").read_text())
    tools.chmod(0o755)


def python_of(environment):
    python = PEERS / environment / "bin" / "python3"
    if not python.exists():
        raise SystemExit(f"lab: {python} is missing; `scripts/setup tests` installs it")
    return python


def bind(source, target):
    """Shows a directory at another place, once."""
    if source is None or target.exists():
        return
    target.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", source, target], check=True)
