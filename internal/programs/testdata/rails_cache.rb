# The cache of Rails on Redis (ActiveSupport::Cache::RedisCacheStore), as an application uses it for counters.

require "redis"
require "connection_pool"
require "active_support"
require "active_support/core_ext/numeric/time"
require "active_support/cache"
require "active_support/cache/redis_cache_store"
require_relative "check"

Entry = Struct.new(:id) do
  def cache_key = "entry/#{id}"
end

raw = Redis.new(port: PORT)

def store(**options)
  ActiveSupport::Cache::RedisCacheStore.new(url: "redis://127.0.0.1:#{PORT}/0", pool_size: 8, pool_timeout: 30, **options)
end

if ARGV == ["count"]
  cache = store
  count_through_a_crash(4) { cache.increment("hits", 1, expires_in: 1.day) }
  exit
end

raw.flushall
cache = store(namespace: "app", expires_in: 1.hour)
plain = store

check "increment of a missing key", cache.increment("hits"), 1
check "the store's expiry is set", raw.ttl("app:hits").between?(3590, 3600), true
check "increment by", cache.increment("hits", 41), 42
check "decrement", cache.decrement("hits", 2), 40
check "read raw", cache.read("hits", raw: true), "40"
check "increment with expires_in", [cache.increment("daily", 5, expires_in: 1.day), raw.ttl("app:daily").between?(86_390, 86_400)], [5, true]
check "a second increment keeps the expiry", [cache.increment("daily", 1, expires_in: 10.days), raw.ttl("app:daily") <= 86_400], [6, true]
check "decrement of a missing key", plain.decrement("stock", 3), -3
check "no expiry unless asked for", raw.ttl("stock"), -1
check "write raw, then increment", [cache.write("seven", 7, raw: true), cache.increment("seven")], ["OK", 8]
check "the error handler hides the server's error", [cache.write("words", "many words"), cache.increment("words")], ["OK", nil]

check "8 threads count exactly", [in_threads(8) { 200.times { cache.increment("threads") } }.size, cache.read("threads", raw: true)], [8, "1600"]
check "unless_exist", [cache.write("first", 1, unless_exist: true), cache.write("first", 2, unless_exist: true), cache.read("first")], [true, false, 1]
check "of 8 threads one writes", in_threads(8) { |i| cache.write("once", i, unless_exist: true) }.count(true), 1

calls = 0
check "fetch", [cache.fetch("page") { calls += 1 }, cache.fetch("page") { calls += 1 }, calls], [1, 1, 1]
check "fetch force", cache.fetch("page", force: true) { :new }, :new
check "fetch_multi", cache.fetch_multi("page", "other") { |k| k.upcase }, { "page" => :new, "other" => "OTHER" }
check "read_multi", cache.read_multi("page", "other", "nope"), { "page" => :new, "other" => "OTHER" }
check "write_multi with MSET", [plain.write_multi({ "m1" => 1, "m2" => [2] }), plain.read_multi("m1", "m2")], ["OK", { "m1" => 1, "m2" => [2] }]
check "write_multi with expiry", [cache.write_multi({ "m3" => 3, "m4" => nil }, expires_in: 60).size, raw.ttl("app:m3").between?(1, 60), cache.exist?("m4")], [2, true, true]
check "keys of objects", [cache.increment(Entry.new(7)), raw.get("app:entry/7")], [1, "1"]
check "a long key is cut", [plain.increment("k" * 3000), raw.keys("kkk*").map(&:bytesize)], [1, [1024]]
check "a big value is compressed", [plain.write("big", "x" * 500_000), raw.strlen("big") < 10_000, plain.read("big").size], ["OK", true, 500_000]

check "expires_in", [cache.write("soon", 1, expires_in: 0.05), becomes(10, nil) { cache.read("soon") }], ["OK", nil]
stale = { expires_in: 0.01, race_condition_ttl: 30 }
check "race_condition_ttl keeps the old value on the server", [cache.write("race", "old", **stale), raw.ttl("app:race").between?(200, 310)], ["OK", true]
sleep 0.02
seen = nil
check "race_condition_ttl shows it to others", [cache.fetch("race", **stale) { seen = cache.read("race"); "new" }, seen], ["new", "old"]

check "delete", [cache.delete("page"), cache.delete("page")], [1, 0]
check "delete_multi", cache.delete_multi(%w[m3 m4 nope]), 2
2500.times.each_slice(500) { |part| raw.mset(*part.flat_map { |i| ["app:user:#{i}:hits", i] }) }
cache.delete_matched("user:*:hits")
check "delete_matched", [raw.keys("app:user:*"), raw.get("app:hits")], [[], "40"]
cache.clear
check "clear of a namespace", [raw.keys("app:*"), raw.get("stock")], [[], "-3"]
plain.clear
check "clear", raw.dbsize, 0
done
