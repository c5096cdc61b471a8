"""Counts the lines of a file of JSON exactly once: python ingest.py FILE HOST:PORT [HOST:PORT …]

Kill it, start two of them, kill the servers: the counts come out the same. It keeps nothing of its own; how far it has
come is in the server, and changes together with the counts.
"""

import collections
import itertools
import json
import sys
import time

import redis

BATCH = 200
path, addresses = sys.argv[1], sys.argv[2:]
nodes = itertools.cycle([redis.Redis.from_url("redis://" + a, socket_timeout=10) for a in addresses])
lines = open(path, encoding="utf-8").readlines()
node = next(nodes)
while True:
    try:
        stored = node.execute_command("INGEST", "POSITION", path)
        done = int(stored[1]) if stored else 0
        batch = lines[done : done + BATCH]
        if not batch:
            break
        likes = collections.Counter(json.loads(line)["post"] for line in batch)
        with node.pipeline() as transaction:
            transaction.execute_command("INGEST", path, "1", done or "", done + len(batch))
            for post, n in likes.items():
                transaction.incrby(f"likes:{post}", n)
            transaction.execute()
    except redis.RedisError:  # whatever has happened: the position says what was counted
        node = next(nodes)
        time.sleep(0.05)
