package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// TestSettingDefaults checks that every setting shows its default in a form that sets it again.
func TestSettingDefaults(t *testing.T) {
	cfg := DefaultConfig()
	for i := range settings {
		s := &settings[i]
		shown := s.get(&cfg)
		again := cfg
		if err := again.Set(strings.ToUpper(s.name), shown); err != nil {
			t.Errorf("%s: its own value %q is refused: %v", s.name, shown, err)
		}
		if got := s.get(&again); got != shown {
			t.Errorf("%s: %q became %q", s.name, shown, got)
		}
		if s.summary == "" || strings.ToLower(s.name) != s.name {
			t.Errorf("%s: no summary, or not in lower case", s.name)
		}
	}
	if err := cfg.validate(); err != nil {
		t.Errorf("the default configuration is refused: %v", err)
	}
	if cfg.Port != 6379 || !slices.Equal(cfg.Bind, []string{"127.0.0.1"}) || cfg.Dir != "./quipu-data" || cfg.MaxBulk != 1<<20 {
		t.Errorf("unexpected defaults: %+v", cfg)
	}
}

func TestConfigPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quipu.conf")
	text := "# comment\n\nport 7001\nmaxclients\t77\n  timeout   12\nrequirepass \"a b\"\nbind 127.0.0.1 ::1\nmaxmemory 2gb\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"QUIPU_PORT=7002", "QUIPU_TIMEOUT=13", "QUIPU_MAX_KEY_BYTES=100", "QUIPU_OTHER_PROGRAM=x", "PORT=1"}
	cfg, err := LoadConfig([]string{file, "--port", "7003", "--proto-max-bulk-len=2mb", "--bind", "127.0.0.2", "::1"}, environ)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"port": "7003", "proto-max-bulk-len": "2097152", "bind": "127.0.0.2 ::1", // flags
		"timeout": "13", "max-key-bytes": "100", // environment
		"maxclients": "77", "requirepass": "a b", "maxmemory": "2147483648", // file
		"databases": "16", // default
	}
	for name, value := range want {
		if got := lookupSetting(name).get(&cfg); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--port x", `setting port: "x" is not a whole number from 0 to 65535`},
		{"--port 65536", "not a whole number"},
		{"--port", "flag --port needs a value"},
		{"--portt 1", `unknown setting "portt"`},
		{"--port 1 --maxmemory 3parsec", "not a size such as 512mb"},
		{"--maxmemory -1", "not a size"},
		{"--maxmemory 9223372036854775807kb", "not a size"},
		{"--proto-max-bulk-len 9mb", "is not from 1024 to 8388608"},
		{"--protected-mode maybe", "neither yes nor no"},
		{"--write-timeout 5", "not a duration such as 5s"},
		{"--write-timeout 1ns", "from 10ms to 1h"},
		{"--loglevel loud", "not one of debug"},
		{"--transport pigeon", "not one of auto, epoll, net"},
		{"--unixsocketperm 999", "octal"},
		{"--timeout -1", "not a whole number from 0"},
		{"--appendonly no", `only "yes" is supported`},
		{"--maxmemory-policy allkeys-lru", `only "noeviction" is supported`},
		{"--port 0", "nobody could connect"},
		{"--bind=", "nobody could connect"},
		{"--max-command-bytes 64kb", "below proto-max-bulk-len"},
		{"--client-output-bytes 1mb --client-output-pause-bytes 2mb", "below client-output-pause-bytes"},
		{"--port 1 stray", "not a whole number"},
		{"/does/not/exist", "configuration file"},
	} {
		_, err := LoadConfig(strings.Fields(c.args), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.args, err, c.want)
		}
	}
	file := filepath.Join(t.TempDir(), "bad.conf")
	if err := os.WriteFile(file, []byte("port 1\nporrt 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadConfig([]string{file}, nil); err == nil || !strings.Contains(err.Error(), "bad.conf:2") {
		t.Errorf("the error does not tell the line: %v", err)
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "10b": 10, "1k": 1000, "1KB": 1024, "3mb": 3 << 20, "2m": 2e6, "1g": 1e9, "4gb": 4 << 30,
	} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "k", "-1", "+ 1", "1.5mb", "1 mb", "1tb", "99999999999gb"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

func TestConfigCommand(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	expect(t, c,
		"CONFIG GET port", "*2\r\n$4\r\nport\r\n$1\r\n0\r\n",
		"CONFIG GET maxCLIENTS", "*2\r\n$10\r\nmaxCLIENTS\r\n$5\r\n10000\r\n",
		"CONFIG GET nothing", "*0\r\n",
		"CONFIG SET maxclients 50 timeout 7", "+OK\r\n",
		"CONFIG GET maxclients", "*2\r\n$10\r\nmaxclients\r\n$2\r\n50\r\n",
		"CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n7\r\n",
		"CONFIG SET maxclients 60 timeout x", "-ERR CONFIG SET failed (possibly related to argument 'timeout') - ",
		"CONFIG GET maxclients", "*2\r\n$10\r\nmaxclients\r\n$2\r\n50\r\n",
		"CONFIG SET maxclients 60 maxclients 70", "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - duplicate parameter\r\n",
		"CONFIG SET dir /tmp", "-ERR CONFIG SET failed (possibly related to argument 'dir') - can't set protected config\r\n",
		"CONFIG SET maxmemory-policy allkeys-lru", "-ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - argument(s) must be one of the following: noeviction\r\n",
		"CONFIG SET nothing 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nothing'\r\n",
		"CONFIG SET maxclients", "-ERR wrong number of arguments for 'config|set' command\r\n",
		"CONFIG SET max-command-bytes 65536", "-ERR CONFIG SET failed - max-command-bytes (65536) is below",
		"CONFIG RESETSTAT", "+OK\r\n",
		"CONFIG REWRITE", "-ERR The server is running without a config file\r\n",
		"HELLO 3", "%7",
		"CONFIG GET save appendonly", "%2",
	)
	// A limit that is lowered takes effect on connections that are there.
	expect(t, c, "CONFIG SET proto-max-bulk-len 1024", "+OK\r\n")
	checkReply(t, "long argument", callArgs(t, c, "ECHO", strings.Repeat("x", 1025)), "-ERR Protocol error: invalid bulk length\r\n")
}

// TestConfigIsThatOfRedis compares what CONFIG SET and GET say about settings that both servers have.
func TestConfigIsThatOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		for _, line := range []string{
			"maxclients abc", "DATABASES 5", "Dir /", "maxclients 1.5", "maxclients 07", "maxclients +7", "MaxClients x", "timeout abc", "timeout -1",
			"timeout 2147483648", "timeout 2147483647", "timeout 7", "timeout 0x10", "tcp-keepalive -1", "tcp-keepalive 60s", "maxmemory abc",
			"maxmemory -1", "maxmemory 1.5gb", "maxmemory 10%", "maxmemory 1tb", "maxmemory 100MB", "maxmemory 5mbx", "maxmemory 0",
			"protected-mode maybe", "protected-mode 1", "protected-mode NO", "loglevel LOUD", "loglevel Verbose",
			"databases 5", "databases x", "dir /", "unixsocket /x", "unixsocketperm 700", "cluster-enabled yes", "enable-debug-command yes",
			"proto-max-bulk-len x", "nosuch 1", "NoSuch 1", "nosuch", "timeout 1 nosuch 2", "nosuch 2 timeout 1", "timeout 1 maxclients",
			"timeout 1 timeout 2", "timeout x TIMEOUT y", "timeout x databases 1", "databases 1 timeout x", "databases 1 nosuch 2", "dir / databases 1",
			"timeout 3 maxmemory x", "timeout 4 maxmemory 1000", "timeout 0 maxmemory 0 loglevel notice protected-mode yes", "appendonly yes",
			"notify-keyspace-events", "slave-read-only yes", "replica-read-only YES", "slowlog-log-slower-than -1", "latency-monitor-threshold 0",
		} {
			p.same(p.do2(append([]string{"CONFIG", "SET"}, strings.Fields(line)...)...))
		}
		for _, line := range []string{
			"timeout", "TimeOut", "timeout tcp-keepalive", "timeout timeout", "timeout TIMEOUT", "TIMEOUT timeou*", "timeou* TIMEOUT",
			"time\\out", "timeou\\t", "[t]imeout", "timeou?", "nosuch", "nosuch timeout", "", "databases maxmemory-policy", "MAXMEMORY", "save",
			"replica-read-only slave-read-only", "notify-keyspace-events", "cluster-enabled",
		} {
			ours, redis := p.do(append([]string{"CONFIG", "GET"}, strings.Split(line, " ")...)...)
			if !slices.Equal(sortedPairs(ours), sortedPairs(redis)) || ours.Type != redis.Type {
				t.Errorf("CONFIG GET %s: %v, in Redis %v", line, ours, redis)
			}
		}
	})
}

func sortedPairs(m redistest.Reply) (list []string) {
	for i := 0; i+1 < len(m.Elems); i += 2 {
		list = append(list, m.Elems[i].Text+" "+m.Elems[i+1].Text)
	}
	slices.Sort(list)
	return list
}
