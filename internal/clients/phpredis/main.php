<?php
// The checks of package clients, with the extension phpredis and its default options.

error_reporting(E_ALL);
ini_set('display_errors', 'stderr');

[$port, $socket, $authPort] = [(int) $argv[1], $argv[2], (int) $argv[3]];
const ERROR_NOT_INTEGER = 'ERR value is not an integer or out of range';

function connect(int $port): Redis
{
    $r = new Redis();
    $r->connect('127.0.0.1', $port);
    return $r;
}

function equal(mixed $got, mixed $expected): void
{
    if ($got !== $expected) {
        throw new Exception('got ' . json_encode($got) . ', expected ' . json_encode($expected));
    }
}

/** phpredis answers false to an error reply, and keeps its text. */
function refused(Redis $r, mixed $got, string $text): void
{
    equal($got, false);
    equal(substr((string) $r->getLastError(), 0, strlen($text)), $text);
    $r->clearLastError();
}

/** Errors that are no matter of one command are thrown. */
function throws(callable $call, string $text): void
{
    try {
        $got = $call();
    } catch (RedisException $e) {
        equal(substr($e->getMessage(), 0, strlen($text)), $text);
        return;
    }
    throw new Exception('got ' . json_encode($got) . ", expected RedisException: $text");
}

/** Runs $body in a process of its own and returns its id. */
function fork(callable $body): int
{
    $pid = pcntl_fork();
    if ($pid === 0) {
        $body();
        // Not exit: that would run this process's destructors and flush its output.
        posix_kill(getmypid(), SIGKILL);
    }
    return $pid;
}

/** In another process, publishes once there is a subscriber, and keeps the counts of receivers. */
function publishOnce(int $port, callable $subscribers, callable $publish): int
{
    return fork(function () use ($port, $subscribers, $publish) {
        $mine = connect($port);
        for ($i = 0; $i < 2000 && $subscribers($mine) !== 1; $i++) {
            usleep(10000);
        }
        $mine->set('pub-sub:counts', json_encode($publish($mine)));
    });
}

function watchIncrement(Redis $mine): void
{
    do {
        $mine->watch('optimistic');
        $n = (int) $mine->get('optimistic');
        $done = $mine->multi()->set('optimistic', $n + 1)->exec();
    } while ($done === false);
}

function churn(int $port): void
{
    $mine = connect($port);
    for ($round = 0; !$mine->exists('scan:stop'); $round++) {
        $p = $mine->multi(Redis::PIPELINE);
        for ($i = 0; $i < 300; $i++) {
            $p->set('go:' . $round % 20 . ":$i", 1)->del('go:' . ($round + 10) % 20 . ":$i");
        }
        $p->exec();
        $mine->set('scan:rounds', $round);
    }
}

$r = connect($port);

$checks = [
    'connect' => function () use ($r) {
        equal($r->ping(), true);
    },

    'protocol' => function () use ($r) {
        equal(preg_match('/ resp=(\d)/', $r->rawCommand('CLIENT', 'INFO'), $m), 1);
        equal($m[1], '2');
    },

    'count' => function () use ($r) {
        equal($r->incr('count'), 1);
        equal($r->incrBy('count', 10), 11);
        equal($r->decr('count'), 10);
        equal($r->decrBy('count', 20), -10);
        equal($r->get('count'), '-10');
        equal($r->incrByFloat('count:float', 0.5), 0.5);
        equal($r->incrByFloat('count:float', 0.25), 0.75);
        equal($r->mGet(['count', 'count:none']), ['-10', false]);
    },

    'pipeline' => function () use ($r) {
        $p = $r->multi(Redis::PIPELINE);
        for ($i = 0; $i < 10000; $i++) {
            $p->incr('pipeline');
        }
        equal($p->exec(), range(1, 10000));
    },

    'transaction' => function () use ($r) {
        equal($r->multi()->set('tx', 5)->incrBy('tx', 10)->get('tx')->ttl('tx')->exec(), [true, 15, '15', -1]);
    },

    'transaction-error' => function () use ($r) {
        $r->set('tx:text', 'text');
        equal($r->multi()->incr('tx:before')->incr('tx:text')->incr('tx:after')->exec(), [1, false, 1]);
        refused($r, false, ERROR_NOT_INTEGER);
    },

    // After a command that was refused before EXEC, phpredis 5.3.7 waits for a reply that no server sends.
    'transaction-refused' => function () use ($r, $port) {
        $mine = connect($port);
        $mine->setOption(Redis::OPT_READ_TIMEOUT, 1);
        $mine->multi()->incr('tx:refused');
        equal($mine->rawCommand('INCR'), false);
        throws(fn () => $mine->exec(), 'read error on connection');
        equal($r->exists('tx:refused'), 0);
    },

    'watch-conflict' => function () use ($r, $port) {
        $mine = connect($port);
        $mine->watch('watched');
        $r->set('watched', 'theirs');
        equal($mine->multi()->set('watched', 'ours')->exec(), false);
        equal($mine->getLastError(), null);
        equal($r->get('watched'), 'theirs');
    },

    'watch-increment' => function () use ($r, $port) {
        $children = [];
        for ($client = 0; $client < 4; $client++) {
            $children[] = fork(function () use ($port) {
                $mine = connect($port);
                for ($i = 0; $i < 25; $i++) {
                    watchIncrement($mine);
                }
            });
        }
        foreach ($children as $pid) {
            pcntl_waitpid($pid, $status);
        }
        equal($r->get('optimistic'), '100');
    },

    'scan' => function () use ($r, $port) {
        $stay = [];
        for ($i = 0; $i < 3000; $i++) {
            $stay["stay:$i"] = '1';
        }
        $r->mSet($stay);
        $child = fork(fn () => churn($port));
        while ((int) $r->get('scan:rounds') < 15) {
            usleep(5000);
        }
        for ($pass = 0; $pass < 3; $pass++) {
            $found = [];
            $cursor = null;
            do {
                foreach ($r->scan($cursor, 'stay:*', 100) ?: [] as $key) {
                    $found[$key] = '1';
                }
            } while ($cursor !== 0);
            ksort($found);
            ksort($stay);
            equal($found === $stay, true);
        }
        $r->set('scan:stop', 1);
        pcntl_waitpid($child, $status);
    },

    'expiry' => function () use ($r) {
        $r->set('expiry', 1, ['ex' => 100]);
        $ttl = $r->ttl('expiry');
        equal($ttl >= 98 && $ttl <= 100, true);
        equal($r->persist('expiry'), true);
        equal($r->ttl('expiry'), -1);
        equal($r->expire('expiry', 50), true);
        $pttl = $r->pttl('expiry');
        equal($pttl > 48000 && $pttl <= 50000, true);
        equal($r->expire('expiry:none', 50), false);
        equal($r->ttl('expiry:none'), -2);
        $r->set('expiry:soon', 1, ['px' => 30]);
        for ($i = 0; $i < 1000 && $r->exists('expiry:soon'); $i++) {
            usleep(10000);
        }
        equal($r->get('expiry:soon'), false);
    },

    'errors' => function () use ($r) {
        $r->set('errors', 'text');
        refused($r, $r->incr('errors'), ERROR_NOT_INTEGER);
        refused($r, $r->rawCommand('NOPE', 'a'), "ERR unknown command 'NOPE', with args beginning with: 'a'");
        refused($r, $r->rawCommand('GET'), "ERR wrong number of arguments for 'get' command");
        refused($r, $r->rawCommand('SET', 'errors', 'v', 'NOPE'), 'ERR syntax error');
        equal($r->ping(), true);
    },

    'errors-auth' => function () use ($authPort) {
        $locked = connect($authPort);
        throws(fn () => $locked->incr('n'), 'NOAUTH Authentication required.');
        throws(fn () => connect($authPort)->auth('wrong'), 'WRONGPASS invalid username-password pair');
        $right = connect($authPort);
        equal($right->auth('secret'), true);
        equal($right->ping(), true);
    },

    'errors-memory' => function () use ($r) {
        $r->set('memory', 1);
        $r->config('SET', 'maxmemory', '1');
        try {
            throws(fn () => $r->incr('memory'), "OOM command not allowed when used memory > 'maxmemory'");
            equal($r->get('memory'), '1');
        } finally {
            $r->config('SET', 'maxmemory', '0');
        }
        equal($r->incr('memory'), 2);
    },

    'big-value' => function () use ($r) {
        $value = '';
        for ($i = 0; $i < 1 << 20; $i++) {
            $value .= chr($i * 7 % 251);
        }
        equal($r->set('big', $value), true);
        equal($r->strlen('big'), 1 << 20);
        equal($r->get('big') === $value, true);
    },

    'binary' => function () use ($r) {
        $all = implode('', array_map('chr', range(0, 255)));
        equal($r->set($all, $all), true);
        equal($r->get($all) === $all, true);
        equal($r->exists($all), 1);
    },

    // subscribe and psubscribe keep the process, so another one publishes. They go on reading when nothing is subscribed any more,
    // until the callback closes the connection, which is thrown.
    'pub-sub' => function () use ($r, $port) {
        $all = implode('', array_map('chr', range(0, 255)));
        equal($r->publish('news', 'nobody'), 0);
        $child = publishOnce($port, fn (Redis $mine) => (int) $mine->pubsub('numsub', ['news'])['news'], fn (Redis $mine) => [
            $mine->publish('news', 'one'), $mine->publish('news', $all), $mine->publish('new', 'to nobody'), $mine->publish('news', ''),
        ]);
        $heard = new ArrayObject();
        throws(fn () => connect($port)->subscribe(['news'], function (Redis $s, string $channel, string $message) use ($heard) {
            $heard->append([$channel, $message]);
            if ($message === '') {
                equal($s->unsubscribe(['news']), ['news' => true]);
                $s->close();
            }
        }), 'Connection closed');
        pcntl_waitpid($child, $status);
        equal($heard->getArrayCopy() === [['news', 'one'], ['news', $all], ['news', '']], true);
        equal($r->get('pub-sub:counts'), '[1,1,0,1]');

        $child = publishOnce($port, fn (Redis $mine) => $mine->pubsub('numpat'), fn (Redis $mine) => [
            $mine->publish('newt', 'two'), $mine->publish('news', 'end'),
        ]);
        $heard = new ArrayObject();
        throws(fn () => connect($port)->psubscribe(['new?'], function (Redis $s, string ...$words) use ($heard) {
            $heard->append($words);
            if ($words[2] === 'end') {
                equal($s->punsubscribe(['new?']), ['new?' => true]);
                $s->close();
            }
        }), 'Connection closed');
        pcntl_waitpid($child, $status);
        equal($heard->getArrayCopy(), [['new?', 'newt', 'two'], ['new?', 'news', 'end']]);
        equal($r->get('pub-sub:counts'), '[1,1]');
        equal($r->publish('news', 'nobody'), 0);
    },

    'unix-socket' => function () use ($r, $socket) {
        $u = new Redis();
        $u->connect($socket);
        equal($u->incr('unix'), 1);
        equal($r->get('unix'), '1');
    },

    'reconnect' => function () use ($r) {
        equal($r->incrBy('reconnect', 10), 10);
        echo "restart\n";
        fgets(STDIN);
        equal($r->incr('reconnect'), 11);
    },
];

foreach ($checks as $name => $check) {
    try {
        $check();
        echo "ok $name\n";
    } catch (Throwable $e) {
        echo "FAIL $name: ", get_class($e), ': ', $e->getMessage(), "\n";
    }
}
echo 'done ', count($checks), "\n";
