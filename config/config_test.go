package config

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSettingDefaults checks that every setting shows its default in a form that sets it again.
func TestSettingDefaults(t *testing.T) {
	cfg := Default()
	for i := range settings {
		s := &settings[i]
		shown := s.Get(&cfg)
		again := cfg
		if err := again.Set(strings.ToUpper(s.Name), shown); err != nil {
			t.Errorf("%s: its own value %q is refused: %v", s.Name, shown, err)
		}
		if got := s.Get(&again); got != shown {
			t.Errorf("%s: %q became %q", s.Name, shown, got)
		}
		if s.Summary == "" || strings.ToLower(s.Name) != s.Name {
			t.Errorf("%s: no summary, or not in lower case", s.Name)
		}
	}
	if err := cfg.Validate(); err != nil {
		t.Errorf("the default configuration is refused: %v", err)
	}
	if cfg.Port != 6379 || !slices.Equal(cfg.Bind, []string{"127.0.0.1", "-::1"}) || cfg.Dir != "./quipu-data" || cfg.MaxBulk != 1<<20 {
		t.Errorf("unexpected defaults: %+v", cfg)
	}
}

// TestSettingsAreNotIgnored: a setting that takes a value has it afterwards, in the same words or as a size or duration.
func TestSettingsAreNotIgnored(t *testing.T) {
	for i := range settings {
		s := &settings[i]
		cfg := Default()
		def := s.Get(&cfg)
		for _, v := range []string{"local", "leader", "quorum", "everysec", "no", "yes", "10000", "65536", "1s", "warning", "net", "a local", "2s 65536", "AKE"} {
			again := cfg
			if again.Set(s.Name, v) == nil && s.Get(&again) == def && v != def && len(again.Users) == 0 {
				t.Errorf("%s takes %q and remains %q", s.Name, v, def)
			}
		}
	}
}

func TestConfigPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quipu.conf")
	text := "# comment\n\nport 7001\nmaxclients\t77\n  timeout   12\nrequirepass \"a b\"\nbind 127.0.0.1 ::1\nmaxmemory 2gb\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"QUIPU_PORT=7002", "QUIPU_TIMEOUT=13", "QUIPU_MAX_KEY_BYTES=100", "QUIPU_OTHER_PROGRAM=x", "PORT=1"}
	cfg, err := Load([]string{file, "--port", "7003", "--proto-max-bulk-len=2mb", "--bind", "127.0.0.2", "::1"}, environ)
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
		if got := Lookup(name).Get(&cfg); got != value {
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
		{"--read-consistency eventual", `not one of linearizable, leader, local`},
		{"--port 0", "nobody could connect"},
		{"--bind=", "nobody could connect"},
		{"--tls-port 6380", "need tls-cert-file and tls-key-file"},
		{"--tls-port 6380 --tls-cert-file a --tls-key-file b", "tls-auth-clients needs tls-ca-cert-file or tls-ca-cert-dir"},
		{"--tls-port 6379 --tls-cert-file a --tls-key-file b --tls-auth-clients no", "port and tls-port are both 6379"},
		{"--http-tls yes", "need tls-cert-file and tls-key-file"},
		{"--tls-protocols TLSv1.1", "not safe any more"},
		{"--tls-protocols SSLv3", "not one of TLSv1.2, TLSv1.3"},
		{"--tls-key-file-pass secret", "keys with a passphrase are not supported"},
		{"--tls-replication yes", "peer-tls-cert-file"},
		{"--tls-ciphers DEFAULT", "the ciphers are those that are safe"},
		{"--max-command-bytes 64kb", "below proto-max-bulk-len"},
		{"--client-output-bytes 1mb --client-output-pause-bytes 2mb", "below client-output-pause-bytes"},
		{"--port 1 stray", "not a whole number"},
		{"/does/not/exist", "configuration file"},
	} {
		_, err := Load(strings.Fields(c.args), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.args, err, c.want)
		}
	}
	file := filepath.Join(t.TempDir(), "bad.conf")
	if err := os.WriteFile(file, []byte("port 1\nporrt 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load([]string{file}, nil); err == nil || !strings.Contains(err.Error(), "bad.conf:2") {
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

// TestClusterSettings: settings with which nodes could not reach each other are refused, with the words that say what to do.
func TestClusterSettings(t *testing.T) {
	tls := []string{"--peer-tls-cert-file", "a", "--peer-tls-key-file", "b", "--peer-tls-ca-cert-file", "c"}
	three := []string{"--bootstrap-expect", "3", "--join", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3"}
	for _, tc := range []struct {
		name string
		args []string
		err  string // empty: accepted
	}{
		{"a port for other nodes", []string{"--peer-addr", "127.0.0.1:1"}, ""},
		{"three nodes", append([]string{"--peer-addr", "127.0.0.1:1"}, three...), ""},
		{"three nodes, two named", append([]string{"--peer-addr", "localhost:1"}, three...), "name 4 nodes"},
		{"own address left out", []string{"--peer-addr", "[::1]:1", "--bootstrap-expect", "2", "--join", "[::1]:2"}, ""},
		{"no peer-addr", three, "peer-addr is not"},
		{"no port", []string{"--peer-addr", "127.0.0.1"}, "not host:port"},
		{"port 0", []string{"--peer-addr", "127.0.0.1:0"}, "no port from 1 to 65535"},
		{"all addresses", []string{"--peer-addr", "0.0.0.0:1"}, "name an address of this machine"},
		{"all addresses, IPv6", []string{"--peer-addr", "[::]:1"}, "name an address of this machine"},
		{"no brackets", []string{"--peer-addr", "::1:1"}, "not host:port"},
		{"a bad address in join", []string{"--peer-addr", "127.0.0.1:1", "--join", "b"}, "not host:port"},
		{"off loopback", []string{"--peer-addr", "10.0.0.1:1"}, "quipu tls init"},
		{"off loopback, with TLS", append([]string{"--peer-addr", "10.0.0.1:1"}, tls...), ""},
		{"listening off loopback", []string{"--peer-addr", "127.0.0.1:1", "--peer-bind", "0.0.0.0:1"}, "quipu tls init"},
		{"listening elsewhere", []string{"--peer-addr", "127.0.0.1:1", "--peer-bind", "127.0.0.1:2"}, ""},
		{"half of TLS", append([]string{"--peer-addr", "127.0.0.1:1"}, tls[:4]...), "go together"},
		{"cluster mode alone", []string{"--cluster-enabled", "yes"}, "peer-addr is not"},
	} {
		cfg, err := Load(tc.args, nil)
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if tc.name == "own address left out" && cfg.ClientAddress() != "[::1]:6379" {
			t.Errorf("clients are sent to %s", cfg.ClientAddress())
		}
	}
}

// TestTLSVersions checks what tls-protocols allows.
func TestTLSVersions(t *testing.T) {
	for text, want := range map[string][2]uint16{
		"": {tls.VersionTLS12, tls.VersionTLS13}, "TLSv1.2 tlsv1.3": {tls.VersionTLS12, tls.VersionTLS13},
		"TLSv1.2": {tls.VersionTLS12, tls.VersionTLS12}, "TLSv1.3": {tls.VersionTLS13, tls.VersionTLS13},
	} {
		var cfg Config
		if err := cfg.Set("tls-protocols", text); err != nil {
			t.Fatal(err)
		}
		if low, high := cfg.TLS.Versions(); low != want[0] || high != want[1] {
			t.Errorf("%q: %x to %x", text, low, high)
		}
	}
}

// TestTLSAddress checks which port clients are sent to by other nodes.
func TestTLSAddress(t *testing.T) {
	certs := "--tls-cert-file a --tls-key-file b --tls-auth-clients no --peer-addr 127.0.0.1:1 "
	for flags, want := range map[string]string{
		"--port 10": "127.0.0.1:10", "--port 10 --tls-port 20": "127.0.0.1:10", "--port 0 --tls-port 20": "127.0.0.1:20",
		"--port 10 --tls-port 20 --tls-cluster yes": "127.0.0.1:20", "--port 10 --tls-cluster yes": "127.0.0.1:10",
		"--port 0 --tls-port 20 --cluster-announce-port 30": "127.0.0.1:30",
	} {
		cfg, err := Load(strings.Fields(certs+flags), nil)
		if err != nil || cfg.ClientAddress() != want {
			t.Errorf("%s: %s, %v", flags, cfg.ClientAddress(), err)
		}
	}
}
