"""The checks of package clients, with redis-py and its default options."""

import sys
import threading
import time

import redis

from checks import equal, hears, run

PORT, SOCKET, AUTH_PORT = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
PASSWORD = "secret"

r = redis.Redis(port=PORT)


def raises(kind, text, call):
    """The call must raise kind itself, no subclass, with a message that begins with text."""
    try:
        got = call()
    except Exception as e:
        equal((type(e), str(e)[: len(text)]), (kind, text))
        return
    raise AssertionError(f"got {got!r}, expected {kind.__name__}: {text}")


def connect():
    equal(r.ping(), True)


def protocol():
    equal(r.client_info()["resp"], "3")


def count():
    equal(r.incr("count"), 1)
    equal(r.incrby("count", 10), 11)
    equal(r.decr("count"), 10)
    equal(r.decrby("count", 20), -10)
    equal(r.get("count"), b"-10")
    equal(r.incrbyfloat("count:float", 0.1), 0.1)
    equal(r.incrbyfloat("count:float", 0.2), 0.3)
    equal(r.mget("count", "count:none"), [b"-10", None])


def pipeline():
    p = r.pipeline(transaction=False)
    for _ in range(10_000):
        p.incr("pipeline")
    equal(p.execute(), list(range(1, 10_001)))


def transaction():
    with r.pipeline() as p:
        equal(p.set("tx", 5).incrby("tx", 10).get("tx").ttl("tx").execute(), [True, 15, b"15", -1])


def transaction_error():
    r.set("tx:text", "text")
    p = r.pipeline().incr("tx:before").incr("tx:text").incr("tx:after")
    raises(redis.ResponseError, "Command # 2 (INCRBY tx:text 1) of pipeline caused error: value is not an integer", p.execute)
    replies = r.pipeline().incr("tx:before").incr("tx:text").incr("tx:after").execute(raise_on_error=False)
    equal([replies[0], type(replies[1]), replies[2]], [2, redis.ResponseError, 2])


def transaction_refused():
    p = r.pipeline().incr("tx:refused").execute_command("INCR")
    raises(redis.ResponseError, "Command # 2 (INCR) of pipeline caused error: wrong number of arguments for 'incr'", p.execute)
    equal(r.exists("tx:refused"), 0)


def watch_conflict():
    other = redis.Redis(port=PORT)
    with r.pipeline() as p:
        p.watch("watched")
        other.set("watched", "theirs")
        p.multi()
        p.set("watched", "ours")
        raises(redis.WatchError, "Watched variable changed.", p.execute)
    equal(r.get("watched"), b"theirs")


def watch_increment():
    def optimistic(p):
        n = int(p.get("optimistic") or 0)
        p.multi()
        p.set("optimistic", n + 1)

    def client():
        mine = redis.Redis(port=PORT)
        for _ in range(25):
            mine.transaction(optimistic, "optimistic")

    threads = [threading.Thread(target=client) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(r.get("optimistic"), b"100")


def scan():
    stay = {f"stay:{i}".encode(): i for i in range(3000)}
    r.mset(stay)
    stop, churned = threading.Event(), threading.Event()

    def churn():
        mine, rounds = redis.Redis(port=PORT), 0
        while not stop.is_set():
            p = mine.pipeline(transaction=False)
            for i in range(300):
                p.set(f"go:{rounds % 20}:{i}", 1)
                p.delete(f"go:{(rounds + 10) % 20}:{i}")
            p.execute()
            rounds += 1
            if rounds == 15:
                churned.set()

    t = threading.Thread(target=churn, daemon=True)
    t.start()
    try:
        equal(churned.wait(30), True)
        for _ in range(3):
            equal(set(r.scan_iter("stay:*", count=100)), set(stay))
    finally:
        stop.set()
        t.join()


def expiry():
    r.set("expiry", 1, ex=100)
    equal(98 <= r.ttl("expiry") <= 100, True)
    equal(r.persist("expiry"), True)
    equal(r.ttl("expiry"), -1)
    equal(r.expire("expiry", 50), True)
    equal(48_000 < r.pttl("expiry") <= 50_000, True)
    equal(r.expire("expiry:none", 50), False)
    equal(r.ttl("expiry:none"), -2)
    r.set("expiry:soon", 1, px=30)
    deadline = time.monotonic() + 10
    while r.exists("expiry:soon") and time.monotonic() < deadline:
        time.sleep(0.01)
    equal(r.get("expiry:soon"), None)


def errors():
    r.set("errors", "text")
    raises(redis.ResponseError, "value is not an integer or out of range", lambda: r.incr("errors"))
    raises(redis.ResponseError, "unknown command 'NOPE', with args beginning with: 'a'", lambda: r.execute_command("NOPE", "a"))
    raises(redis.ResponseError, "wrong number of arguments for 'get' command", lambda: r.execute_command("GET"))
    raises(redis.ResponseError, "syntax error", lambda: r.execute_command("SET", "errors", "v", "NOPE"))
    equal(r.ping(), True)


def errors_auth():
    none = redis.Redis(port=AUTH_PORT)
    raises(redis.AuthenticationError, "HELLO must be called with the client already authenticated", none.ping)
    # redis-py tries ten times more, which is often enough for Quipu to answer that these are too many.
    wrong = redis.Redis(port=AUTH_PORT, password="wrong")
    raises(redis.AuthenticationError, "", wrong.ping)
    equal(redis.Redis(port=AUTH_PORT, password=PASSWORD).ping(), True)


def errors_memory():
    r.set("memory", 1)
    r.config_set("maxmemory", 1)
    try:
        raises(redis.exceptions.OutOfMemoryError, "command not allowed when used memory > 'maxmemory'", lambda: r.incr("memory"))
        equal(r.get("memory"), b"1")
    finally:
        r.config_set("maxmemory", 0)
    equal(r.incr("memory"), 2)


def big_value():
    value = bytes(i * 7 % 251 for i in range(1 << 20))
    equal(r.set("big", value), True)
    equal(r.strlen("big"), 1 << 20)
    equal(r.get("big") == value, True)


def binary():
    key = value = bytes(range(256))
    equal(r.set(key, value), True)
    equal(r.get(key), value)
    equal(list(r.scan_iter(b"\x00*")), [key])


def pub_sub():
    p = r.pubsub()
    equal(r.publish("news", "nobody"), 0)
    p.subscribe("news")
    hears(p, ("subscribe", None, b"news", 1))
    p.psubscribe("new?")
    hears(p, ("psubscribe", None, b"new?", 2))
    every = bytes(range(256))
    equal([r.publish("news", every), r.publish("newt", "two"), r.publish("news", ""), r.publish("new", "to nobody")], [2, 1, 2, 0])
    for text in every, b"two", b"":
        if text != b"two":
            hears(p, ("message", None, b"news", text))
        hears(p, ("pmessage", b"new?", b"newt" if text == b"two" else b"news", text))
    p.unsubscribe("news")
    hears(p, ("unsubscribe", None, b"news", 1))
    equal(r.publish("news", "three"), 1)
    hears(p, ("pmessage", b"new?", b"news", b"three"))
    p.punsubscribe("new?")
    hears(p, ("punsubscribe", None, b"new?", 0))
    equal(r.publish("news", "nobody"), 0)
    p.ssubscribe("shard")
    hears(p, ("ssubscribe", None, b"shard", 1))
    equal([r.publish("shard", "to nobody"), r.spublish("shard", "one")], [0, 1])
    hears(p, ("smessage", None, b"shard", b"one"))
    p.sunsubscribe("shard")
    hears(p, ("sunsubscribe", None, b"shard", 0))
    equal(r.spublish("shard", "nobody"), 0)


def unix_socket():
    u = redis.Redis(unix_socket_path=SOCKET)
    equal(u.incr("unix"), 1)
    equal(r.get("unix"), b"1")


def reconnect():
    p = r.pubsub()
    p.subscribe("renewed")
    hears(p, ("subscribe", None, b"renewed", 1))
    equal(r.incrby("reconnect", 10), 10)
    print("restart", flush=True)
    sys.stdin.readline()
    equal(r.incr("reconnect"), 11)
    hears(p, ("subscribe", None, b"renewed", 1))
    equal(r.publish("renewed", "after"), 1)
    hears(p, ("message", None, b"renewed", b"after"))


CHECKS = [
    connect, protocol, count, pipeline, transaction, transaction_error, transaction_refused, watch_conflict,
    watch_increment, scan, expiry, errors, errors_auth, errors_memory, big_value, binary, pub_sub, unix_socket,
    reconnect,
]

run({check.__name__.replace("_", "-"): check for check in CHECKS})
