"""The checks of secure_test.go, with redis-py."""

import sys

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from checks import equal, run

PORT = int(sys.argv[1])
CA, CERT, KEY, UNKNOWN_CA = sys.argv[2:6]


def connect(**options):
    """Without the usual ten retries, so that what fails does so at once."""
    settings = {
        "host": "localhost", "port": PORT, "username": "app", "password": "app-secret",
        "ssl": True, "ssl_ca_certs": CA, "ssl_certfile": CERT, "ssl_keyfile": KEY, "retry": Retry(NoBackoff(), 0),
    }
    return redis.Redis(**(settings | options))


def refused(kind, text, call):
    """Demands an error of exactly this class that says text."""
    try:
        got = call()
    except redis.RedisError as e:
        equal([type(e), text in str(e) or str(e)], [kind, True])
        return
    raise AssertionError(f"got {got!r}, expected {kind.__name__}: {text}")


def denied(call):
    """redis-py takes NOPERM from the front of the text, and has a class for it."""
    refused(redis.exceptions.NoPermissionError, "permissions", call)


r = connect()


def connects():
    equal(r.acl_whoami(), "app")


def count():
    equal([r.incr("app:n"), r.incrby("app:n", 41), r.get("app:n")], [1, 42, b"42"])


def pipeline():
    with r.pipeline(transaction=False) as p:
        for _ in range(1000):
            p.incr("app:pipeline")
        equal(p.execute(), list(range(1, 1001)))


def transaction():
    equal(r.pipeline().set("app:tx", 5).incrby("app:tx", 10).execute(), [True, 15])


def big_value():
    value = b"v" * 1000000
    equal([r.set("app:big", value), r.get("app:big") == value], [True, True])


def noperm_command():
    denied(r.flushall)
    connects()


def noperm_key():
    denied(lambda: r.incr("other"))
    connects()


def noperm_pipeline():
    p = r.pipeline(transaction=False).incr("app:pipe").incr("other").incr("app:pipe")
    before, no, after = p.execute(raise_on_error=False)
    equal([before, type(no), after], [1, redis.exceptions.NoPermissionError, 2])


def noperm_transaction():
    denied(r.pipeline().incr("app:denied").incr("other").execute)
    equal(r.exists("app:denied"), 0)


def no_certificate():
    refused(redis.ConnectionError, "", connect(ssl_certfile=None, ssl_keyfile=None).ping)


def unknown_authority():
    refused(redis.ConnectionError, "certificate verify failed", connect(ssl_ca_certs=UNKNOWN_CA).ping)


def other_name():
    refused(redis.ConnectionError, "IP address mismatch", connect(host="127.0.0.1").ping)


def wrong_password():
    refused(redis.AuthenticationError, "invalid username-password pair", connect(password="wrong").ping)


run({
    "connect": connects, "count": count, "pipeline": pipeline, "transaction": transaction, "big-value": big_value,
    "noperm-command": noperm_command, "noperm-key": noperm_key, "noperm-pipeline": noperm_pipeline,
    "noperm-transaction": noperm_transaction, "no-certificate": no_certificate, "unknown-authority": unknown_authority,
    "other-name": other_name, "wrong-password": wrong_password,
})
