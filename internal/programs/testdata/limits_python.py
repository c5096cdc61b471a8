"""limits, which Flask-Limiter and others count with. All its strategies on Redis are Lua."""

from check import PORT, check, check_scripting, done
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

storage = storage_from_string(f"redis://127.0.0.1:{PORT}/4")
storage.storage.flushdb()
check("check", storage.check(), True)
limit = parse("2/day")
for strategy in FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter:
    limiter = strategy(storage)
    check_scripting(
        strategy.__name__,
        lambda: [limiter.hit(limit, strategy.__name__) for _ in range(3)],
        [True, True, False],
        "ResponseError",
        "unknown subcommand 'LOAD'",
    )
done()
