# rack-attack in front of an application, throttling by counters on Redis: with the Redis client itself as its store, and
# with the cache of Rails.

require "redis"
require "connection_pool"
require "rack"
require "rack/mock"
require "active_support"
require "active_support/core_ext/numeric/time"
require "active_support/cache"
require "active_support/cache/redis_cache_store"
require "rack/attack"
require_relative "check"

LIMIT = 100
# Nothing in a run lies in the next period.
PERIOD = 1_000_000_000

Rack::Attack.throttle("ip", limit: LIMIT, period: PERIOD) { |request| request.ip }
Rack::Attack.throttle("login", limit: 3, period: PERIOD) { |r| r.params["user"] if r.path == "/login" && r.post? }
Rack::Attack.blocklist("scanner") do |request|
  Rack::Attack::Allow2Ban.filter(request.ip, maxretry: 2, findtime: PERIOD, bantime: 1.hour) { request.path == "/wp-admin" }
end
APP = Rack::MockRequest.new(Rack::Lint.new(Rack::Attack.new(->(_env) { [200, { "Content-Type" => "text/plain" }, ["fine"]] })))

def get(ip, path = "/") = APP.get(path, "REMOTE_ADDR" => ip).status
def login(user) = APP.post("/login", params: { user: user }, "REMOTE_ADDR" => "10.0.0.9").status

raw = Redis.new(port: PORT)

if ARGV == ["count"]
  # Without its own rescue: it would count 1 for an increment that failed.
  store = Rack::Attack::StoreProxy::RedisProxy.new(raw)
  count_through_a_crash(4) do
    store.increment("hits", 1, expires_in: 86_400)
  rescue Redis::CommandError # LOADING, which the store does not catch
    nil
  end
  exit
end

rails = ActiveSupport::Cache::RedisCacheStore.new(url: "redis://127.0.0.1:#{PORT}/0", pool_size: 8, pool_timeout: 30)
{ "redis" => raw, "rails" => rails }.each do |name, store|
  raw.flushall
  Rack::Attack.cache.store = store
  key = ->(rest) { "rack::attack:0:#{rest}".sub("0", (Time.now.to_i / PERIOD).to_s) }

  check "#{name}: the first request", get("10.0.0.1"), 200
  check "#{name}: counted, with an expiry", [raw.get(key["ip:10.0.0.1"]), raw.ttl(key["ip:10.0.0.1"]).positive?], ["1", true]
  # The first request was alone: with the cache of Rails, rack-attack 6.6 reads and then writes a counter's first value.
  statuses = in_threads(8) { Array.new(25) { get("10.0.0.1") } }.flatten.tally
  check "#{name}: 8 threads, allowed up to the limit", statuses, { 200 => LIMIT - 1, 429 => 200 - (LIMIT - 1) }
  check "#{name}: every request is counted", raw.get(key["ip:10.0.0.1"]), "201"
  check "#{name}: somebody else", get("10.0.0.2"), 200
  check "#{name}: by user", Array.new(4) { login("Ann") } + [login("bob")], [200, 200, 200, 429, 200]
  check "#{name}: banned after two requests", Array.new(3) { get("10.0.0.3", "/wp-admin") }, [200, 200, 403]
  check "#{name}: banned everywhere", get("10.0.0.3"), 403
  check "#{name}: a ban expires", raw.ttl("rack::attack:allow2ban:ban:10.0.0.3").between?(3500, 3600), true
  Rack::Attack::Allow2Ban.reset("10.0.0.3", findtime: PERIOD)
  check "#{name}: a ban is lifted", get("10.0.0.3"), 200
  Rack::Attack.cache.write("note", 5, 60)
  check "#{name}: write and read", [Rack::Attack.cache.read("note").to_i, raw.ttl("rack::attack:note").between?(1, 60)], [5, true]
end
raw.flushall
Rack::Attack.cache.store = raw
12.times { |i| get("10.1.0.#{i}") }
Rack::Attack.cache.store.delete_matched("rack::attack:*")
check "delete_matched", raw.dbsize, 0
done
