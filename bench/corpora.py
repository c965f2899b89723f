"""Corpora for the benchmark: made from a seed, the same bytes on every machine.

Three kinds: `mix` is like a server's disk (2.3 GiB, 60,000 files), `small` is 100,000 small files,
`image` is one disk image of 1 GiB. A scale below 1 makes smaller ones of the same composition.
`change` ages a corpus by about one percent.
"""

import os
import random
from pathlib import Path

WORDS = (
    "the server accepted connection from client request timeout error warning info debug user session "
    "index table select where update value return function class import package version release module "
    "config option default enable disable path file directory network address port interface kernel"
).split()
KIB, MIB = 1 << 10, 1 << 20


class Source:
    """Bytes of several kinds, from one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        words = self.random.choices(WORDS, k=400_000)
        breaks = self.random.choices((b" ", b" ", b" ", b" ", b"\n", b" = ", b"; ", b"("), k=len(words))
        self.pool = b"".join(word.encode() + gap for word, gap in zip(words, breaks))
        self.table = self.random.randbytes(64 * KIB)

    def random_bytes(self, size):
        """Does not compress."""
        return self.random.randbytes(size)

    def text(self, size):
        """Words in lines; every kilobyte has a number of its own, so that no two places are equal."""
        parts = []
        left = size
        while left > 0:
            start = self.random.randrange(len(self.pool) - KIB)
            part = b"%016x " % self.random.getrandbits(64) + self.pool[start : start + 900]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)[:size]

    def binary(self, size):
        """Like machine code: half of it known pieces, half noise."""
        parts = []
        left = size
        while left > 0:
            start = self.random.randrange(len(self.table) - 256)
            part = self.table[start : start + 160] + self.random.randbytes(120)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)[:size]

    def pages(self, size):
        """Like a database: pages of 8 KiB, half filled with rows, the rest zeros."""
        parts = []
        for number in range(size // (8 * KIB)):
            start = self.random.randrange(len(self.pool) - 3 * KIB)
            head = b"%08d" % number + self.random.randbytes(1 * KIB) + self.pool[start : start + 3 * KIB]
            parts.append(head + bytes(8 * KIB - len(head)))
        return b"".join(parts)

    def size(self, middle, spread, largest):
        """A log-normal size."""
        return min(largest, int(self.random.lognormvariate(0, spread) * middle))


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def mix(root, seed, scale):
    source = Source(seed)

    def several(count):
        return range(max(1, round(count * scale)))

    def text_file(number):
        return root / f"srv/project{number % 97:02}/module{number % 13:02}/source{number}.txt"

    for number in several(50_000):
        write(text_file(number), source.text(source.size(3 * KIB, 1.2, 400 * KIB)))
    for number in several(60):
        write(root / f"var/log/service{number:02}.log", source.text(source.size(6 * MIB, 0.3, 20 * MIB)))
    for number in several(2_500):
        write(root / f"usr/lib/library{number}.so", source.binary(source.size(130 * KIB, 1.0, 6 * MIB)))
    for number in several(350):
        write(root / f"home/media/photo{number}.jpg", source.random_bytes(source.size(1500 * KIB, 0.7, 12 * MIB)))
    for number in several(4):
        write(root / f"var/lib/database/table{number}", source.pages(64 * MIB))
    originals = [text_file(number) for number in several(6_000)]
    originals += [root / f"home/media/photo{number}.jpg" for number in several(80)]
    for number, original in enumerate(originals):
        write(root / f"home/copies/{number % 50:02}/{original.name}", original.read_bytes())
    zeros = bytes(round(100 * MIB * scale))
    write(root / "var/spool/preallocated", source.text(MIB) + zeros + source.text(MIB))


def small(root, seed, scale):
    source = Source(seed)
    for number in range(round(100_000 * scale)):
        path = root / f"{number % 31:02}/{number % 37:02}/file{number}"
        write(path, source.text(source.size(3 * KIB, 0.7, 32 * KIB)))


def image(root, seed, scale):
    source = Source(seed)
    root.mkdir(parents=True)
    left = round(1024 * MIB * scale)
    with open(root / "disk.img", "wb") as file:
        while left > 0:
            size = min(left, source.random.randrange(1, 16) * MIB)
            kind = source.random.random()
            if kind < 0.30:
                file.write(bytes(size))
            elif kind < 0.60:
                file.write(source.random_bytes(size))
            elif kind < 0.80:
                file.write(source.binary(size))
            else:
                file.write(source.text(size))
            left -= size


KINDS = {"mix": mix, "small": small, "image": image}


def make(directory, kind, seed, scale):
    """Makes the corpus below `directory` unless it is there; returns its path."""
    root = Path(directory) / f"{kind}-{seed}-{scale:g}"
    done = Path(f"{root}.complete")
    if not done.exists():
        if root.exists():
            raise SystemExit(f"{root} is incomplete: remove it first")
        KINDS[kind](root, seed, scale)
        # Whatever is newest is read again by the next run, as it may have changed in the same tick of
        # the clock. A small file takes that part, so that "unchanged" means unchanged.
        write(root / "newest", b"The newest file.\n")
        done.touch()
    return root


def files(root):
    """Returns the paths of all regular files, sorted."""
    found = []
    for directory, _, names in os.walk(root):
        found.extend(os.path.join(directory, name) for name in names)
    return sorted(found)


def change(root, seed):
    """Ages the corpus: one percent of the files (of the image: of its bytes, in places) changes."""
    source = Source(seed)
    paths = files(root)
    if len(paths) <= 2:
        image = max(paths, key=os.path.getsize)
        size = os.path.getsize(image)
        with open(image, "r+b") as file:
            for _ in range(max(1, size // (100 * MIB))):
                file.seek(source.random.randrange(max(1, size - MIB)))
                file.write(source.random_bytes(min(MIB, size)))
        return
    for path in source.random.sample(paths, max(1, len(paths) // 100)):
        with open(path, "r+b") as file:
            if path.endswith(".log"):
                file.seek(0, os.SEEK_END)
            file.write(source.text(min(os.path.getsize(path), 20 * KIB) + 100))
    for number in range(max(1, len(paths) // 300)):
        write(Path(root) / f"new/{seed}/file{number}", source.text(source.size(4 * KIB, 1, 400 * KIB)))


def measure(root):
    """Returns count, bytes, and bytes in files that are large enough to be cut."""
    sizes = [os.path.getsize(path) for path in files(root)]
    return {"files": len(sizes), "bytes": sum(sizes), "cut": sum(size for size in sizes if size > 512 * KIB)}
