package server

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"quipu/acl"
	"quipu/protocol"
	"quipu/replica"
)

// infoSection is one section of INFO. Those that are not shown by default come with "all" and "everything".
type infoSection struct {
	name  string
	title string
	is    infoUse
	write func(srv *Server, p *infoPrinter)
	needs func(srv *Server) bool // nil: it is always there
}

// infoUse is what a section is for beside being asked for by its name.
type infoUse uint8

const (
	byDefault infoUse = 1 << iota // INFO has it without being asked for it
	asMetrics                     // /metrics is made of its lines, which are asked for with Server.reading held: it must not take that
)

var infoSections = []infoSection{
	{"server", "Server", byDefault | asMetrics, infoServer, nil},
	{"clients", "Clients", byDefault | asMetrics, infoClients, nil},
	{"memory", "Memory", byDefault | asMetrics, infoMemory, nil},
	{"persistence", "Persistence", byDefault | asMetrics, infoPersistence, nil},
	{"stats", "Stats", byDefault | asMetrics, infoStats, nil},
	{"replication", "Replication", byDefault | asMetrics, infoReplication, nil},
	{"regions", "Regions", byDefault, infoRegions, (*Server).isRegion},
	{"cpu", "CPU", byDefault | asMetrics, infoCPU, nil},
	{"modules", "Modules", byDefault, infoNothing, nil},
	{"commandstats", "Commandstats", asMetrics, infoCommandStats, nil},
	{"errorstats", "Errorstats", byDefault | asMetrics, infoErrorStats, nil},
	{"latencystats", "Latencystats", 0, infoLatencyStats, nil},
	{"cluster", "Cluster", byDefault | asMetrics, func(srv *Server, p *infoPrinter) { p.line("cluster_enabled", boolInt(srv.config().ClusterEnabled)) }, nil},
	{"keyspace", "Keyspace", byDefault | asMetrics, infoKeyspace, nil},
}

func infoCommand(s *Session, args [][]byte, w *protocol.Writer) {
	wanted := map[string]bool{}
	for _, arg := range args[1:] {
		wanted[strings.ToLower(string(arg))] = true
	}
	everything := wanted["all"] || wanted["everything"]
	defaults := len(wanted) == 0 || wanted["default"]
	var p infoPrinter
	for _, section := range infoSections {
		if section.needs != nil && !section.needs(s.srv) || !everything && !wanted[section.name] && !(defaults && section.is&byDefault != 0) {
			continue
		}
		if p.b.Len() > 0 {
			p.b.WriteString("\r\n")
		}
		p.b.WriteString("# " + section.title + "\r\n")
		section.write(s.srv, &p)
	}
	w.Verbatim("txt", p.b.String())
}

func infoServer(srv *Server, p *infoPrinter) {
	cfg := srv.config()
	up := time.Since(srv.started)
	p.line("redis_version", redisVersion)
	p.line("quipu_version", Version)
	p.line("redis_mode", srv.mode())
	p.line("os", runtime.GOOS+" "+runtime.GOARCH)
	p.line("arch_bits", 32<<(^uint(0)>>63))
	p.line("go_version", runtime.Version())
	p.line("multiplexing_api", srv.transport.Name())
	p.line("io_loops", srv.transport.Loops())
	p.line("process_id", os.Getpid())
	p.line("process_supervised", "no")
	p.line("run_id", srv.runID)
	p.line("node_id", srv.replicas[0].Group.Status().NodeID)
	p.line("node_label", cfg.NodeID)
	p.line("tcp_port", cfg.Port)
	p.line("server_time_usec", time.Now().UnixMicro())
	p.line("uptime_in_seconds", int64(up.Seconds()))
	p.line("uptime_in_days", int64(up.Hours()/24))
	p.line("hz", int(time.Second/replica.ReclaimEvery))
	p.line("configured_hz", int(time.Second/replica.ReclaimEvery))
	if path, err := os.Executable(); err == nil {
		p.line("executable", path)
	}
	p.line("config_file", cfg.File)
}

func infoClients(srv *Server, p *infoPrinter) {
	p.line("connected_clients", srv.clients.count.Load())
	p.line("cluster_connections", 0)
	p.line("maxclients", srv.maxClients(srv.config()))
	p.line("blocked_clients", max(0, srv.stats.blocked.Load()))
	p.line("tracking_clients", srv.tracking.clients.Load())
	p.line("clients_closed_slow_output", srv.limits.times(limitOutput))
	p.line("clients_paused_input", srv.stats.pauses[pausedByInput].Load())
	p.line("clients_paused_outstanding", srv.stats.pauses[pausedByWrites].Load())
	p.line("clients_paused_output", srv.stats.pauses[pausedByOutput].Load())
	p.line("clients_closed_timeout", srv.limits.times(limitTime))
	p.line("tls_handshakes_under_way", srv.transport.Handshakes())
}

func infoPersistence(srv *Server, p *infoPrinter) {
	st := srv.replicas[0].Group.Status()
	p.line("loading", boolInt(!srv.isReady()))
	p.line("async_loading", 0)
	p.line("rdb_changes_since_last_save", int64(st.AppliedIndex-min(st.SnapshotIndex, st.AppliedIndex)))
	saving := st.SnapshotRunning || srv.saving.Load()
	p.line("rdb_bgsave_in_progress", boolInt(saving))
	last := srv.started
	if !st.SnapshotFinished.IsZero() {
		last = st.SnapshotFinished
	}
	p.line("rdb_last_save_time", last.Unix())
	p.line("rdb_last_bgsave_status", okOrErr(st.SnapshotErr))
	p.line("aof_enabled", 1)
	p.line("aof_rewrite_in_progress", boolInt(saving))
	p.line("aof_rewrite_scheduled", 0)
	p.line("aof_last_bgrewrite_status", okOrErr(st.SnapshotErr))
	p.line("aof_last_write_status", okOrErr(st.DiskFull))
	p.zeros("module_fork_in_progress", "module_fork_last_cow_size")
	p.line("current_cow_size", srv.dataMemory().SnapshotBytes)
	p.line("log_bytes_since_snapshot", st.LogBytes)
	p.line("log_bytes_snapshot_trigger", st.SnapshotTrigger)
	p.line("log_segments", st.Segments)
	p.line("log_last_index", st.LastIndex)
	p.line("log_applied_index", st.AppliedIndex)
	p.line("log_write_stalled_ms", st.Stalled.Milliseconds())
	p.line("snapshot_index", st.SnapshotIndex)
	p.line("snapshot_bytes", st.SnapshotBytes)
	p.line("disk_free_bytes", st.FreeBytes)
	p.line("load_time_ms", srv.stats.loadTime.Load()/int64(time.Millisecond))
}

func infoStats(srv *Server, p *infoPrinter) {
	st := &srv.stats
	p.line("total_connections_received", st.connections.Load())
	p.line("total_commands_processed", srv.totalCalls())
	p.line("instantaneous_ops_per_sec", st.opsPerSec.Load())
	p.line("total_net_input_bytes", st.bytesIn.Sum())
	p.line("total_net_output_bytes", st.bytesOut.Sum())
	p.line("instantaneous_input_kbps", fmt.Sprintf("%.2f", float64(st.inPerSec.Load())/1024))
	p.line("instantaneous_output_kbps", fmt.Sprintf("%.2f", float64(st.outPerSec.Load())/1024))
	p.line("rejected_connections", srv.limits.times(limitConnections))
	p.line("accept_errors", st.acceptErrors.Load())
	p.line("tls_handshakes", st.handshakes.Load())
	p.line("tls_handshakes_failed", srv.limits.times(limitHandshake))
	p.line("expired_keys", st.expiredKeys.Load())
	p.zeros("evicted_keys", "total_eviction_exceeded_time", "current_eviction_exceeded_time")
	p.line("evicted_clients", srv.limits.times(limitMemory))
	p.line("client_output_buffer_limit_disconnections", srv.limits.times(limitOutput)+srv.limits.times(limitPush))
	p.line("keyspace_hits", st.reads.Hits.Sum())
	p.line("keyspace_misses", st.reads.Misses.Sum())
	p.line("pubsub_channels", srv.hub.counts[onChannel].Load())
	p.line("pubsub_patterns", srv.hub.counts[onPattern].Load())
	p.line("pubsubshard_channels", srv.hub.counts[onShard].Load())
	infoTold(srv, p)
	p.line("tracking_total_keys", srv.tracking.keys.Load())
	p.line("tracking_total_items", srv.tracking.items.Load())
	p.line("tracking_total_prefixes", srv.tracking.prefixes.count.Load())
	p.line("keyspace_events_dropped", srv.notifier.dropped.Load())
	p.zeros("latest_fork_usec", "total_forks", "sync_full", "sync_partial_ok",
		"sync_partial_err", "migrate_cached_sockets", "slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses",
		"active_defrag_key_hits", "active_defrag_key_misses", "total_active_defrag_time", "current_active_defrag_time",
		"unexpected_error_replies", "dump_payload_sanitizations")
	p.line("long_locks", srv.longLocks())
	p.line("protocol_errors", srv.limits.times(limitProtocol))
	p.line("refused_commands", st.refused.Load())
	p.line("acl_access_denied_auth", st.denied[acl.DeniedAuth].Load())
	p.line("acl_access_denied_cmd", st.denied[acl.DeniedCommand].Load())
	p.line("acl_access_denied_key", st.denied[acl.DeniedKey].Load())
	p.line("acl_access_denied_channel", st.denied[acl.DeniedChannel].Load())
	p.line("auth_failures", srv.limits.times(limitAuth))
	_, _, errors := st.errors.codes()
	p.line("total_error_replies", errors)
	p.line("failed_batches", srv.failedBatches())
	p.line("log_entries_applied", srv.entries())
}

// infoTold is what became of messages of pub/sub for other nodes.
func infoTold(srv *Server, p *infoPrinter) {
	var sent, dropped int64
	var connected int
	if srv.peers != nil {
		sent, dropped, connected = srv.peers.Told()
	}
	p.line("pubsub_peers", connected)
	p.line("pubsub_peer_sent", sent)
	p.line("pubsub_peer_dropped", dropped)
}

func infoReplication(srv *Server, p *infoPrinter) {
	st := srv.topology()
	infoRole(&st, p)
	p.line("master_failover_state", "no-failover")
	p.line("raft_leader", boolInt(st.Leader))
	p.line("raft_leader_id", st.LeaderID)
	infoMembers(&st, p)
	p.line("raft_term", st.Term)
	p.line("raft_commit_index", st.CommitIndex)
	p.line("raft_applied_index", st.AppliedIndex)
	p.line("log_time_ms", st.Clock.Now)
	p.line("log_time_offset_ms", st.Clock.Offset.Milliseconds())
	p.line("log_time_jump_ms", st.Clock.Jump.Milliseconds())
	p.line("master_repl_offset", st.CommitIndex)
	p.line("second_repl_offset", -1)
	p.zeros("repl_backlog_active", "repl_backlog_size", "repl_backlog_first_byte_offset", "repl_backlog_histlen")
	infoLocalAck(srv, p)
}

// infoRole has the lines by which Redis's tools know a master and its replicas.
func infoRole(t *topology, p *infoPrinter) {
	if t.Leader || t.SoleVoter {
		list := t.connected()
		p.line("role", "master")
		p.line("connected_slaves", len(list))
		for i := range list {
			m := &list[i]
			host, port, _ := endpoint(m)
			p.line(fmt.Sprintf("slave%d", i), fmt.Sprintf("ip=%s,port=%d,state=online,offset=%d,lag=%d", host, port, m.Applied, int(lag(m).Seconds())))
		}
		return
	}
	host, port, _ := endpoint(&t.leader)
	status, since := "down", -1
	if t.present && t.leader.Up {
		status, since = "up", int(lag(&t.leader).Seconds())
	}
	p.line("role", "slave")
	p.line("master_host", host)
	p.line("master_port", port)
	p.line("master_link_status", status)
	p.line("master_last_io_seconds_ago", since)
	p.line("master_sync_in_progress", 0)
	p.line("slave_repl_offset", t.AppliedIndex)
	p.line("slave_priority", 100)
	p.line("slave_read_only", 1)
	p.line("connected_slaves", 0)
}

// infoMembers has a line for each member of the cluster, as this node sees it.
func infoMembers(t *topology, p *infoPrinter) {
	p.line("raft_members", len(t.Members))
	for i := range t.Members {
		m := &t.Members[i]
		p.line(fmt.Sprintf("raft_member%d", i), fmt.Sprintf("id=%s,peer=%s,client=%s,voter=%d,leads=%d,up=%d,term=%d,applied=%d,last=%d",
			m.ID, m.Address, m.ClientAddress, boolInt(m.Voter), boolInt(m.Serves), boolInt(m.Up), m.Term, m.Applied, m.Last))
	}
}

func infoCPU(_ *Server, p *infoPrinter) {
	user, system := cpuSeconds()
	p.line("used_cpu_sys", fmt.Sprintf("%.6f", system))
	p.line("used_cpu_user", fmt.Sprintf("%.6f", user))
	p.line("used_cpu_sys_children", "0.000000") // there are none
	p.line("used_cpu_user_children", "0.000000")
}

func infoCommandStats(srv *Server, p *infoPrinter) {
	srv.settleTimes()
	for id, calls := range srv.commandCalls() {
		rejected, failed := srv.rejected[id].Load(), srv.failed[id].Load()
		if calls > 0 || rejected > 0 || failed > 0 {
			usec := srv.times.usec(id)
			p.line("cmdstat_"+srv.table.All()[id].FullName(), fmt.Sprintf("calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d",
				calls, usec, float64(usec)/float64(max(calls, 1)), rejected, failed))
		}
	}
}

func infoErrorStats(srv *Server, p *infoPrinter) {
	codes, counts, _ := srv.stats.errors.codes()
	for i, code := range codes {
		p.line("errorstat_"+code, fmt.Sprintf("count=%d", counts[i]))
	}
}

// infoNothing is a section of Redis that has no lines here: there are no modules.
func infoNothing(*Server, *infoPrinter) {}

func infoKeyspace(srv *Server, p *infoPrinter) {
	for db := range srv.config().Databases {
		if st := srv.dbStats(db); st.Keys > 0 {
			p.line(fmt.Sprintf("db%d", db), fmt.Sprintf("keys=%d,expires=%d,avg_ttl=%d", st.Keys, st.Expires, st.AvgTTL))
		}
	}
}

func infoLocalAck(srv *Server, p *infoPrinter) {
	var behind bool
	st := srv.replicas[0].AheadStats()
	for _, r := range srv.replicas[1:] {
		st = st.Plus(r.AheadStats())
	}
	for _, r := range srv.replicas {
		behind = behind || r.Behind()
	}
	p.line("local_ack_pending_increments", st.Increments)
	p.line("local_ack_pending_keys", st.Keys)
	p.line("local_ack_pending_bytes", st.Bytes)
	p.line("local_ack_behind", boolInt(behind))
	p.line("local_ack_sections", st.Landed)
	p.line("local_ack_stale_sections", st.Stale)
	p.line("local_ack_gaps", st.Gaps)
	p.line("local_ack_expired", st.Expired)
	p.line("local_ack_dropped", st.Dropped)
}
