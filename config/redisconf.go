package config

import "strings"

// What becomes of the directives of Redis 7.0's redis.conf, each of them: it is a setting here (settings.go); or it is ignored,
// with one warning, where ignoring it makes nothing less safe; or it is refused, with a reason that says what to do. Refused is what
// would silently lose data, open the server, or serve something else than its owner asked for. docs/compatibility.md has the table,
// and tests hold it against what redis-server knows.

// directive is what becomes of one directive that is no setting, or of values that the setting of its name does not take.
type directive struct {
	ignored  bool
	harmless []string // values that a refused directive may have, in lower case
	why      string
}

// ignoredDirectives are those that change nothing, by reason.
var ignoredDirectives = []struct{ why, names string }{
	{"the server stays in the foreground, and tells systemd when it serves if asked (docs/install.md)",
		"daemonize supervised pidfile"},
	{"the log goes to standard error: a service manager keeps it",
		"logfile syslog-enabled syslog-ident syslog-facility crash-log-enabled crash-memcheck-enabled"},
	{"there is no logo and no process title to set, and no warning of Redis's to be silenced",
		"always-show-logo set-proc-title proc-title-template ignore-warnings"},
	{"every write is on disk before it is answered, which is more than is asked for",
		"appendonly appendfsync save no-appendfsync-on-rewrite stop-writes-on-bgsave-error"},
	{"the log and the snapshots have a format of their own, and are always checked; files of Redis (dump.rdb, appendonly.aof) are not read",
		"dbfilename appendfilename appenddirname rdbcompression rdbchecksum rdb-del-sync-files rdb-save-incremental-fsync sanitize-dump-payload " +
			"auto-aof-rewrite-percentage auto-aof-rewrite-min-size aof-load-truncated aof-use-rdb-preamble aof-timestamp-enabled aof-rewrite-incremental-fsync aof-disable-auto-gc"},
	{"no key is evicted: above maxmemory writes are refused",
		"maxmemory-samples maxmemory-eviction-tenacity lfu-log-factor lfu-decay-time lazyfree-lazy-eviction replica-ignore-maxmemory slave-ignore-maxmemory"},
	{"keys that have expired or are deleted are freed beside the clients' work, always",
		"lazyfree-lazy-expire lazyfree-lazy-server-del lazyfree-lazy-user-del lazyfree-lazy-user-flush replica-lazy-flush slave-lazy-flush active-expire-effort hz dynamic-hz"},
	{"there are no replicas as in Redis: nodes are members of one cluster (docs/cluster.md), and a write is on a majority of them before it is answered",
		"masterauth masteruser replica-serve-stale-data slave-serve-stale-data replica-read-only slave-read-only replica-priority slave-priority replica-announced " +
			"replica-announce-ip slave-announce-ip replica-announce-port slave-announce-port replica-ignore-disk-write-errors propagation-error-behavior " +
			"repl-diskless-sync repl-diskless-sync-delay repl-diskless-sync-max-replicas repl-diskless-load repl-disable-tcp-nodelay repl-backlog-size repl-backlog-ttl " +
			"repl-ping-replica-period repl-ping-slave-period repl-timeout min-replicas-max-lag min-slaves-max-lag bind-source-addr"},
	{"the nodes of a cluster find each other by peer-addr and join, serve all slots, and read nothing stale (docs/cluster.md)",
		"cluster-config-file cluster-node-timeout cluster-port cluster-announce-bus-port cluster-announce-tls-port cluster-migration-barrier cluster-allow-replica-migration " +
			"cluster-require-full-coverage cluster-replica-validity-factor cluster-slave-validity-factor cluster-replica-no-failover cluster-slave-no-failover " +
			"cluster-allow-reads-when-down cluster-allow-pubsubshard-when-down cluster-link-sendbuf-limit cluster-preferred-endpoint-type"},
	{"values have no such encoding: there are counters, strings and sketches",
		"hash-max-listpack-entries hash-max-listpack-value hash-max-ziplist-entries hash-max-ziplist-value list-max-listpack-size list-max-ziplist-size list-max-ziplist-entries list-max-ziplist-value " +
			"list-compress-depth set-max-intset-entries zset-max-listpack-entries zset-max-listpack-value zset-max-ziplist-entries zset-max-ziplist-value stream-node-max-bytes stream-node-max-entries " +
			"hll-sparse-max-bytes activerehashing"},
	{"there are no scripts", "lua-time-limit busy-reply-threshold lua-replicate-commands"},
	{"what a client may have waiting is limited by client-output-bytes, client-push-bytes (messages of pub/sub), client-input-bytes and max-command-bytes",
		"client-output-buffer-limit client-query-buffer-limit"},
	{"threads, processors, priorities and pages of memory are the system's affair, or chosen by io-loops: see the systemd unit in ops",
		"io-threads io-threads-do-reads server_cpulist bio_cpulist aof_rewrite_cpulist bgsave_cpulist oom-score-adj oom-score-adj-values disable-thp tcp-backlog " +
			"jemalloc-bg-thread activedefrag active-defrag-cycle-max active-defrag-cycle-min active-defrag-ignore-bytes active-defrag-max-scan-fields active-defrag-threshold-lower active-defrag-threshold-upper"},
	{"a stop finishes what was read from clients and writes a snapshot, in 30 seconds at most",
		"shutdown-timeout shutdown-on-sigint shutdown-on-sigterm"},
	{"clients can change neither files and folders nor load modules, whatever is said here",
		"enable-protected-configs enable-module-command"},
	{"sessions of TLS are held by tickets, and ciphers are those that are safe",
		"tls-session-cache-size tls-session-cache-timeout tls-prefer-server-ciphers tls-dh-params-file"},
}

// refusedDirectives are those whose silence would do harm.
var refusedDirectives = map[string]directive{
	"replicaof": {harmless: []string{"", "no one"}, why: notAReplica},
	"slaveof":   {harmless: []string{"", "no one"}, why: notAReplica},
	"rename-command": {why: "commands keep their names, and this one would stay open to all: " +
		"take it away from users instead, as in \"user default on >PASSWORD ~* &* +@all -flushall\""},
	"loadmodule":            {why: "there are no modules; CMS.* and TOPK.* are built in: remove the line if that is what it is for"},
	"min-replicas-to-write": {harmless: []string{"0"}, why: notByReplicas},
	"min-slaves-to-write":   {harmless: []string{"0"}, why: notByReplicas},
	"cluster-announce-hostname": {harmless: []string{""}, why: "clients would be sent to an address that it does not say: " +
		"set cluster-announce-ip, which may be a name"},
	"socket-mark-id": {harmless: []string{"0"}, why: "sockets are not marked, so rules of the firewall for the mark would not hold: " +
		"write rules for the port or the user of the service, and remove the line"},
}

const (
	notAReplica   = "this node would not be a replica of that server, and serve other data: nodes form a cluster with peer-addr and join (docs/cluster.md); remove the line"
	notByReplicas = "a node alone would take writes without the copies that are demanded: run three nodes (docs/cluster.md), where every write is on two of them before it is answered, and remove the line"
)

var directives = func() map[string]*directive {
	all := map[string]*directive{}
	for name, d := range refusedDirectives {
		all[name] = &d
	}
	for _, group := range ignoredDirectives {
		for _, name := range strings.Fields(group.names) {
			all[name] = &directive{ignored: true, why: group.why}
		}
	}
	return all
}()

// directiveOf is the row of a directive that is not, or not with every value of Redis, a setting; nil: there is none.
func directiveOf(name string) *directive { return directives[name] }
