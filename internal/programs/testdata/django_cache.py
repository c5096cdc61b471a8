"""Django's own cache on Redis (django.core.cache.backends.redis), as a site uses it for counters, and with django-ratelimit."""

import sys

import redis
from check import PORT, becomes, check, count_through_a_crash, done, in_threads, raises
from django.conf import settings

BACKEND = "django.core.cache.backends.redis.RedisCache"
settings.configure(
    CACHES={
        "default": {"BACKEND": BACKEND, "LOCATION": f"redis://127.0.0.1:{PORT}/1", "KEY_PREFIX": "site"},
        "other": {"BACKEND": BACKEND, "LOCATION": f"redis://127.0.0.1:{PORT}/2", "TIMEOUT": None},
    }
)
from django.core.cache import cache, caches  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django_ratelimit.core import get_usage  # noqa: E402

raw = redis.Redis(port=PORT, db=1, decode_responses=True)

if sys.argv[1:] == ["count"]:
    cache.add("hits", 0, timeout=None)
    count_through_a_crash(4, lambda: cache.incr("hits"), redis.exceptions.RedisError)
    sys.exit()

check("clear", cache.clear(), True)
check("add", cache.add("hits", 0), True)
check("add of an existing key", cache.add("hits", 9), False)
check("incr", cache.incr("hits"), 1)
check("incr by", cache.incr("hits", 41), 42)
check("decr", cache.decr("hits", 2), 40)
check("get", cache.get("hits"), 40)
check("key on the server", raw.get("site:1:hits"), "40")
check("default timeout", 290 < raw.ttl("site:1:hits") <= 300, True)
check("incr of a missing key", raises(lambda: cache.incr("nope"), "ValueError", "not found"), True)
cache.set("text", "words")
check("incr of text", raises(lambda: cache.incr("text"), "ResponseError", "value is not an integer or out of range"), True)
cache.set("big", 2**63 - 1)
check("incr beyond 64 bits", raises(lambda: cache.incr("big"), "ResponseError", "would overflow"), True)
check("the big number stays", cache.get("big"), 2**63 - 1)


def incr_200_times(_):
    for _ in range(200):
        cache.incr("hits")


in_threads(8, incr_200_times)
check("8 threads count exactly", cache.get("hits"), 40 + 8 * 200)

added = []
in_threads(8, lambda i: added.append(cache.add("once", i)))
check("of 8 threads that add one wins", sorted(added), [False] * 7 + [True])

check("set with timeout None", (cache.set("forever", 1, timeout=None), raw.ttl("site:1:forever")), (None, -1))
check("set with timeout 0", (cache.set("forever", 2, timeout=0), cache.get("forever")), (None, None))
check("add with timeout 0", (cache.add("zero", 1, timeout=0), cache.get("zero")), (True, None))
check("touch", (cache.set("t", 1, timeout=10), cache.touch("t", 1000), raw.ttl("site:1:t") > 900), (None, True, True))
check("touch with None", (cache.touch("t", None), raw.ttl("site:1:t")), (True, -1))
check("touch of a missing key", cache.touch("nope"), False)
cache.set("later", 7, timeout=1000)
check("incr keeps the timeout", (cache.incr("later"), 900 < raw.ttl("site:1:later") <= 1000), (8, True))
cache.set("soon", 7, timeout=1)
check("expiry", becomes(10, None, lambda: cache.get("soon")), None)

check("set_many", cache.set_many({"a": 1, "b": [2], "c": None}, timeout=60), [])
check("set_many sets timeouts", all(0 < raw.ttl(f"site:1:{k}") <= 60 for k in "abc"), True)
check("get_many", cache.get_many(["a", "b", "c", "d"]), {"a": 1, "b": [2], "c": None})
check("has_key", (cache.has_key("a"), "d" in cache), (True, False))
check("delete", (cache.delete("a"), cache.delete("a")), (True, False))
check("delete_many", (cache.delete_many(["b", "c"]), cache.get_many(["b", "c"])), (None, {}))
check("get_or_set", (cache.get_or_set("g", lambda: 5), cache.get_or_set("g", lambda: 6)), (5, 5))

cache.set("v", 1, version=1)
check("a version is a key", (cache.get("v", version=2), cache.incr("v", 4, version=1)), (None, 5))
check("incr_version", (cache.incr_version("v"), cache.get("v"), cache.get("v", version=2)), (2, None, 5))


def usage(user):
    request = RequestFactory().get("/", headers={"x-user": user})
    return get_usage(request, group="site", key="header:x-user", rate="50/9999d", increment=True)


refused = []
in_threads(8, lambda _: refused.extend(usage("ann")["should_limit"] for _ in range(25)))
check("django-ratelimit refuses beyond its limit", (refused.count(False), refused.count(True)), (50, 150))
check("django-ratelimit counts everybody", usage("ann")["count"], 201)
check("django-ratelimit by user", usage("bob")["should_limit"], False)

caches["other"].set("stays", 1)
check("clear empties one database", (cache.clear(), raw.dbsize(), caches["other"].get("stays")), (True, 0, 1))
done()
