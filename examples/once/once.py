"""Counts with redis-py so that each call counts exactly once, although nodes fail: a command is sent again, with the same
number and through the next node, until there is an answer.

    python once.py me visits 1000 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003
"""

import sys
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

AGAIN = ("UNKNOWN ", "TRYAGAIN ", "CLUSTERDOWN ", "LOADING ", "MISCONF ")


class Producer:
    """Numbers its commands. Only one process uses its name at a time: who opens it later shuts the others out."""

    def __init__(self, name, addresses):
        self.nodes = []
        for address in addresses:
            host, port = address.rsplit(":", 1)
            self.nodes.append(redis.Redis(host, int(port), retry=Retry(NoBackoff(), 0), socket_timeout=10))
        self.name, self.at, self.number = name, 0, 0
        self.epoch = self.ask("ONCE", "OPEN", name)

    def do(self, *command):
        """Carries out a command once."""
        self.number += 1
        return self.ask("ONCE", self.name, self.epoch, self.number, *command)

    def ask(self, *command):
        """Sends a command until there is an answer."""
        while True:
            try:
                return self.nodes[self.at].execute_command(*command)
            except (redis.ConnectionError, redis.TimeoutError):
                pass  # no connection, or no answer
            except redis.ResponseError as e:
                if not str(e).startswith(AGAIN):
                    raise
            self.at = (self.at + 1) % len(self.nodes)
            time.sleep(0.02)


if __name__ == "__main__":
    name, key, count, addresses = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    producer = Producer(name, addresses)
    for _ in range(count):
        last = producer.do("INCR", key)
    print(last)
