package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

var rewrite = flag.Bool("rewrite", false, "write what these tests compare anew")

const (
	redis70File       = "testdata/redis70.txt"
	compatibilityPage = "../docs/compatibility.md"
	pageBegin         = "<!-- from the tables of package config: go test ./config -run TestRedisConfPage -rewrite -->\n"
	pageEnd           = "<!-- end of what is generated from package config -->\n"
)

// inFileOnly are directives that CONFIG GET does not show.
var inFileOnly = []string{"include", "list-max-ziplist-entries", "list-max-ziplist-value", "loadmodule", "lua-replicate-commands", "rename-command", "user"}

// load reads lines as a configuration file.
func load(t *testing.T, lines ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "redis.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load([]string{path}, nil)
}

func redis70(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(redis70File)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// TestRedisDirectives: each directive of Redis 7.0 is a setting, ignored or refused, and no row is about anything else.
func TestRedisDirectives(t *testing.T) {
	known := append(redis70(t), inFileOnly...)
	for _, name := range known {
		if name != "include" && Lookup(name) == nil && directiveOf(name) == nil {
			t.Errorf("nothing says what becomes of %s", name)
		}
	}
	for name, d := range directives {
		if !slices.Contains(known, name) {
			t.Errorf("Redis 7.0 has no directive %s", name)
		}
		if Lookup(name) != nil && !d.ignored {
			t.Errorf("%s is a setting: that says what is refused", name)
		}
		if len(d.why) < 20 {
			t.Errorf("%s: no reason", name)
		}
	}
	total := len(refusedDirectives)
	for _, group := range ignoredDirectives {
		total += len(strings.Fields(group.names))
	}
	if total != len(directives) {
		t.Errorf("%d rows are about %d directives: one has two rows", total, len(directives))
	}
}

// TestIgnoredSettings: a row is about a setting only while that does not take all that Redis does.
func TestIgnoredSettings(t *testing.T) {
	values := map[string]string{
		"appendonly": "no", "appendfsync": "everysec", "save": "3600 1", "replica-read-only": "no", "slave-read-only": "no",
		"tls-session-cache-size": "5000", "tls-session-cache-timeout": "60", "tls-prefer-server-ciphers": "yes", "tls-dh-params-file": "x.dh",
	}
	for name, d := range directives {
		if s := Lookup(name); s != nil && d.ignored {
			value, ok := values[name]
			if cfg := Default(); !ok || cfg.Set(name, value) == nil {
				t.Errorf("the setting %s takes %q: its row in ignoredDirectives is not needed any more", name, value)
			}
			cfg, err := load(t, name+" "+value)
			if err != nil || len(cfg.Ignored) != 1 || s.Get(&cfg) != s.Default {
				t.Errorf("%s %s in a file: %v, %v", name, value, err, cfg.Ignored)
			}
		}
	}
}

// TestRedisDefaults: what redis-server has by default may stand in the file, each line by itself. The list of its directives is held
// against it as well, and recorded with -rewrite.
func TestRedisDefaults(t *testing.T) {
	reply, err := redistest.StartRedis(t).Dial(t).Do("CONFIG", "GET", "*")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := 0; i+1 < len(reply.Elems); i += 2 {
		name, value := reply.Elems[i].Text, reply.Elems[i+1].Text
		names = append(names, name)
		_, err := load(t, name+" "+strconv.Quote(value))
		if name == "proto-max-bulk-len" { // an argument may have 8 MiB, and a client that counts on more is to be told before it loses one
			if err == nil {
				t.Error("half a gigabyte is taken for the length of an argument")
			}
			continue
		}
		if err != nil && !strings.Contains(err.Error(), "nobody could connect") { // port and bind are this server's own
			t.Errorf("%s %q: %v", name, value, err)
		}
	}
	slices.Sort(names)
	if text := strings.Join(names, "\n") + "\n"; *rewrite {
		if err := os.WriteFile(redis70File, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(names, redis70(t)) {
		t.Errorf("%s is not what CONFIG GET says: go test ./config -run TestRedisDefaults -rewrite", redis70File)
	}
}

// TestDangerousDirectives: what must not be overlooked is honoured or refused, and a refusal says what to do.
func TestDangerousDirectives(t *testing.T) {
	for line, want := range map[string]string{
		"replicaof 10.0.0.1 6379":                 "peer-addr and join",
		"slaveof 10.0.0.1 6379":                   "peer-addr and join",
		`rename-command CONFIG ""`:                "take it away from users",
		"loadmodule /usr/lib/redis/bloom.so":      "built in",
		"min-replicas-to-write 1":                 "three nodes",
		"min-slaves-to-write 2":                   "three nodes",
		"cluster-enabled yes":                     "peer-addr is not",
		"cluster-announce-hostname a.example":     "cluster-announce-ip",
		"socket-mark-id 7":                        "firewall",
		"maxmemory-policy allkeys-lru":            "keys go by deadlines of their own",
		"maxmemory-policy volatile-ttl":           "above maxmemory it refuses writes",
		"acl-pubsub-default allchannels":          "no channel",
		"enable-debug-command local":              "neither yes nor no",
		"tls-replication yes":                     "peer-tls-cert-file",
		"tls-ciphers HIGH":                        "safe",
		"tls-key-file-pass secret":                "passphrase",
		"tls-protocols TLSv1.1":                   "not safe any more",
		"tls-port 6380":                           "tls-cert-file",
		"aclfile users.acl\nuser alice on nopass": "both aclfile and user",
		"maxmemory-clients 5%":                    "not a size",
		"protected-mode maybe":                    "neither yes nor no",
		"porrt 1":                                 `unknown setting "porrt"`,
		"requirepass \"secret":                    "a quote is not closed",
		"requirepass \"a\"b":                      "goes on behind",
		"user alice on \">two words\"":            "SHA-256",
		"include /does/not/exist.conf":            "no such file",
		"port 1\ninclude":                         "redis.conf:2: include: which file?",
		"port 1\nbind":                            "nobody could connect",
		"unixsocketperm 999":                      "octal",
		"sentinel monitor mymaster 127.0.0.1 1 2": "unknown setting",
	} {
		if _, err := load(t, line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	cfg, err := load(t, "bind 10.0.0.1 -::1", "protected-mode no", `requirepass "a \"b\" \x41"`, "port 7000", "unixsocket /run/q.sock", "maxmemory 1gb", "replicaof no one", "tls-auth-clients optional", "node-id a#b # c")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"bind": "10.0.0.1 -::1", "protected-mode": "no", "requirepass": `a "b" A`, "port": "7000", "unixsocket": "/run/q.sock", "maxmemory": "1073741824", "tls-auth-clients": "optional", "node-id": "a#b # c",
	} {
		if got := Lookup(name).Get(&cfg); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if cfg, err := load(t, "aclfile users.acl"); err != nil || cfg.ACLFile != "users.acl" {
		t.Errorf("aclfile: %q, %v", cfg.ACLFile, err)
	}
}

// TestIgnoredOnce: directives are told once each, by reason; on the command line nothing is ignored.
func TestIgnoredOnce(t *testing.T) {
	cfg, err := load(t, "save 3600 1", "save 300 100", "Daemonize yes", "appendonly no", "pidfile /run/redis.pid")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(len(cfg.Ignored), cfg.Ignored[0].Names, cfg.Ignored[1].Names)
	if got != "2 [save appendonly] [daemonize pidfile]" {
		t.Error(got)
	}
	for _, flag := range []string{"--appendonly no", "--daemonize yes", "--save 3600 1", "--rename-command a b"} {
		if _, err := Load(strings.Fields(flag), nil); err == nil {
			t.Errorf("%s is taken", flag)
		}
	}
}

// TestInclude: files are read where they are included, what stands below counts, and a circle ends.
func TestInclude(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("1.conf", "port 1\nmaxclients 11\nuser a on nopass\n")
	write("2.conf", "maxclients 22\nuser b on nopass\n")
	cfg, err := load(t, "port 7", "include "+dir+"/*.conf", "include "+dir+"/*.none", "maxclients 33")
	if err != nil || cfg.Port != 1 || cfg.MaxClients != 33 || len(cfg.Users) != 2 {
		t.Errorf("port %d, maxclients %d, users %q, %v", cfg.Port, cfg.MaxClients, cfg.Users, err)
	}
	write("3.conf", "port 1\nprot 2\n")
	if _, err := load(t, "include "+dir+"/3.conf"); err == nil || !strings.Contains(err.Error(), "3.conf:2") {
		t.Errorf("the error does not tell file and line: %v", err)
	}
	self := write("self.conf", "")
	write("self.conf", "include "+self+"\n")
	if _, err := load(t, "include "+self); err == nil || !strings.Contains(err.Error(), "include each other") {
		t.Errorf("a circle: %v", err)
	}
}

// TestDebianRedisConf: the file of Debian's package redis-server is taken as it is, all of it accounted for.
func TestDebianRedisConf(t *testing.T) {
	const path = "/etc/redis/redis.conf"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("%v: the file of Debian's redis-server, readable for root and redis, is needed", err)
	}
	cfg, err := Load([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Dir != "/var/lib/redis" || cfg.Port != 6379 || Lookup("bind").Get(&cfg) != "127.0.0.1 -::1" || !cfg.ProtectedMode {
		t.Errorf("dir %s, port %d, bind %s, protected mode %v", cfg.Dir, cfg.Port, Lookup("bind").Get(&cfg), cfg.ProtectedMode)
	}
	lines, told := 0, 0
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines++
		}
	}
	for _, g := range cfg.Ignored {
		told += len(g.Names)
	}
	if lines < 50 || told < 30 || told > lines {
		t.Errorf("of %d lines %d are told to be ignored", lines, told)
	}
}

// TestRedisConfPage keeps the tables about redis.conf of docs/compatibility.md.
func TestRedisConfPage(t *testing.T) {
	page, err := os.ReadFile(compatibilityPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(page), pageBegin)
	shown, after, ok2 := strings.Cut(rest, pageEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the lines between which it is generated", compatibilityPage)
	}
	want := renderDirectives(t)
	if *rewrite {
		if err := os.WriteFile(compatibilityPage, []byte(before+pageBegin+want+pageEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		shown = want
	}
	if shown != want {
		t.Errorf("%s differs from the tables: go test ./config -run TestRedisConfPage -rewrite", compatibilityPage)
	}
}

func renderDirectives(t *testing.T) string {
	var b strings.Builder
	quoted := func(names []string) string {
		slices.Sort(names)
		return "`" + strings.Join(names, "`, `") + "`"
	}
	var honoured []string
	for _, name := range append(redis70(t), "include", "user") {
		if Lookup(name) != nil && directiveOf(name) == nil || name == "include" {
			honoured = append(honoured, name)
		}
	}
	fmt.Fprintf(&b, "Honoured, or refused with the values that they can have: %s.\n\n| Refused | But for | Why, and what to do |\n|---|---|---|\n", quoted(honoured))
	var refused []string
	for name := range refusedDirectives {
		refused = append(refused, name)
	}
	slices.Sort(refused)
	for _, name := range refused {
		d, harmless := refusedDirectives[name], ""
		for _, v := range d.harmless {
			harmless += ", `" + v + "`"
			if v == "" {
				harmless = ", empty"
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, strings.TrimPrefix(harmless, ", "), strings.ReplaceAll(d.why, "*", "\\*"))
	}
	b.WriteString("\n| Ignored, with a warning | Why |\n|---|---|\n")
	for _, group := range ignoredDirectives {
		fmt.Fprintf(&b, "| %s | %s |\n", quoted(strings.Fields(group.names)), strings.ReplaceAll(group.why, "*", "\\*"))
	}
	return b.String()
}

// TestQuote: what is quoted is read as it was.
func TestQuote(t *testing.T) {
	for _, value := range []string{"", "plain", "/it's a/folder", `back\slash`, `"`, "two  blanks", " around ", "a\nb", `#x`, `a"b'c\n`} {
		cfg, err := load(t, "requirepass "+Quote(value))
		if err != nil || cfg.RequirePass != value {
			t.Errorf("%q is written %s and read %q, %v", value, Quote(value), cfg.RequirePass, err)
		}
	}
	if got := Quote("/etc/quipu/server.crt"); got != "/etc/quipu/server.crt" {
		t.Errorf("quoted without need: %s", got)
	}
}
