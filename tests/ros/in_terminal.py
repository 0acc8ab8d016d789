"""Runs a program in a terminal of its own: `python in_terminal.py KEYS PROGRAM ARGUMENTS...`.

What is written into the pipe KEYS is typed; what the program shows comes out of standard output. SIGINT is passed on.
"""

import contextlib
import os
import pty
import select
import signal
import sys


def main(keys: str, *program: str) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(program[0], program)
    signal.signal(signal.SIGINT, lambda *_: os.kill(pid, signal.SIGINT))
    typed = os.open(keys, os.O_RDWR)  # never at its end
    with contextlib.suppress(OSError):  # EIO: the program has ended
        while True:
            for source in select.select([terminal, typed], [], [])[0]:
                data = os.read(source, 1024)
                os.write(1 if source == terminal else terminal, data)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
