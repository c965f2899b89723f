"""Runs a program in a terminal of 80 columns and answers what it asks.

Arguments: the program and its words. Standard input: a JSON list of [text, answer]: when the text
has appeared, the answer is typed. Standard output: everything that was on the screen. Exit code:
that of the program; 97 when a text did not come.
"""
import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

PATIENCE = 60

steps = json.load(sys.stdin)
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
screen, seen, end = b"", 0, time.monotonic() + PATIENCE
while True:
    while steps and screen.find(steps[0][0].encode(), seen) >= 0:
        text, answer = steps.pop(0)
        seen = screen.find(text.encode(), seen) + len(text.encode())
        # What is typed before echo is off would be on the screen.
        time.sleep(0.05)
        os.write(terminal, answer.encode())
        end = time.monotonic() + PATIENCE
    ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
    if not ready:
        os.kill(child, 9)
        break
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b""
    if not data:
        break
    screen += data
_, status = os.waitpid(child, 0)
sys.stdout.buffer.write(screen)
if steps:
    sys.stdout.write("\n(%r was never seen)\n" % steps[0][0])
    sys.exit(97)
sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
