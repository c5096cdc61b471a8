"""django-redis, the cache backend that many sites use instead of Django's own."""

import redis
from check import HAS_SCRIPTING, PORT, becomes, check, check_scripting, done, in_threads
from django.conf import settings

settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{PORT}/3",
            "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        }
    }
)
from django.core.cache import cache  # noqa: E402

raw = redis.Redis(port=PORT, db=3, decode_responses=True)

# incr and decr are Lua. django-redis takes the error for a number that is no integer on the server, and falls back on
# reading, adding and writing: right for one client at a time, wrong for several.
cache.clear()
raw.config_resetstat()
check("set and incr", (cache.set("hits", 1, timeout=None), cache.incr("hits"), cache.incr("hits", 40)), (True, 2, 42))
check("decr", cache.decr("hits", 2), 40)
check("INCRBY is used where there is scripting", "cmdstat_incrby" in raw.info("commandstats"), HAS_SCRIPTING)
fallback = "unsupported operand type(s) for +: 'NoneType' and 'int'"
check_scripting("incr that may create the key", lambda: cache.incr("new", ignore_key_check=True), 1, "TypeError", fallback)


def incr_200_times(_):
    client = cache.client.get_client(write=True)
    for _ in range(200):
        client.incr(cache.client.make_key("hits"))


in_threads(8, incr_200_times)
check("8 threads count exactly with the raw client", cache.get("hits"), 40 + 8 * 200)

check("set nx", (cache.set("lock", 1, nx=True, timeout=60), cache.set("lock", 2, nx=True)), (True, False))
check("add", (cache.add("lock", 1), cache.add("temp", 1, timeout=60)), (False, True))
check("ttl and pttl", (55 < cache.ttl("temp") <= 60, 55000 < cache.pttl("temp") <= 60000), (True, True))
check("ttl of a missing key and of one without", (cache.ttl("nope"), cache.ttl("hits")), (0, None))
check("expire and persist", (cache.expire("temp", 10), cache.ttl("temp") <= 10, cache.persist("temp"), cache.ttl("temp")), (True, True, True, None))
check("pexpire", (cache.pexpire("temp", 20), becomes(10, None, lambda: cache.get("temp"))), (True, None))
check("set_many and get_many", (cache.set_many({f"page:{i}": i for i in range(250)}), len(cache.get_many([f"page:{i}" for i in range(250)]))), (None, 250))
check("iter_keys", len(set(cache.iter_keys("page:*"))), 250)
check("keys", sorted(cache.keys("page:24?")), [f"page:{i}" for i in range(240, 250)])
check("delete_pattern", (cache.delete_pattern("page:*"), cache.keys("page:*")), (250, []))
check("touch", (cache.touch("lock", 5), cache.ttl("lock") <= 5), (True, True))

lock = cache.lock("job", timeout=60)
check("lock", (lock.acquire(), cache.lock("job", timeout=60).acquire(blocking=False)), (True, False))
check_scripting("release of a lock", lock.release, None, "ResponseError", "unknown subcommand 'LOAD'")
check("clear", (cache.clear(), raw.dbsize()), (None, 0))
done()
