"""redis-py over TLS: with a certificate, and without one, which the server demands."""

import sys

import redis

from checks import equal, run

PORT, CA, CERT, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


def connect(**options):
    return redis.Redis(host="localhost", port=PORT, ssl=True, ssl_ca_certs=CA, **options)


def certificate():
    r = connect(ssl_certfile=CERT, ssl_keyfile=KEY)
    equal(r.incrby("redis-py", 41), 41)
    with r.pipeline(transaction=False) as p:
        for _ in range(1000):
            p.incr("redis-py")
        equal(p.execute()[-1], 1041)
    value = b"v" * 1000000
    equal(r.set("redis-py:big", value), True)
    equal(r.get("redis-py:big"), value)


def none():
    try:
        connect().ping()
    except redis.exceptions.ConnectionError:
        return
    raise AssertionError("let in without a certificate")


run({"certificate": certificate, "none": none})
