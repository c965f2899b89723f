"""Borg's own tests, from its package, with every command run by SUITE_CLIENT and served by SUITE_SERVER.

The classes of the package are taken as they are; what is replaced is how a command is started. The tests
prepare and look at repositories with Borg's library, in this process.
"""

import os
import shlex
import subprocess
from argparse import Namespace
from functools import partial
from unittest.mock import patch

import pytest
from borg.helpers import Error, Location
from borg.remote import RemoteRepository
from borg.testsuite import archiver, issue_8535, repository

CLIENT, SERVER = os.environ["SUITE_CLIENT"], os.environ.get("SUITE_SERVER")
RSH = os.path.join(os.path.dirname(__file__), "rsh")

# These expect an exception of Borg's: the modern exit codes tell which one a program would have raised.
EXPECT_EXCEPTIONS = {
    "test_init_parent_dirs",
    "test_fresh_init_tam_required",
    "test_not_required",
    "test_remote_repo_restrict_to_path",
    "test_remote_repo_restrict_to_repository",
}


def exceptions(base=Error):
    """All exceptions of Borg by their modern exit code."""
    known = {}
    for child in base.__subclasses__():
        known.setdefault(child.exit_mcode, child)
        known = {**exceptions(child), **known}
    return known


class Started:
    """Commands are programs, not calls into this process."""

    EXE, FORK_DEFAULT = CLIENT, True

    def setUp(self):
        self.by_code = self._testMethodName in EXPECT_EXCEPTIONS
        if self.by_code:
            os.environ["BORG_EXIT_CODES"] = "modern"
        if SERVER:
            os.environ.update(BORG_RSH=RSH, BORG_REMOTE_PATH=SERVER, FORCED="")
        if self._testMethodName == "test_with_lock":
            started = patch.object(archiver.subprocess, "Popen", self.popen(subprocess.Popen))
            started.start()
            self.addCleanup(started.stop)
        super().setUp()

    @staticmethod
    def popen(start):
        """The one test that names Python itself."""

        def popen(command, *rest, **named):
            if list(command)[1:3] == ["-m", "borg.archiver"]:
                command = [CLIENT, *command[3:]]
            return start(command, *rest, **named)

        return popen

    def cmd(self, *words, **named):
        os.environ["FORCED"] = shlex.join(RemoteRepository.extra_test_args)
        if not self.by_code or "exit_code" in named:
            return super().cmd(*words, **{**named, "fork": True})
        code, output = archiver.exec_cmd(*words, exe=CLIENT, fork=True, **named)
        if code:
            error = exceptions()[code]
            raise error.__new__(error)
        return output


class FromAfar(Started):
    """The same with repositories behind the stand-in for ssh."""

    prefix = "ssh://localhost"

    def open_repository(self):
        names = ("rsh", "remote_path", "storage_quota")
        options = Namespace(**dict.fromkeys(names), debug_topics=[], upload_ratelimit=0, upload_buffer=0)
        return RemoteRepository(Location(self.repository_location), args=options)


class Served:
    """Borg's library as the client of the program's server."""

    def setUp(self):
        def borg_cmd(client, options, testing):
            words = theirs(client, options, testing)
            return [SERVER, *words[3:]] if testing else words

        theirs = RemoteRepository.borg_cmd
        served = patch.object(RemoteRepository, "borg_cmd", borg_cmd)
        served.start()
        self.addCleanup(served.stop)
        super().setUp()


def take(how, module, *names):
    for name in names:
        globals()[name] = type(name, (how, getattr(module, name)), {"__module__": __name__})


if SERVER:
    take(FromAfar, archiver, "RemoteArchiverTestCase", "ArchiverCheckTestCase")
else:
    take(Started, archiver, "ArchiverTestCase", "ArchiverCheckTestCase", "ManifestAuthenticationTest")
    take(Started, archiver, "ArchiveAuthenticationTest", "ArchiverCorruptionTestCase", "DiffArchiverTestCase")
    borg_env = issue_8535.borg_env
    test_return_codes = archiver.test_return_codes
    test_missing_segment_in_hints = issue_8535.test_missing_segment_in_hints
    test_index_corruption_with_old_hints = issue_8535.test_index_corruption_with_old_hints

    @pytest.fixture
    def cmd():
        return partial(archiver.exec_cmd, exe=CLIENT, fork=True)

    @pytest.fixture(autouse=True)
    def commands_of_functions(monkeypatch):
        monkeypatch.setattr(issue_8535, "exec_cmd", partial(archiver.exec_cmd, exe=CLIENT))


if os.environ.get("SUITE_LIBRARY"):
    take(Served, repository, "RemoteRepositoryTestCase", "RemoteLegacyFree", "RemoteRepositoryCheckTestCase")
