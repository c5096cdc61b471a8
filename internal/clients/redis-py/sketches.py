"""redis-py's helpers for sketches, r.cms() and r.topk(), unchanged."""

import sys
import warnings

import redis

from checks import equal, run

PORT = int(sys.argv[1])
warnings.simplefilter("ignore", DeprecationWarning)  # of topk().count(), which is to work nevertheless


def raises(text, call):
    try:
        got = call()
    except redis.ResponseError as e:
        equal(str(e)[: len(text)], text)
        return
    raise AssertionError(f"got {got!r}, expected an error: {text}")


def count_min(r, name):
    cms = r.cms()
    equal(cms.initbydim(name, 1000, 5), True)
    equal(cms.incrby(name, ["foo", "bar"], [5, 7]), [5, 7])
    equal(cms.query(name, "foo", "bar", "nope"), [5, 7, 0])
    other, both = name + "{b}", name + "{c}"
    equal(cms.initbyprob(other, 0.001, 0.01), True)
    info = cms.info(other)
    equal([info["width"], info["depth"], info["count"]], [2000, 7, 0])
    raises("CMS: width/depth is not equal", lambda: cms.merge(name, 1, [other]))
    equal(cms.initbydim(both, 1000, 5), True)
    equal(cms.merge(both, 2, [name, name], weights=[1, 10]), True)
    equal(cms.query(both, "foo", "bar"), [55, 77])
    equal(cms.merge(both, 1, [name]), True)
    equal(cms.query(both, "foo", "bar"), [5, 7])
    raises("CMS: key already exists", lambda: cms.initbydim(name, 1000, 5))
    raises("CMS: key does not exist", lambda: cms.query(name + "none", "foo"))


def top_k(r, name):
    topk = r.topk()
    equal(topk.reserve(name, 3, 50, 4, 0.9), True)
    equal(topk.add(name, "A", "B", "C"), [None] * 3)
    equal(topk.incrby(name, ["A", "B", "C"], [9, 5, 3]), [None] * 3)
    equal(topk.incrby(name, ["D", "E"], [7, 1]), ["C", None])
    equal(topk.query(name, "A", "C"), [1, 0])
    equal(topk.count(name, "A", "B", "C", "nope"), [10, 6, 4, 0])
    equal(topk.list(name), ["A", "D", "B"])
    equal(topk.list(name, withcount=True), ["A", 10, "D", 7, "B", 6])
    info = topk.info(name)
    equal([info["k"], info["width"], info["depth"], float(info["decay"])], [3, 50, 4, 0.9])
    raises("TopK: key does not exist", lambda: topk.list(name + "none"))


def on(protocol, decode):
    return redis.Redis(port=PORT, protocol=protocol, decode_responses=decode)


run({
    "count-min": lambda: count_min(redis.Redis(port=PORT), "cms"),
    "count-min-resp2": lambda: count_min(on(2, True), "cms2"),
    "top-k": lambda: top_k(redis.Redis(port=PORT), "topk"),
    "top-k-resp2": lambda: top_k(on(2, True), "topk2"),
})
