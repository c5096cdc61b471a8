# Checks of one program: a line for each, and their number at the end.

$stdout.sync = true
PORT = Integer(ENV.fetch("PORT"))
$passed = 0

def check(name, got, want)
  abort "FAIL #{name}: #{got.inspect}, expected #{want.inspect}" unless got == want
  $passed += 1
  puts "ok #{name}"
end

# The error that the block raises.
def error_of
  yield
  nil
rescue StandardError => e
  "#{e.class}: #{e.message}"
end

# Calls until the result is the wanted one; returns the last result.
def becomes(limit_s, want)
  limit = Process.clock_gettime(Process::CLOCK_MONOTONIC) + limit_s
  until (got = yield) == want || Process.clock_gettime(Process::CLOCK_MONOTONIC) > limit
    sleep 0.02
  end
  got
end

def in_threads(n)
  Array.new(n) { |i| Thread.new { yield i } }.map(&:value)
end

def done
  puts "done #{$passed}"
end

# Counts until standard input is closed; says how many increments were acknowledged. The block returns nil for one
# that was not.
def count_through_a_crash(workers)
  stopped = false
  Thread.new do
    $stdin.read
    stopped = true
  end
  acknowledged = in_threads(workers) do
    n = 0
    until stopped
      yield ? n += 1 : sleep(0.01)
    end
    n
  end
  puts "acknowledged #{acknowledged.sum}"
end
