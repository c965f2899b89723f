"""Runs commands through the code of Vorta that reads Borg's output, without its windows.

    vorta_jobs.py BORG REPOSITORY SOURCE

Prints as JSON what Vorta made of each command: the result, what it logged, what it stored.
"""
import importlib.abc
import importlib.machinery
import json
import os
import pathlib
import sys
import threading


class Anything:
    """Stands in for windows and signals."""

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return Anything()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __getitem__(self, name):
        return Anything()


class Stand(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes modules up whose names are full of `Anything`."""

    names = ("PyQt6", "peewee", "playhouse", "psutil", "platformdirs", "secretstorage", "vorta.application",
             "vorta.keyring", "vorta.store", "vorta.utils", "vorta.i18n", "vorta.config", "vorta.notifications")

    def find_spec(self, name, path=None, target=None):
        if any(name == known or name.startswith(known + ".") for known in self.names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__getattr__ = lambda name: type(name, (Anything,), {})


class Row:
    """A row that remembers what is stored in it."""

    stored = []
    id = 1
    encryption = "unknown"

    def __init__(self, **values):
        self.__dict__.update(values)

    def save(self):
        Row.stored.append({key: str(value) for key, value in vars(self).items()})

    def delete_instance(self):
        pass


class Table:
    """A table that has a row for every question, except for archives, which are new."""

    id = repo = 0

    @classmethod
    def get_or_create(cls, defaults=None, **keys):
        return Row(**keys, **(defaults or {})), True

    @classmethod
    def get(cls, **keys):
        return Row(**keys)

    get_or_none = get

    @classmethod
    def select(cls):
        return cls

    @classmethod
    def where(cls, condition):
        return []


class Signal:
    def __init__(self, log):
        self.log = log

    def emit(self, *values):
        self.log.append(str(values[0]))


sys.meta_path.insert(0, Stand())
import vorta.store.models  # noqa: E402

vorta.store.models.ArchiveModel = vorta.store.models.RepoModel = Table
vorta.store.models.EventLogModel = Row
vorta.store.models.db_lock = threading.Lock()
import vorta.utils  # noqa: E402

vorta.utils.pretty_bytes = lambda size: f"{int(size)} B"
import vorta.config  # noqa: E402

vorta.config.LOG_DIR = pathlib.Path("/var/log")
import vorta.i18n  # noqa: E402

import vorta.i18n.richtext as richtext  # noqa: E402

richtext.format_richtext = richtext.link = richtext.escape = lambda text, *rest: text
vorta.i18n.translate = lambda context, text: text
from vorta.borg.create import BorgCreateJob  # noqa: E402
from vorta.borg.info_archive import BorgInfoArchiveJob  # noqa: E402
from vorta.borg.info_repo import BorgInfoRepoJob  # noqa: E402
from vorta.borg.list_repo import BorgListRepoJob  # noqa: E402

borg, repository, source = sys.argv[1:]


def drive(kind, words):
    job = kind.__new__(kind)
    log, results = [], []
    Row.stored = []
    job.__dict__.update(
        app=Anything(), cmd=[borg] + words, cwd=None, env=dict(os.environ), cleanup_files=[], process=None,
        keyring=Anything(), result=Signal([]), updated=Signal([]),
        params={"repo_url": repository, "profile_name": "test", "repo_id": 1, "repo_name": "x", "cmd": words,
                "password": "", "extra_borg_arguments": ""},
    )
    job.app.backup_log_event = job.app.backup_progress_event = Signal(log)
    job.finished_event = results.append
    job.started_event = lambda: None
    job.log_event = lambda *values: None
    job.run()
    result = results[0]
    return {"code": result["returncode"], "data": result["data"], "log": log, "stored": Row.stored,
            "errors": [text for _, text in result["errors"]]}


first = f"{repository}::first"
print(json.dumps([
    drive(BorgInfoRepoJob, ["info", "--info", "--json", "--log-json", repository]),
    drive(BorgCreateJob, ["create", "--list", "--progress", "--info", "--log-json", "--json", "--filter=AM", "-C",
                          "lz4", first, source, "/nowhere"]),
    drive(BorgListRepoJob, ["list", "--info", "--log-json", "--json", repository]),
    drive(BorgInfoArchiveJob, ["info", "--log-json", "--json", first]),
    drive(BorgInfoArchiveJob, ["info", "--log-json", "--json", f"{repository}::nosuch"]),
]))
