package programs

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// programLimit bounds one run of a program.
const programLimit = 2 * time.Minute

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// program is one file of testdata.
type program struct {
	name   string
	find   func(tb testing.TB) toolbox.Interpreter
	script string
	db     string // the database and the key it counts in through a crash
	hits   string // "" if it does not
}

func python(modules ...string) func(testing.TB) toolbox.Interpreter {
	return func(tb testing.TB) toolbox.Interpreter { return toolbox.Python(tb, modules...) }
}

func node(modules ...string) func(testing.TB) toolbox.Interpreter {
	return func(tb testing.TB) toolbox.Interpreter { return toolbox.Node(tb, modules...) }
}

func ruby(libraries ...string) func(testing.TB) toolbox.Interpreter {
	return func(tb testing.TB) toolbox.Interpreter { return toolbox.Ruby(tb, libraries...) }
}

// laravel is PHP with Laravel's components on its include path, where Debian puts them.
func laravel(tb testing.TB) toolbox.Interpreter {
	tb.Helper()
	php := toolbox.PHP(tb, "redis", "pcntl")
	const load = `require "Illuminate/Cache/autoload.php"; require "Illuminate/Redis/autoload.php";`
	if out, err := php.Command(tb.Context(), "-r", load).CombinedOutput(); err != nil {
		if redistest.Required() {
			tb.Fatalf("Laravel's components: %v: %s; `make tools` installs them", err, out)
		}
		tb.Skipf("Laravel's components: %v; `make tools` installs them", err)
	}
	return php
}

var programs = []program{
	{"Django", python("django", "django_ratelimit", "redis"), "django_cache.py", "1", "site:1:hits"},
	{"django-redis", python("django", "django_redis"), "django_redis_cache.py", "", ""},
	{"limits", python("limits", "redis"), "limits_python.py", "", ""},
	{"Rails", ruby("redis", "connection_pool", "active_support"), "rails_cache.rb", "0", "hits"},
	{"rack-attack", ruby("redis", "connection_pool", "active_support", "rack", "rack/attack"), "rack_attack.rb", "0", "hits"},
	{"Laravel", laravel, "laravel_cache.php", "0", "laravel_cache:hits"},
	{"Node.js", node("ioredis", "redis", "rate-limiter-flexible", "express-rate-limit", "rate-limit-redis"), "node_limiters.js", "", ""},
}

// TestPrograms runs every program against Quipu and, to prove what it expects, against redis-server.
func TestPrograms(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			with := p.find(t)
			checks := p.run(t, with, redistest.Quipu{}.Start(t), "quipu")
			if testing.Short() {
				return // redis-server is not what -short tests
			}
			if same := p.run(t, with, redistest.StartRedis(t), "redis"); same != checks {
				t.Errorf("%d checks with Quipu, %d with Redis", checks, same)
			}
		})
	}
}

// run runs the program to its end and returns how many checks it passed.
func (p program) run(t *testing.T, with toolbox.Interpreter, s *redistest.Server, kind string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	defer cancel()
	cmd := with.Command(ctx, "testdata/"+p.script)
	cmd.Env = append(cmd.Env, p.env(s, kind)...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s with %s: %v\n%s", p.name, kind, err, out)
	}
	checks := strings.Count("\n"+string(out), "\nok ")
	if checks == 0 || !strings.HasSuffix(string(out), "\ndone "+strconv.Itoa(checks)+"\n") || strings.Count(string(out), "\n") != checks+1 {
		t.Fatalf("%s with %s: %d checks in this output:\n%s", p.name, kind, checks, out)
	}
	return checks
}

func (p program) env(s *redistest.Server, kind string) []string {
	return []string{fmt.Sprintf("PORT=%d", s.Port), "SERVER=" + kind}
}
