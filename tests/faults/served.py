"""The server of processes: loads the package once, then forks a process for each request, a line of JSON each."""

import json
import os
import signal
import sys
import time

from faults import preloaded
from faults.trials import work


def main():
    assert preloaded.DIGITS
    for line in sys.stdin:
        request = json.loads(line)
        began = time.monotonic()
        process = os.fork()
        if process == 0:
            work(request)
        status = wait(process, request["limit"])
        print(json.dumps({"status": status, "seconds": time.monotonic() - began}), flush=True)


def wait(process, limit):
    """The exit status of a process, minus the signal's number where one ended it; "hung" after so many seconds."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "hung"


if __name__ == "__main__":
    main()
