"""What the programs with redis-py share: how checks are run, and reported to package clients."""


def equal(got, expected):
    if got != expected:
        raise AssertionError(f"got {got!r}, expected {expected!r}")


def run(checks):
    for name, check in checks.items():
        try:
            check()
            print("ok", name, flush=True)
        except Exception as e:
            print(f"FAIL {name}: {type(e).__name__}: {e}", flush=True)
    print("done", len(checks))
