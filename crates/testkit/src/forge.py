"""Writes archives whose items are what the caller says, sane or not, through real Borg's library.

Standard input: JSON {"repository": path, "archives": {name: [item...]}, "manifest": {key: value}}.
In an item, strings are latin-1 for the bytes meant; "data" becomes chunks, "mtime" defaults to a fixed
time. The values of "manifest" are added to the manifest's config. Archives named in "untagged" lose
their authentication, as if a version had made them that knew none. "copies" are archives with the items
of the one named "template" (which has no files with content), made at other times: [[name, time]...].
"""

import json
import sys

from borg.archive import Archive, Statistics
from borg.cache import Cache
from borg.helpers import Manifest, msgpack
from borg.logger import setup_logging
from borg.repository import Repository


class Raw:
    """An item that was never looked at."""

    def __init__(self, values):
        self.values = values

    def as_dict(self):
        return self.values


def forged(values, cache, archive):
    item = {"uid": 0, "gid": 0, "user": b"root", "group": b"root", "mtime": 1_600_000_000_000_000_000}
    for name, value in values.items():
        item[name] = value.encode("latin-1") if isinstance(value, str) else value
    if "data" in item:
        data = item.pop("data")
        chunk = cache.add_chunk(archive.key.id_hash(data), data, archive.stats, wait=False)
        item["chunks"] = [tuple(chunk)]
        item.setdefault("size", len(data))
    if "xattrs" in item:
        item["xattrs"] = {k.encode("latin-1"): v.encode("latin-1") for k, v in item["xattrs"].items()}
    return {name.encode(): value for name, value in item.items()}


def copy(template, copies, repository, manifest, key, cache):
    entry = manifest.archives[template]
    metadata = msgpack.unpackb(key.decrypt(entry.id, repository.get(entry.id)))
    metadata = {name.decode(): value for name, value in metadata.items() if name != b"tam"}
    for name, time in copies:
        data = dict(metadata, name=name, time=time, time_end=time)
        data = key.pack_and_authenticate_metadata(data, context=b"archive")
        identity = key.id_hash(data)
        cache.add_chunk(identity, data, Statistics(), wait=False)
        for chunk in metadata["items"]:
            cache.chunk_incref(chunk, Statistics())
        manifest.archives[name] = (identity, time)
    manifest.write()
    repository.commit(compact=False)
    cache.commit()


def main():
    setup_logging()
    order = json.load(sys.stdin)
    with Repository(order["repository"], exclusive=True, lock_wait=5) as repository:
        manifest, key = Manifest.load(repository, Manifest.NO_OPERATION_CHECK)
        with Cache(repository, key, manifest, lock_wait=5) as cache:
            for name, items in order["archives"].items():
                archive = Archive(repository, key, manifest, name, cache=cache, create=True,
                                  checkpoint_interval=3600)
                for values in items:
                    archive.items_buffer.add(Raw(forged(values, cache, archive)))
                archive.save()
            for name in order.get("untagged", []):
                entry = manifest.archives[name]
                metadata = msgpack.unpackb(key.decrypt(entry.id, repository.get(entry.id)))
                del metadata[b"tam"]
                data = msgpack.packb(metadata)
                identity = key.id_hash(data)
                cache.add_chunk(identity, data, Statistics(), wait=False)
                cache.chunk_decref(entry.id, Statistics(), wait=False)
                manifest.archives[name] = (identity, entry.ts)
                manifest.write()
                repository.commit(compact=False)
                cache.commit()
            if order.get("copies"):
                copy(order["template"], order["copies"], repository, manifest, key, cache)
        if order.get("manifest"):
            manifest.config.update({k.encode(): v for k, v in order["manifest"].items()})
            manifest.write()
            repository.commit(compact=False)


if __name__ == "__main__":
    main()
