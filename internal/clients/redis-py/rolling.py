"""Counts on one node as fast as it can, between "go" and "rest", and says what came of it."""

import sys
import threading

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

client = redis.Redis(port=int(sys.argv[1]), retry=Retry(NoBackoff(), 0), socket_timeout=30)
going, resting = threading.Event(), threading.Event()
resting.set()
answered, errors = 0, []


def count():
    global answered
    while True:
        if not going.is_set():
            resting.set()
            going.wait()
            resting.clear()
        try:
            client.incr("rolling")
            answered += 1
        except redis.RedisError as err:
            errors.append(str(err))


threading.Thread(target=count, daemon=True).start()
for line in sys.stdin:
    if line.strip() == "go":
        going.set()
    else:
        going.clear()
        resting.wait()
        client.close()
    print(line.strip(), flush=True)
print(answered, len(errors), *errors[:1], flush=True)
