"""Checks of one program: a line for each, and their number at the end."""

import os
import sys
import threading
import time

PORT = int(os.environ["PORT"])
HAS_SCRIPTING = os.environ["SERVER"] == "redis"
_passed = 0


def check(name, got, want):
    global _passed
    if got != want:
        sys.exit(f"FAIL {name}: {got!r}, expected {want!r}")
    _passed += 1
    print("ok", name)


def check_scripting(name, call, want, error, text):
    """A feature that needs Lua: it works with Redis, and with Quipu the program sees this error."""
    try:
        got = call()
    except Exception as e:
        if HAS_SCRIPTING or type(e).__name__ != error or text not in str(e):
            raise
    else:
        if not HAS_SCRIPTING or got != want:
            sys.exit(f"FAIL {name}: {got!r}")
    check(name + " (scripting)", 0, 0)


def raises(call, error, text=""):
    """Tells whether call raises this class of error with this text."""
    try:
        call()
    except Exception as e:
        return type(e).__name__ == error and text in str(e)
    return False


def becomes(limit_s, want, call):
    """Calls until the result is the wanted one; returns the last result."""
    end = time.monotonic() + limit_s
    while (got := call()) != want and time.monotonic() < end:
        time.sleep(0.02)
    return got


def in_threads(n, run):
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def done():
    print("done", _passed)


def count_through_a_crash(workers, increment, connection_errors):
    """Counts until standard input is closed; says how many increments were acknowledged."""
    acknowledged, stop = [0] * workers, threading.Event()

    def run(worker):
        while not stop.is_set():
            try:
                increment()
                acknowledged[worker] += 1
            except connection_errors:
                stop.wait(0.01)

    def until_eof():
        sys.stdin.read()
        stop.set()

    threading.Thread(target=until_eof).start()
    in_threads(workers, run)
    print("acknowledged", sum(acknowledged))
