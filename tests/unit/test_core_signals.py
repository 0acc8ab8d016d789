"""Stopping a process by SIGINT and SIGTERM."""

import signal
import subprocess
import sys

PROGRAM = """
import os, signal, threading, time
from autofocus_core.signals import on_stop
ended = threading.Event()
seen = []
def stop(number):
    seen.append((number, threading.current_thread() is threading.main_thread()))
    ended.set()
on_stop(stop)
def burst():
    print("ready", flush=True)
    for _ in range(3000):
        os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=burst, daemon=True)
thread.start()
while thread.is_alive():
    ended.wait(0.001)
    ended.clear()
ended.wait(5)
print("ended", *seen[0], flush=True)
os._exit(0)
"""


def test_a_burst_of_signals_ends_a_process_and_does_not_hang_it():
    """A recorder whose screen was killed got one SIGINT for each thread of the screen that died. Its handler called
    Event.set, the next signal interrupted that with the event's lock held, and set it again: the recorder hung with its
    recording unfinished, deaf to SIGTERM."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=15)
    assert done.stdout.split() == ["ready", "ended", str(int(signal.SIGINT)), "False"], done.stderr[-2000:]
