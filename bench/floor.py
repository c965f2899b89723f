"""The least time a workload can take in Borg's format: bytes times the rates of the best primitives.

The rates are those of one core of the machine that RESULTS.md names, in bytes per second. A floor is a
model: the parts that must run, perfectly spread over the cores. It is there to say how far we are from
what is possible, not to be reached.
"""

READ = 6.7e9  # from the page cache
WRITE = 1.7e9  # into the page cache
CUT = 1.6e9  # buzhash in interleaved streams
CUT_SHARE = 0.75  # the first 512 KiB of each chunk of 2 MiB are not searched
LZ4 = 1.0e9
UNLZ4 = 4.3e9
AES = 6.9e9
CRC = 5e9  # checksum, index, copies
HASH = {"repokey-blake2": 1.97e9, "repokey": 1.5e9}  # ids and MACs, several at a time
OPEN = 6e-6  # open, stat, attributes, close of a file
STAT = 3.4e-6  # stat and attributes of an unchanged file
SMALL = 12e-6  # the rest of a new small file: hash, compress, seal, index
ITEM = 1e-6  # look-up and item of an unchanged file
MAKE = 16e-6  # creation of a file with its attributes
PRINT = 0.8e-6  # a line of a listing
SSH = 0.27e9  # into one end of a connection of OpenSSH or out of it, with its pipes; measured while busy
START = 0.03  # program start and key derivation


def seconds(workload, mode, corpus, store, cores):
    """Returns CPU and wall seconds of the floor, or None where there is no model."""
    rate = HASH[mode]
    files, size, cut = corpus["files"], corpus["bytes"], corpus["cut"]
    unique, stored = store["unique"], store["stored"]
    search = cut * CUT_SHARE / CUT
    seal = stored / AES + stored / rate
    keep = stored / CRC + stored / WRITE
    walk = files * (STAT + ITEM)
    fresh = files * (OPEN + SMALL) + size / READ + search + size / rate + unique / LZ4 + seal + keep
    load = stored / READ + seal + unique / UNLZ4 + unique / rate
    model = {
        "create": fresh,
        "unchanged": walk,
        "changed": walk + 0.01 * fresh if files > 2 else size / READ + search + size / rate + 0.05 * fresh,
        "extract": files * MAKE + load + size / WRITE,
        "check": load + stored / CRC,
        "list": files * PRINT,
    }
    if workload not in model:
        return None
    return {"cpu": START + model[workload], "wall": START + model[workload] / cores}
