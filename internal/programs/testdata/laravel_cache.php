<?php
// Laravel's cache, locks and rate limiter on Redis (illuminate/cache and illuminate/redis, through phpredis).

use Illuminate\Cache\RateLimiter;
use Illuminate\Cache\RedisStore;
use Illuminate\Cache\Repository;
use Illuminate\Redis\RedisManager;

error_reporting(E_ALL & ~E_DEPRECATED);
require 'Illuminate/Cache/autoload.php';
require 'Illuminate/Redis/autoload.php';
require __DIR__ . '/check.php';

function manager(): RedisManager
{
    $server = ['host' => '127.0.0.1', 'port' => PORT, 'database' => 0];
    return new RedisManager(null, 'phpredis', ['default' => $server, 'cache' => ['database' => 1] + $server]);
}

function store(string $connection = 'cache'): RedisStore
{
    return new RedisStore(manager(), 'laravel_cache', $connection);
}

$raw = new Redis();

if (($argv[1] ?? '') === 'count') {
    // In database 0: phpredis 5.3 goes on there when it has connected again, with any server.
    count_through_a_crash(4, function () {
        static $store = null;
        $store ??= store('default');
        return $store->increment('hits');
    });
    exit;
}

$raw->connect('127.0.0.1', PORT);
$raw->select(1);
$store = store();
$cache = new Repository($store);

check('flush', $cache->flush(), true);
check('increment of a missing key', $cache->increment('hits'), 1);
check('increment by', $cache->increment('hits', 41), 42);
check('decrement', $cache->decrement('hits', 2), 40);
check('get', $cache->get('hits'), '40');
check('key on the server', $raw->get('laravel_cache:hits'), '40');
check('8 processes count exactly', in_processes(8, function () {
    $store = store();
    for ($i = 0; $i < 100; $i++) {
        $store->increment('hits');
    }
    return 1;
}), 8);
check('their sum', $cache->get('hits'), '840');

check('put, a number stays a number', [$cache->put('n', 7, 60), $raw->get('laravel_cache:n'), $raw->ttl('laravel_cache:n') > 50], [true, '7', true]);
check('increment keeps the expiry', [$cache->increment('n'), $raw->ttl('laravel_cache:n') > 50], [8, true]);
check('put serializes', [$cache->put('a', ['x' => 1.5], 60), $cache->get('a')], [true, ['x' => 1.5]]);
check('increment of an array', [$cache->increment('a'), $cache->get('a')], [false, ['x' => 1.5]]);
check('forever', [$cache->forever('f', 'v'), $raw->ttl('laravel_cache:f')], [true, -1]);
check('putMany', [$cache->putMany(['p' => 1, 'q' => [2]], 60), $raw->ttl('laravel_cache:q') > 50], [true, true]);
check('many', $cache->many(['p', 'q', 'nope']), ['p' => '1', 'q' => [2], 'nope' => null]);
check('remember', [$cache->remember('r', 60, fn () => [1]), $cache->remember('r', 60, fn () => [2])], [[1], [1]]);
check('pull', [$cache->pull('f'), $cache->has('f')], ['v', false]);
check('forget', [$cache->forget('p'), $cache->forget('p')], [true, false]);
check('expiry', [$cache->put('soon', 1, 1), becomes(10, null, fn () => $cache->get('soon'))], [true, null]);
check_scripting('add', fn () => [$cache->add('once', 1, 60), $cache->add('once', 2, 60)], [true, false], [false, false]);
check('add without an expiry', [$cache->add('always', 1), $cache->add('always', 2)], [true, false]);

$lock = $store->lock('job', 60, 'me');
check('lock', [$lock->get(), $store->lock('job', 60)->get(), $raw->get('laravel_cache:job')], [true, false, 'me']);
check('of 8 processes one gets a lock', in_processes(8, fn () => (int) store()->lock('single', 60)->get()), 1);
check_scripting('release', fn () => $lock->release(), true, false);
$lock->forceRelease();
check('forceRelease', $store->lock('job', 60)->get(), true);

$limiter = new RateLimiter($cache);
check('nothing is counted', [$limiter->attempts('mail:1'), $limiter->tooManyAttempts('mail:1', 2)], [0, false]);
// Without Lua the hits are counted, but nobody is refused: the key that says when the limit ends is not there.
check('hits are counted', [$limiter->hit('mail:1'), $limiter->hit('mail:1'), $limiter->attempts('mail:1')], [1, 2, '2']);
check_scripting('RateLimiter::tooManyAttempts', fn () => $limiter->tooManyAttempts('mail:1', 2), true, false);
check_scripting('Redis::throttle', fn () => @manager()->throttle('t')->allow(1)->every(60)->block(0)->then(fn () => 'ran', fn () => 'late'), 'ran', 'late');
check_scripting('Redis::funnel', fn () => manager()->funnel('f')->limit(1)->block(0)->then(fn () => 'ran', fn () => 'late'), 'ran', 'late');

check('pipeline', manager()->pipeline(function ($pipe) {
    for ($i = 0; $i < 100; $i++) {
        $pipe->incr("views:$i");
        $pipe->expire("views:$i", 60);
    }
}), array_merge(...array_fill(0, 100, [1, true])));
check('transaction', manager()->transaction(fn ($tx) => $tx->incrBy('views:1', 5)), [6]);
check('flush empties one database', [$cache->flush(), $raw->dbSize(), manager()->get('views:1')], [true, 0, '6']);
manager()->flushdb();
done();
