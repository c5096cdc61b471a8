"""redis-py's RedisCluster with its default options, on nodes with cluster-enabled."""

import sys

from redis.cluster import RedisCluster

r = RedisCluster(host="127.0.0.1", port=int(sys.argv[1]))


def equal(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, expected {want!r}")


for i in range(100):
    equal(r.incr(f"py:{i}"), 1)
    equal(r.get(f"py:{i}"), b"1")
p = r.pipeline()
for i in range(100):
    p.incr(f"py:{i}")
equal(p.execute(), [2] * 100)
equal(r.mget("{py}a", "{py}b"), [None, None])
equal(len(r.get_nodes()), 3)
equal(len(r.get_primaries()), 1)
equal(sorted(r.scan_iter(match="py:1?")), sorted(f"py:1{i}".encode() for i in range(10)))
equal(r.dbsize() >= 100, True)
