"""Runs a program and kills it on entry of the n-th durable system call of all its threads together.

    python -c THIS N PROGRAM [ARGUMENT]...

A seccomp filter stops the program at these calls only; all else runs at full speed. The call at which it
dies does not happen. The last line of standard error names it; a program that ends before is not changed.
"""

import ctypes
import os
import platform
import signal
import struct
import sys

CALLS = {
    "x86_64": dict(fsync=74, fdatasync=75, sync_file_range=277, syncfs=306, rename=82, renameat=264, renameat2=316,
                   unlink=87, unlinkat=263, rmdir=84, mkdir=83, mkdirat=258, ftruncate=77, truncate=76, fallocate=285,
                   link=86, linkat=265),
    "aarch64": dict(fsync=82, fdatasync=83, sync_file_range=84, syncfs=267, renameat=38, renameat2=276, unlinkat=35,
                    mkdirat=34, ftruncate=46, truncate=45, fallocate=47, linkat=37),
}[platform.machine()]
NAMES = list(CALLS)

TRACEME, CONT, SETOPTIONS, GETEVENTMSG = 0, 7, 0x4200, 0x4201
EVENT_SECCOMP = 7
# fork, vfork, clone, exec and seccomp stops; the program dies with us
OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
WALL = 0x40000000
NO_NEW_PRIVILEGES, SECCOMP, FILTER_MODE = 38, 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
TRACE, ALLOW = 0x7FF00000, 0x7FFF0000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def must(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "cannot trace: " + os.strerror(ctypes.get_errno()))


def install_filter():
    code = [(LOAD, 0, 0, 0)]
    for number, call in enumerate(CALLS.values()):
        code += [(JUMP_EQUAL, 0, 1, call), (RETURN, 0, 0, TRACE | number)]
    code.append((RETURN, 0, 0, ALLOW))
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text)))
    must(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    must(libc.prctl(SECCOMP, FILTER_MODE, ctypes.addressof(program), 0, 0))


def start(arguments):
    pid = os.fork()
    if pid == 0:
        must(libc.ptrace(TRACEME, 0, None, None))
        os.kill(os.getpid(), signal.SIGSTOP)
        install_filter()
        os.execv(arguments[0], arguments)
    os.waitpid(pid, 0)
    must(libc.ptrace(SETOPTIONS, pid, None, OPTIONS))
    must(libc.ptrace(CONT, pid, None, None))
    return pid


def main(last, arguments):
    program, count, known = start(arguments), 0, set()
    known.add(program)
    while True:
        pid, status = os.waitpid(-1, WALL)
        if not os.WIFSTOPPED(status):
            if pid == program:
                return status
            continue
        event, stopped_by = status >> 16, os.WSTOPSIG(status)
        if event == EVENT_SECCOMP:
            count += 1
            if count == last:
                number = ctypes.c_ulong()
                must(libc.ptrace(GETEVENTMSG, pid, None, ctypes.addressof(number)))
                print("killed at " + NAMES[number.value], file=sys.stderr)
                os.kill(program, signal.SIGKILL)
                continue
        # A new thread begins with a stop of its own, which is not meant for it; so do events.
        passed_on = 0 if event or pid not in known else stopped_by
        known.add(pid)
        # Whoever was killed meanwhile cannot go on: its end is reported next.
        libc.ptrace(CONT, pid, None, passed_on)


end = main(int(sys.argv[1]), sys.argv[2:])
if os.WIFSIGNALED(end):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), os.WTERMSIG(end))
os._exit(os.WEXITSTATUS(end))
