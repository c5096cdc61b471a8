<?php
// The checks of secure_test.go, with the extension phpredis.

error_reporting(E_ALL);
ini_set('display_errors', 'stderr');

$port = (int) $argv[1];
[$ca, $cert, $key, $unknownCA] = array_slice($argv, 2, 4);

/** PHP says why a handshake failed in a warning, phpredis throws that it could not connect, or that the connection went away. */
$warnings = '';
set_error_handler(function (int $level, string $text) use (&$warnings): bool {
    $warnings .= $text . ' ';
    return true;
});

function connect(array $ssl, string $host = 'localhost', string $password = 'app-secret'): Redis
{
    global $port;
    $r = new Redis();
    $r->connect("tls://$host", $port, 5, null, 0, 5, ['stream' => $ssl]);
    $r->auth(['app', $password]);
    return $r;
}

function equal(mixed $got, mixed $expected): void
{
    if ($got !== $expected) {
        throw new Exception('got ' . json_encode($got) . ', expected ' . json_encode($expected));
    }
}

/** phpredis throws NOPERM, where it answers false to errors of a command's arguments. */
function denied(callable $call): void
{
    try {
        $got = $call();
    } catch (RedisException $e) {
        equal(substr($e->getMessage(), 0, 7), 'NOPERM ');
        return;
    }
    throw new Exception('got ' . json_encode($got) . ', expected NOPERM');
}

function refused(string $text, array $ssl, string $host = 'localhost', string $password = 'app-secret'): void
{
    global $warnings;
    $warnings = '';
    try {
        $got = connect($ssl, $host, $password)->ping();
    } catch (RedisException $e) {
        $reason = $e->getMessage() . ' ' . $warnings;
        equal(str_contains($reason, $text) ?: $reason, true);
        return;
    }
    throw new Exception('got ' . json_encode($got) . ", expected RedisException: $text");
}

$trusting = ['cafile' => $ca];
$good = $trusting + ['local_cert' => $cert, 'local_pk' => $key];
$r = connect($good);
$whoami = fn () => equal($r->rawCommand('ACL', 'WHOAMI'), 'app');

$checks = [
    'connect' => $whoami,

    'count' => function () use ($r) {
        equal([$r->incr('app:n'), $r->incrBy('app:n', 41), $r->get('app:n')], [1, 42, '42']);
    },

    'pipeline' => function () use ($r) {
        $p = $r->multi(Redis::PIPELINE);
        for ($i = 0; $i < 1000; $i++) {
            $p->incr('app:pipeline');
        }
        equal($p->exec(), range(1, 1000));
    },

    'transaction' => function () use ($r) {
        equal($r->multi()->set('app:tx', 5)->incrBy('app:tx', 10)->exec(), [true, 15]);
    },

    'big-value' => function () use ($r) {
        $value = str_repeat('v', 1000000);
        equal([$r->set('app:big', $value), $r->get('app:big') === $value], [true, true]);
    },

    'noperm-command' => function () use ($r, $whoami) {
        denied(fn () => $r->flushAll());
        $whoami();
    },

    'noperm-key' => function () use ($r, $whoami) {
        denied(fn () => $r->incr('other'));
        $whoami();
    },

    // Which command was denied, and what the others answered, is lost; the connection goes on.
    'noperm-pipeline' => function () use ($r, $whoami) {
        denied(fn () => $r->multi(Redis::PIPELINE)->incr('app:pipe')->incr('other')->incr('app:pipe')->exec());
        equal($r->get('app:pipe'), '2');
        $whoami();
    },

    // After a command that was refused before EXEC, phpredis 5.3.7 waits for a reply that no server sends.
    'noperm-transaction' => function () use ($r, $good) {
        $mine = connect($good);
        $mine->setOption(Redis::OPT_READ_TIMEOUT, 1);
        $mine->multi()->incr('app:denied');
        denied(fn () => $mine->incr('other'));
        try {
            $mine->exec();
            throw new Exception('EXEC was answered');
        } catch (RedisException $e) {
            equal(substr($e->getMessage(), 0, 10), 'read error');
        }
        equal($r->exists('app:denied'), 0);
    },

    'no-certificate' => fn () => refused('', $trusting),
    'unknown-authority' => fn () => refused('certificate verify failed', ['cafile' => $unknownCA] + $good),
    'other-name' => fn () => refused('did not match expected', $good, '127.0.0.1'),
    'wrong-password' => fn () => refused('WRONGPASS ', $good, 'localhost', 'wrong'),
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
