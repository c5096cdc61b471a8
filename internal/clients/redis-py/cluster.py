"""The checks of cluster_mode_test.go, with redis-py's RedisCluster and its default options."""

import sys
import time

from redis.cluster import RedisCluster

from checks import equal, hears, run

r = RedisCluster(host="127.0.0.1", port=int(sys.argv[1]))


def connect():
    equal([r.ping(), len(r.get_primaries())], [True, 1])


def count():
    for i in range(100):
        equal([r.incr(f"py:{i}"), r.get(f"py:{i}")], [1, b"1"])
    equal(sorted(r.scan_iter(match="py:1?")), sorted(f"py:1{i}".encode() for i in range(10)))
    equal(r.dbsize() >= 100, True)


def pipeline():
    p = r.pipeline()
    for i in range(100):
        p.incrby(f"py:{i}", i)
    equal(p.execute(), list(range(1, 101)))


def mget():
    equal(r.mset({"{py}a": 1, "{py}b": 2}), True)
    equal(r.mget("{py}a", "{py}b", "{py}none"), [b"1", b"2", None])


def transaction():
    equal(r.pipeline(transaction=True).incrby("{py}a", 10).get("{py}a").execute(), [11, b"11"])


def pub_sub():
    p = r.pubsub()
    p.subscribe("py:news")
    hears(p, ("subscribe", None, b"py:news", 1))
    p.psubscribe("py:new?")
    hears(p, ("psubscribe", None, b"py:new?", 2))
    for text in b"one", bytes(range(256)):
        r.publish("py:news", text)
        hears(p, ("message", None, b"py:news", text))
        hears(p, ("pmessage", b"py:new?", b"py:news", text))
    p.close()


def sharded():
    p = r.pubsub()
    p.ssubscribe("py:shard")
    hears_sharded(p, ("ssubscribe", b"py:shard", 1))
    equal(r.spublish("py:shard", "one"), 1)
    hears_sharded(p, ("smessage", b"py:shard", b"one"))
    p.sunsubscribe("py:shard")
    hears_sharded(p, ("sunsubscribe", b"py:shard", 0))
    equal(r.spublish("py:shard", "nobody"), 0)


def hears_sharded(p, expected):
    """get_sharded_message asks the nodes in turn, so that there may be nothing of the first."""
    end, m = time.monotonic() + 20, None
    while not m and time.monotonic() < end:
        m = p.get_sharded_message(timeout=0.1)
    equal(m and (m["type"], m["channel"], m["data"]), expected)


run({
    "connect": connect, "count": count, "pipeline": pipeline, "mget": mget, "transaction": transaction, "pub-sub": pub_sub,
    "sharded": sharded,
})
