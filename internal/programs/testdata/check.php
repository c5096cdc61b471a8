<?php
// Checks of one program: a line for each, and their number at the end.

define('PORT', (int) getenv('PORT'));
define('HAS_SCRIPTING', getenv('SERVER') === 'redis');
$passed = 0;

function check(string $name, $got, $want): void
{
    global $passed;
    if ($got !== $want) {
        echo "FAIL $name: ", json_encode($got), ', expected ', json_encode($want), "\n";
        exit(1);
    }
    $passed++;
    echo "ok $name\n";
}

// A feature that needs Lua: what it gives with Redis, and with Quipu. phpredis answers false for an unknown command
// and raises nothing.
function check_scripting(string $name, callable $call, $with_redis, $with_quipu): void
{
    check("$name (scripting)", $call(), HAS_SCRIPTING ? $with_redis : $with_quipu);
}

// Calls until the result is the wanted one; returns the last result.
function becomes(float $limit_s, $want, callable $call)
{
    $end = microtime(true) + $limit_s;
    while (($got = $call()) !== $want && microtime(true) < $end) {
        usleep(20000);
    }
    return $got;
}

// Runs a function in n processes and adds up what they return.
function in_processes(int $n, callable $run): int
{
    $pipes = [];
    for ($i = 0; $i < $n; $i++) {
        $pair = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        if (pcntl_fork() === 0) {
            fwrite($pair[1], $run($i) . "\n");
            exit(0);
        }
        fclose($pair[1]);
        $pipes[] = $pair[0];
    }
    $sum = 0;
    foreach ($pipes as $pipe) {
        $sum += (int) stream_get_contents($pipe);
    }
    while (pcntl_wait($status) > 0) {
        if ($status !== 0) {
            exit(1);
        }
    }
    return $sum;
}

// Whether the other end of standard input is closed.
function stdin_closed(): bool
{
    $read = [STDIN];
    $write = $except = null;
    return stream_select($read, $write, $except, 0) > 0 && fread(STDIN, 100) === '';
}

// Counts until standard input is closed; says how many increments were acknowledged.
function count_through_a_crash(int $workers, callable $increment): void
{
    $acknowledged = in_processes($workers, function () use ($increment) {
        for ($n = 0; !stdin_closed();) {
            try {
                $done = $increment() !== false;
            } catch (RedisException $e) {
                $done = false;
            }
            $done ? $n++ : usleep(10000);
        }
        return $n;
    });
    echo "acknowledged $acknowledged\n";
}

function done(): void
{
    global $passed;
    echo "done $passed\n";
}
