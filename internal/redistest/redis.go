package redistest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Required tells whether a test that cannot find what it needs must fail instead of being skipped: in CI, or
// when QUIPU_REQUIRE_REDIS is set.
func Required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("QUIPU_REQUIRE_REDIS") == "1"
}

// Tool returns the path of an installed program (redis-server, redis-cli, redis-benchmark). Without it the test is
// skipped, or fails where Required says so.
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	const hint = "(`make tools` installs it)"
	if Required() {
		tb.Fatalf("%s not found: %v; it must be installed here %s", name, err, hint)
	}
	tb.Skipf("%s not found: %v; install it to run this test %s", name, err, hint)
	return ""
}

// StartRedis starts redis-server without persistence on a free loopback port; settings are further flags.
func StartRedis(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	return StartRedisEnv(tb, nil, settings...)
}

// StartRedisEnv is StartRedis with further environment variables, "NAME=value".
func StartRedisEnv(tb testing.TB, env []string, settings ...string) *Server {
	tb.Helper()
	s := &Server{Port: FreePort(tb)}
	s.Addr = "127.0.0.1:" + strconv.Itoa(s.Port)
	startRedis(tb, s, env, append([]string{"--port", strconv.Itoa(s.Port)}, settings...))
	return s
}

// StartRedisUnix is StartRedis on a unix socket only.
func StartRedisUnix(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s := &Server{Addr: filepath.Join(tb.TempDir(), "s")}
	startRedis(tb, s, nil, append([]string{"--port", "0", "--unixsocket", s.Addr}, settings...))
	return s
}

func startRedis(tb testing.TB, s *Server, env, args []string) {
	tb.Helper()
	path := Tool(tb, "redis-server")
	s.name, s.Dir = "redis-server", tb.TempDir()
	args = append([]string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.Dir}, args...)
	if err := launch(tb, s, path, args, env); err != nil {
		tb.Fatal(err)
	}
	if err := s.WaitReady(20 * time.Second); err != nil {
		tb.Fatal(err)
	}
}
