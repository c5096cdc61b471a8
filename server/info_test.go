package server

import (
	"os"
	"slices"
	"strings"
	"testing"

	"quipu/internal/redistest"
)

// titles are the headings of sections in the text of INFO.
func titles(info redistest.Reply) (list []string) {
	for line := range strings.Lines(info.Text) {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			list = append(list, strings.TrimSpace(title))
		}
	}
	return list
}

func TestInfoSectionsAreThoseOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		p.do("SELECT", "1")
		p.do("SET", "a", "1")
		for _, line := range []string{
			"INFO", "INFO all", "INFO ALL", "INFO everything", "INFO default", "INFO Default keyspace", "INFO server", "INFO keyspace server",
			"INFO server server", "INFO nosuch", "INFO nosuch other", "INFO nosuch cpu", "INFO commandstats default", "INFO modules",
			"INFO latencystats", "INFO errorstats", "INFO commandstats", "INFO cluster cpu", "INFO all nosuch", "INFO replication memory stats",
			"INFO persistence clients", "info keyspace all",
		} {
			ours, redis := p.do(strings.Fields(line)...)
			a, b := strings.Join(titles(ours), " "), strings.Join(titles(redis), " ")
			if a != b || ours.Type != redis.Type || (ours.Text == "") != (redis.Text == "") {
				t.Errorf("%s\n ours  %s\n redis %s", line, a, b)
			}
		}
		p.same(p.do2("INFO", "keyspace"))
		p.same(p.do2("INFO", "cluster"))
		p.same(p.do2("INFO", "modules"))
	})
}

// TestErrorStatsAreThoseOfRedis runs commands that fail in each way a command can, in the session, in the keyspace, in
// the log, and inside of a transaction.
func TestErrorStatsAreThoseOfRedis(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p *pair) {
		for _, line := range []string{
			"FLUSHALL", "CONFIG RESETSTAT", "SET a text", "INCR a", "INCR a", "INCR", "NOSUCH", "SELECT abc", "GETRANGE a x y", "EXEC", "GET a",
			"AUTH x", "HELLO 9", "MULTI", "INCR a", "GETRANGE a 1", "EXEC", "MULTI", "INCR a", "GETRANGE a x y", "SELECT x", "EXEC",
			"MULTI", "GETRANGE a x y", "EXEC", "KEYS", "CLIENT NOSUCH", "CLUSTER INFO", "OBJECT NOSUCH a", "COMMAND GETKEYS GET", "SCAN x",
		} {
			p.do(strings.Fields(line)...)
		}
		p.same(p.do2("INFO", "errorstats"))
		for _, field := range []string{"total_error_replies"} {
			ours, redis := p.do("INFO", "stats")
			if a, b := infoField(ours.Text, field), infoField(redis.Text, field); a != b {
				t.Errorf("%s is %s, in Redis %s", field, a, b)
			}
		}
		ours, redis := p.do("INFO", "commandstats")
		for _, name := range []string{"incr", "getrange", "exec", "multi", "keys", "select", "command|getkeys", "set", "get"} {
			a, b := infoField(ours.Text, "cmdstat_"+name), infoField(redis.Text, "cmdstat_"+name)
			for _, field := range []string{"calls", "rejected_calls", "failed_calls"} {
				if x, y := statField(a, field), statField(b, field); x != y || x == "" {
					t.Errorf("%s of %s: %q, in Redis %q", field, name, x, y)
				}
			}
		}
		p.do("CONFIG", "RESETSTAT")
		p.same(p.do2("INFO", "errorstats"))
	})
}

// infoLeftOut are the lines of Redis's INFO that there are not here; docs/compatibility.md says why.
var infoLeftOut = []string{
	"redis_git_sha1", "redis_git_dirty", "redis_build_id", "monotonic_clock", "atomicvar_api", "gcc_version", "lru_clock", "io_threads_active",
	"client_recent_max_input_buffer", "client_recent_max_output_buffer", "clients_in_timeout_table",
	"current_cow_peak", "current_cow_size_age", "current_fork_perc", "current_save_keys_processed", "current_save_keys_total",
	"rdb_last_bgsave_time_sec", "rdb_current_bgsave_time_sec", "rdb_saves", "rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded",
	"aof_last_rewrite_time_sec", "aof_current_rewrite_time_sec", "aof_rewrites", "aof_rewrites_consecutive_failures", "aof_last_cow_size",
	"total_net_repl_input_bytes", "total_net_repl_output_bytes", "instantaneous_input_repl_kbps", "instantaneous_output_repl_kbps",
	"expired_stale_perc", "expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds",
	"total_reads_processed", "total_writes_processed", "io_threaded_reads_processed", "io_threaded_writes_processed", "reply_buffer_shrinks", "reply_buffer_expands",
	"master_replid", "master_replid2", "used_cpu_sys_main_thread", "used_cpu_user_main_thread",
}

// TestInfoLinesAreThoseOfRedis: each line of Redis's INFO is there, in its section, or is left out on purpose and stands on the page.
func TestInfoLinesAreThoseOfRedis(t *testing.T) {
	page, err := os.ReadFile(compatibilityPage)
	if err != nil {
		t.Fatal(err)
	}
	bothProtocols(t, func(t *testing.T, p *pair) {
		p.do("SET", "a", "1")
		p.do("GETRANGE", "a", "x", "y")
		p.do("CONFIG", "RESETSTAT")
		ours, redis := p.do("INFO", "everything")
		have := infoNames(ours.Text)
		names := infoNames(redis.Text)
		for name := range names {
			_, bare, _ := strings.Cut(name, " ")
			switch left := slices.Contains(infoLeftOut, bare); {
			case left && have[name]:
				t.Errorf("%s is not left out", name)
			case left && !strings.Contains(string(page), "`"+bare+"`"):
				t.Errorf("%s is left out, and %s does not say so", name, compatibilityPage)
			case !left && !have[name]:
				t.Errorf("there is no line %s", name)
			}
		}
		if len(names) < 150 {
			t.Errorf("INFO of Redis has %d lines only", len(names))
		}
	})
}

// infoNames are the names of the lines, each behind its section.
func infoNames(info string) map[string]bool {
	names, section := map[string]bool{}, ""
	for line := range strings.Lines(info) {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			section = strings.TrimSpace(title)
		} else if name, _, ok := strings.Cut(line, ":"); ok {
			names[section+" "+name] = true
		}
	}
	return names
}

func infoField(info, name string) string {
	_, rest, _ := strings.Cut(info, "\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

func statField(stat, name string) string {
	for field := range strings.SplitSeq(stat, ",") {
		if value, ok := strings.CutPrefix(field, name+"="); ok {
			return value
		}
	}
	return ""
}

// TestInfoForMonitoring has the fields that exporters and dashboards read, all of them.
func TestInfoForMonitoring(t *testing.T) {
	n := startGroupNode(t, &testGroup{}, nil)
	c := n.dial()
	expect(t, c, "SET a 1 EX 1000", "+OK\r\n", "GET a", "$1\r\n1\r\n", "GET b", "$-1\r\n")
	reply, err := c.Do("INFO", "ALL")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"uptime_in_seconds", "connected_clients", "blocked_clients", "used_memory", "used_memory_rss", "maxmemory", "mem_fragmentation_ratio",
		"total_system_memory", "total_commands_processed", "keyspace_hits", "keyspace_misses", "total_net_input_bytes", "total_net_output_bytes",
		"expired_keys", "evicted_keys", "connected_slaves", "db0", "cmdstat_set", "loading", "role", "redis_version", "used_memory_peak",
	} {
		if infoField(reply.Text, name) == "" {
			t.Errorf("INFO ALL has no %s", name)
		}
	}
	for name, want := range map[string]string{"keyspace_hits": "1", "keyspace_misses": "1", "connected_clients": "1", "evicted_keys": "0"} {
		if got := infoField(reply.Text, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}
