package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/connect/internal/testbed"
)

// secureBed is a server that has no default user: TLS for the connector, a port without it for the test's own user, who may do everything.
type secureBed struct {
	*testing.T
	server  *testbed.Quipu
	ca      *testbed.Authority
	port    int // for TLS
	admin   *redis.Client
	log, db string // what is counted, and the sink's database
}

const connectorPassword = "connector-secret"

func newSecureBed(t *testing.T) *secureBed {
	b := &secureBed{T: t, ca: testbed.NewAuthority(t), port: testbed.FreePort(t)}
	b.server = testbed.StartQuipu(t, 1, append(b.ca.Settings(b.port), "--auth-failures-per-second", "1000")...)
	b.log, b.db = filepath.Join(t.TempDir(), "log.jsonl"), filepath.Join(t.TempDir(), "likes.db")
	first := b.server.Client(0)
	b.do(first, "ACL", "SETUSER", "admin", "on", ">admin-secret", "~*", "+@all")
	b.do(first, "ACL", "SETUSER", "default", "off")
	b.admin = redis.NewClient(&redis.Options{Addr: b.server.Addrs[0], Username: "admin", Password: "admin-secret"})
	t.Cleanup(func() { b.admin.Close() })
	t.Setenv("QUIPU_PASSWORD", connectorPassword)
	return b
}

func (b *secureBed) do(c *redis.Client, words ...any) any {
	b.Helper()
	reply, err := c.Do(b.Context(), words...).Result()
	if err != nil {
		b.Fatalf("%v: %v", words, err)
	}
	return reply
}

// append adds records to what is counted, each with these fields, and of another user.
func (b *secureBed) append(fields ...string) {
	b.Helper()
	f, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for i, more := range fields {
		if _, err := fmt.Fprintf(f, "{\"post\":\"p\",\"user\":\"%d\",\"ts\":%d,%s}\n", i, time.Now().Unix(), more); err != nil {
			b.Fatal(err)
		}
	}
}

// conf is a configuration with a block quipu of these settings, which counts as the example in docs/events.md does.
func (b *secureBed) conf(weight string, settings ...string) string {
	b.Helper()
	text := fmt.Sprintf("\nquipu 127.0.0.1:%d\n  %s\nsource likes\n  file %s\n  on-bad-record park likes.dead\n  INCRBY likes:{post} %s\n"+
		"  INCRBY likes:{post}:{ts|hour} 1 expire 400d\n  PFADD fans:{post} {user}\nsink totals\n  match likes:*\n  sql sqlite:%s\n  every 50ms\n",
		b.port, strings.Join(settings, "\n  "), b.log, weight, b.db)
	return write(b.T, "likes.conf", text)
}

// settings are the right ones.
func (b *secureBed) settings() []string {
	return []string{
		"user connector", "password env:QUIPU_PASSWORD", "tls yes", "tls-ca-cert-file " + b.ca.File("ca.crt"),
		"tls-cert-file " + b.ca.File("client.crt"), "tls-key-file " + b.ca.File("client.key"),
	}
}

// but is settings with others instead, or, where they have one word only, without those.
func but(settings []string, others ...string) []string {
	list := slices.Clone(settings)
	for _, other := range others {
		name, value, _ := strings.Cut(other, " ")
		list = slices.DeleteFunc(list, func(s string) bool { return strings.HasPrefix(s, name+" ") })
		if value != "" {
			list = append(list, other)
		}
	}
	return list
}

// rules are those that docs/events.md says a connector needs, row by row: what for, and which.
func rules(t *testing.T) (rows [][2]string) {
	t.Helper()
	page, err := os.ReadFile("../../../connect/../docs/events.md") // so that go test sees when it changes, see testbed.readSources
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n#### Its rights\n")
	section, _, _ = strings.Cut(section, "\n#")
	for _, row := range regexp.MustCompile(`(?m)^\| (.*) \| (.*) \|$`).FindAllStringSubmatch(section, -1) {
		rows = append(rows, [2]string{row[1], row[2]})
	}
	if len(rows) < 8 {
		t.Fatalf("%d rows", len(rows))
	}
	return rows[1:] // without the head
}

// grant gives a user the rules of a row, and returns them.
func (b *secureBed) grant(user, row string) (list []string) {
	b.Helper()
	words := []any{"ACL", "SETUSER", user, "on", ">" + connectorPassword}
	for _, text := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row, -1) {
		for _, rule := range strings.Fields(strings.ReplaceAll(text[1], `\|`, "|")) {
			if strings.ContainsRune("+-~%", rune(rule[0])) {
				list, words = append(list, rule), append(words, rule)
			}
		}
	}
	b.do(b.admin, words...)
	return list
}

// until waits until check succeeds.
func (b *secureBed) until(what string, check func() bool) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); !check(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("not %s", what)
		}
	}
}

// number is the value of a counter; 0 where there is none.
func (b *secureBed) number(key string) int {
	n, _ := b.admin.Get(b.Context(), key).Int()
	return n
}

// TestRights: the rules that the documentation names are what a connector needs, no less and no more, for each of the things that it
// does.
func TestRights(t *testing.T) {
	b := newSecureBed(t)
	b.append(`"weight":1`, `"weight":2`, `"weight":3`, `"weight":"x","n":7`, `"weight":"y"`)
	steps := b.steps()
	var granted []string
	rows := rules(t)
	for _, row := range rows {
		user := "run"
		for _, command := range []string{"status", "accept", "retry", "recount"} {
			if strings.HasPrefix(row[0], "`"+command) {
				user = command
			}
		}
		granted = append(granted, b.grant(user, row[1])...)
		if strings.Contains(row[1], "the commands of the source") {
			granted = append(granted, b.grant(user, rows[1][1])...)
		}
		step := steps[row[0]]
		if step == nil {
			continue // what its rules are for is done together with the next row
		}
		delete(steps, row[0])
		b.do(b.admin, "CONFIG", "RESETSTAT")
		step(func(weight string) string { return b.conf(weight, but(b.settings(), "user "+user)...) })
		stats := b.do(b.admin, "INFO", "commandstats").(string)
		for _, rule := range granted {
			if command, is := strings.CutPrefix(rule, "+"); is && !strings.Contains(stats, "cmdstat_"+command+":") && !strings.Contains(stats, "cmdstat_"+command+"|") {
				t.Errorf("%s does not need %s", row[0], rule)
			}
		}
		granted = nil
		if denied := b.do(b.admin, "ACL", "LOG").([]any); len(denied) > 0 {
			t.Fatalf("%s: denied: %v", row[0], denied)
		}
	}
	for row := range steps {
		t.Errorf("there is no row %s", row)
	}
}

// steps are what a connector does, by the rows of the table that name it, each with a configuration that has the user of that row.
func (b *secureBed) steps() map[string]func(conf func(weight string) string) {
	program := testbed.NewProcess(b.T, testbed.Program(b.T, "./cmd/quipu-connect"))
	says := func(want string, args ...string) {
		b.Helper()
		if out, _, err := play(b.T, "", args...); !strings.Contains(strings.Join(strings.Fields(out), " ")+fmt.Sprint(err), want) {
			b.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
	return map[string]func(conf func(weight string) string){
		"`run` of a sink": func(conf func(string) string) { // and of the source, whose rows are above
			program.Args = []string{"run", conf("{weight}")}
			program.Start()
			b.until("counted", func() bool { return b.number("likes:p") == 6 })
			for _, key := range []string{"connect:likes/0", "connect:sink:totals"} {
				b.until("told", func() bool { return b.admin.Exists(b.Context(), key).Val() == 1 })
			}
			if list := b.do(b.admin, "CLIENT", "LIST").(string); !strings.Contains(list, fmt.Sprintf(" laddr=127.0.0.1:%d ", b.port)) || !strings.Contains(list, " user=run ") {
				b.Errorf("who is connected, and to which port:\n%s", list)
			}
		},
		"`status`": func(conf func(string) string) {
			says("3 counted + 2 parked = all 2 counting", "status", "-once", conf("{weight}"))
			b.until("written", func() bool {
				out, _, _ := play(b.T, "", "status", "-once", conf("{weight}"))
				return strings.Contains(out, " writing")
			})
		},
		"`accept`": func(conf func(string) string) {
			if status := program.Terminate(); status != 0 {
				b.Errorf("run ends with status %d", status)
			}
			info, err := os.Stat(b.log)
			if err != nil {
				b.Fatal(err)
			}
			says("nothing to accept", "accept", conf("{weight}"), "likes")
			says("goes on at 5:", "accept", conf("{weight}"), "likes/0", "-at", fmt.Sprintf("5:%d", info.Size()))
		},
		"`retry`": func(conf func(string) string) {
			says("0 counted, 2 still cannot be", "retry", conf("{weight}"), "likes")
			says("1 counted, 1 still cannot be", "retry", conf("{n}"), "likes")
			says("1 counted, 0 still cannot be", "retry", conf("3"), "likes")
		},
		"`recount`": func(conf func(string) string) {
			buckets := b.do(b.admin, "KEYS", "likes:p:*").([]any)
			b.do(b.admin, "INCRBY", buckets[0], 5)                    // it has a deadline
			says("2 of 2 keys differ", "recount", conf("3"), "likes") // with weights as they were, likes:p is 6 + 7 + 3
		},
		"`recount -repair`, besides": func(conf func(string) string) {
			says("keys repaired 2", "recount", "-repair", conf("3"), "likes")
			if n := b.number("likes:p"); n != 15 {
				b.Errorf("repaired to %d", n)
			}
		},
	}
}

// TestRefused: whatever Quipu or the connector does not like about the other is said with file and line, and nothing goes on.
func TestRefused(t *testing.T) {
	b := newSecureBed(t)
	b.do(b.admin, "ACL", "SETUSER", "connector", "on", ">"+connectorPassword, "~*", "+@all")
	b.append(`"weight":1`, `"weight":2`)
	t.Setenv("QUIPU_WRONG", "wrong")
	other := testbed.NewAuthority(t)
	for _, c := range []struct{ name, setting, want string }{
		{"password", "password env:QUIPU_WRONG", "WRONGPASS invalid username-password pair or user is disabled."},
		{"user", "user nobody", "WRONGPASS invalid username-password pair or user is disabled."},
		{"authority", "tls-ca-cert-file " + other.File("ca.crt"), "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"name", "tls-server-name elsewhere", "tls: failed to verify certificate: x509: certificate is valid for localhost, not elsewhere"},
	} {
		conf := b.conf("{weight}", but(b.settings(), c.setting)...)
		for _, args := range [][]string{
			{"run", "-until-end", conf}, {"status", conf}, {"recount", conf, "likes"}, {"accept", conf, "likes"}, {"retry", conf, "likes"},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // what is not refused may wait for ever
			_, _, err := playUntil(ctx, "", args...)
			cancel()
			if want := fmt.Sprintf("%s:2: quipu 127.0.0.1:%d: %s", conf, b.port, c.want); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Fatalf("%s, %s: %v, want %s", c.name, args[0], err, want)
			}
		}
		if _, _, err := play(t, "", "check", conf); err != nil {
			t.Errorf("%s: check asks Quipu: %v", c.name, err)
		}
	}
	without := b.conf("{weight}", but(b.settings(), "tls-cert-file", "tls-key-file")...)
	if _, _, err := play(t, "", "status", without); err == nil || !strings.Contains(err.Error(), ":2: quipu ") || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("no certificate: %v", err)
	}
	p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "run", b.conf("{weight}", but(b.settings(), "password env:QUIPU_WRONG")...))
	if status := p.Wait(time.Minute); status != 1 || !strings.Contains(p.Output(), "WRONGPASS") {
		t.Errorf("run ends with status %d:\n%s", status, p.Output())
	}
	if b.number("likes:p") != 0 {
		t.Error("something was counted")
	}

	for setting, want := range map[string]string{
		"tls-ca-cert-file /nowhere.crt":            ":2: tls-ca-cert-file: open /nowhere.crt: no such file or directory",
		"tls-ca-cert-file " + b.log:                ":2: tls-ca-cert-file: there is no certificate in " + b.log,
		"tls-key-file " + other.File("client.key"): ":2: tls-cert-file and tls-key-file: tls: private key does not match public key",
	} {
		conf := b.conf("{weight}", but(b.settings(), setting)...)
		for _, command := range []string{"check", "status"} {
			if _, _, err := play(t, "", command, conf); err == nil || err.Error() != conf+want {
				t.Errorf("%s: %s says %v, want %s", setting, command, err, conf+want)
			}
		}
	}
	unset := b.conf("{weight}", but(b.settings(), "password env:QUIPU_NOT_SET")...)
	if _, _, err := play(t, "", "status", unset); err == nil || !strings.HasPrefix(err.Error(), unset+":2: the environment variable QUIPU_NOT_SET") {
		t.Errorf("no such variable: %v", err)
	}
}

// TestOtherPort: where one side speaks TLS and the other does not, that is said.
func TestOtherPort(t *testing.T) {
	b := newSecureBed(t)
	plain := b.conf("1", but(b.settings(), "tls", "tls-ca-cert-file", "tls-cert-file", "tls-key-file")...)
	right := b.conf("1", b.settings()...)
	text, err := os.ReadFile(right)
	if err != nil {
		t.Fatal(err)
	}
	tls := write(t, "likes.conf", strings.Replace(string(text), fmt.Sprintf("127.0.0.1:%d", b.port), b.server.Addrs[0], 1))
	if _, _, err := play(t, "", "status", tls); err == nil || !strings.HasPrefix(err.Error(), tls+":2: quipu ") || !strings.Contains(err.Error(), "does not look like a TLS handshake") {
		t.Errorf("TLS to the port without: %v", err)
	}
	// A connection that is closed may be anything, so it is tried on.
	p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "status", plain)
	b.until("told", func() bool {
		return strings.Contains(p.Output(), plain+":2: quipu ") && strings.Contains(p.Output(), "does it speak TLS there?")
	})
	if !p.Alive() {
		t.Errorf("it does not go on:\n%s", p.Output())
	}
	p.Kill()
}

// TestCertificateMended: a server whose certificate is not right any more is waited for.
func TestCertificateMended(t *testing.T) {
	b := newSecureBed(t)
	b.do(b.admin, "ACL", "SETUSER", "connector", "on", ">"+connectorPassword, "~*", "+@all")
	conf := b.conf("{weight}", b.settings()...)
	b.append(`"weight":1`, `"weight":2`)
	p := testbed.StartProcess(t, testbed.Program(t, "./cmd/quipu-connect"), "run", conf)
	b.until("counted", func() bool { return b.number("likes:p") == 3 })
	other := testbed.NewAuthority(t)
	b.do(b.admin, "CONFIG", "SET", "tls-cert-file", other.File("server.crt"), "tls-key-file", other.File("server.key"))
	b.do(b.admin, "CLIENT", "KILL", "USER", "connector")
	b.append(`"weight":4`)
	b.until("waiting", func() bool { return strings.Contains(p.Output(), "certificate signed by unknown authority") })
	b.do(b.admin, "CONFIG", "SET", "tls-cert-file", b.ca.File("server.crt"), "tls-key-file", b.ca.File("server.key"))
	b.until("counted", func() bool { return b.number("likes:p") == 7 })

	// A configuration that Quipu refuses is not taken, and the old one goes on.
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte(strings.Replace(string(text), "user connector", "user nobody", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Signal(syscall.SIGHUP)
	b.until("refused", func() bool {
		return strings.Contains(p.Output(), "the old one goes on") && strings.Contains(p.Output(), "WRONGPASS")
	})
	b.append(`"weight":8`)
	b.until("counted", func() bool { return b.number("likes:p") == 15 })
	if status := p.Terminate(); status != 0 {
		t.Errorf("it ends with status %d", status)
	}
}
