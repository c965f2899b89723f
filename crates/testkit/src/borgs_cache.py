"""Compares the chunks in Borg's cache with those that real Borg's library counts anew.

Standard input: JSON {"repository": path}. Standard output: JSON {"current": whether the cache belongs to the
manifest, "chunks": how many there are, "differences": [text...]}. The cache stays as it is.
"""

import json
import sys
import tempfile

from borg.cache import Cache
from borg.helpers import Manifest, bin_to_hex
from borg.logger import setup_logging
from borg.repository import Repository


def counted(repository, key, manifest, **options):
    with Cache(repository, key, manifest, lock_wait=5, **options) as cache:
        return dict(cache.chunks.iteritems()), cache.cache_config.manifest_id


def main():
    setup_logging(level="error")
    order = json.load(sys.stdin)
    with Repository(order["repository"], exclusive=True, lock_wait=5) as repository:
        manifest, key = Manifest.load(repository, Manifest.NO_OPERATION_CHECK)
        found, belongs = counted(repository, key, manifest, sync=False)
        with tempfile.TemporaryDirectory() as place:
            expected, _ = counted(repository, key, manifest, path=f"{place}/anew")
    differences = [
        f"{bin_to_hex(identity)}: {found.get(identity)} should be {expected.get(identity)}"
        for identity in sorted(found.keys() | expected.keys())
        if tuple(found.get(identity, ())) != tuple(expected.get(identity, ()))
    ]
    json.dump({"current": belongs == manifest.id, "chunks": len(expected), "differences": differences}, sys.stdout)


if __name__ == "__main__":
    main()
