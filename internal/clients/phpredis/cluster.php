<?php
// The checks of cluster_mode_test.go, with phpredis's RedisCluster and its default options. It has no pipelines and no sharded channels.

error_reporting(E_ALL);
ini_set('display_errors', 'stderr');

$node = '127.0.0.1:' . $argv[1];

function equal(mixed $got, mixed $expected): void
{
    if ($got !== $expected) {
        throw new Exception('got ' . json_encode($got) . ', expected ' . json_encode($expected));
    }
}

$r = new RedisCluster(null, [$node]);

$checks = [
    'connect' => function () use ($r) {
        equal(count($r->_masters()), 1);
        equal($r->ping('phpredis'), true);
    },

    'count' => function () use ($r) {
        for ($i = 0; $i < 100; $i++) {
            equal([$r->incr("php:$i"), $r->get("php:$i")], [1, '1']);
        }
    },

    'mget' => function () use ($r) {
        equal($r->mset(['{php}a' => 1, '{php}b' => 2]), true);
        equal($r->mget(['{php}a', '{php}b', '{php}none']), ['1', '2', false]);
    },

    'transaction' => function () use ($r) {
        equal($r->multi()->incrBy('{php}a', 10)->get('{php}a')->exec(), [11, '11']);
    },

    // Another process publishes until it is told to stop, as subscribe keeps this one.
    'pub-sub' => function () use ($r, $node) {
        $all = implode('', array_map('chr', range(0, 255)));
        $child = pcntl_fork();
        if ($child === 0) {
            $mine = new RedisCluster(null, [$node]);
            while (!$mine->exists('php:heard')) {
                $mine->publish('php:news', $all);
                usleep(10000);
            }
            posix_kill(getmypid(), SIGKILL);
        }
        $heard = [];
        $s = new RedisCluster(null, [$node]);
        try {
            $s->subscribe(['php:news'], function (RedisCluster $s, string $channel, string $message) use (&$heard, $r) {
                $heard[] = [$channel, $message];
                if (count($heard) === 2) {
                    $r->set('php:heard', 1);
                    $s->close();
                }
            });
        } catch (RedisClusterException $e) {
        }
        pcntl_waitpid($child, $status);
        equal(array_slice($heard, 0, 2) === [['php:news', $all], ['php:news', $all]], true);
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
