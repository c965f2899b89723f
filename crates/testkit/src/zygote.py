"""Runs commands of official Borg in children of one process that has its modules loaded already.

Each line of standard input is a JSON object: "arguments", "environment", "directory", and the files
"stdin", "stdout", "stderr". Each answer is a line with the exit code, negative for a signal.
"""

import json
import os
import sys
import time

import borg.archiver
import borg.helpers

# Modules in which Borg keeps what BORG_EXIT_CODES said while they were loaded; 1.1 has no exit codes to choose.
CHOOSY = [borg.archiver, borg.helpers]
try:
    import borg.helpers.errors

    CHOOSY.append(borg.helpers.errors)
except ImportError:
    pass


def child(order):
    for number, (name, mode) in enumerate((("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))):
        descriptor = os.open(order[name], mode)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    modern = os.environ.get("BORG_EXIT_CODES") == "modern"
    for module in CHOOSY:
        module.modern_ec = modern
    sys.argv = ["borg", *order["arguments"]]
    try:
        borg.archiver.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main():
    # Read without buffering ahead: the children must not inherit half a line.
    answers = os.fdopen(os.dup(1), "w")
    orders = os.fdopen(os.dup(0), "rb", buffering=0)
    while line := orders.readline():
        pid = os.fork()
        if pid == 0:
            try:
                child(json.loads(line))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(70)
        _, status = os.waitpid(pid, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


main()
