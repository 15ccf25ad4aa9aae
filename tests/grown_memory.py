"""How much memory of its own a piece of Python takes at most, measured in a process of its own."""

import os
import subprocess
import sys

import pytest

WATCH = """
import sys, threading

def held():
    line = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3

class Most:
    def __init__(self):
        self.most, self.stop = 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.stop.wait(0.002):
            self.most = max(self.most, held())

    def __enter__(self):
        self.before = held()
        self.thread.start()

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        print(max(self.most, held()) - self.before)
"""

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="a process's own memory is told from that of files"
)


def grown_memory(code, *arguments):
    """Megabytes that the process took beyond what it had before ``with Most():``, without pages of mapped files.

    The C library hands large pieces back as soon as they are freed, so that what it would rather keep is not counted:
    how much that is differs from one time to the next.
    """
    command = [sys.executable, "-c", WATCH + code, *map(str, arguments)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
