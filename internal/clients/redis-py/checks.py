"""What the programs with redis-py share: how checks are run, and reported to package clients."""


def equal(got, expected):
    if got != expected:
        raise AssertionError(f"got {got!r}, expected {expected!r}")


def hears(pubsub, expected):
    """The next message is the wanted one: type, pattern, channel, data."""
    m = pubsub.get_message(timeout=20)
    equal(m and (m["type"], m["pattern"], m["channel"], m["data"]), expected)


def run(checks):
    for name, check in checks.items():
        try:
            check()
            print("ok", name, flush=True)
        except Exception as e:
            print(f"FAIL {name}: {type(e).__name__}: {e}", flush=True)
    print("done", len(checks))
