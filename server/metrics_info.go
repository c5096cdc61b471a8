package server

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// The figures of INFO as metrics. Those named redis_ are called as redis_exporter calls them (https://github.com/oliver006/redis_exporter),
// a process that asks a Redis for INFO; here they are made of the same lines, so they cannot say anything else. A line that says nothing of
// Quipu, and is there because clients look for it (repl_backlog_size, latest_fork_usec), is not here.

// infoMetric says which line of INFO is which metric.
type infoMetric struct {
	line, name string
	kind       prometheus.ValueType
	scale      float64 // of the unit, or 0 for a line that says ok, or something else
	help       string
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

var infoMetrics = []infoMetric{
	{"uptime_in_seconds", "redis_uptime_in_seconds", gauge, 1, "Since the start."},
	{"process_id", "redis_process_id", gauge, 1, "Of the process."},
	{"connected_clients", "redis_connected_clients", gauge, 1, "Connections of clients."},
	{"blocked_clients", "redis_blocked_clients", gauge, 1, "Clients in WAIT, WAITAOF and FEED READ."},
	{"maxclients", "redis_max_clients", gauge, 1, "Connections of clients that there may be."},
	{"used_memory", "redis_memory_used_bytes", gauge, 1, "Records, index and objects on the Go heap."},
	{"used_memory_rss", "redis_memory_used_rss_bytes", gauge, 1, "Resident memory of the process."},
	{"used_memory_peak", "redis_memory_used_peak_bytes", gauge, 1, "The most that was used."},
	{"used_memory_overhead", "redis_memory_used_overhead_bytes", gauge, 1, "Used for anything but records."},
	{"used_memory_startup", "redis_memory_used_startup_bytes", gauge, 1, "Used while there was no key."},
	{"used_memory_dataset", "redis_memory_used_dataset_bytes", gauge, 1, "Records."},
	{"maxmemory", "redis_memory_max_bytes", gauge, 1, "The setting maxmemory; 0: no limit."},
	{"mem_fragmentation_ratio", "redis_mem_fragmentation_ratio", gauge, 1, "Resident memory by used."},
	{"mem_fragmentation_bytes", "redis_mem_fragmentation_bytes", gauge, 1, "Resident memory beyond what is used."},
	{"mem_clients_normal", "redis_mem_clients_normal", gauge, 1, "Bytes that clients hold."},
	{"total_system_memory", "redis_total_system_memory_bytes", gauge, 1, "Memory of the machine."},
	{"loading", "redis_loading_dump_file", gauge, 1, "Whether the node reads its log or a snapshot, and serves nobody."},
	{"rdb_changes_since_last_save", "redis_rdb_changes_since_last_save", gauge, 1, "Entries of the log behind the newest snapshot."},
	{"rdb_bgsave_in_progress", "redis_rdb_bgsave_in_progress", gauge, 1, "Whether a snapshot is being written."},
	{"rdb_last_save_time", "redis_rdb_last_save_timestamp_seconds", gauge, 1, "When the newest snapshot was written, in seconds since 1970."},
	{"rdb_last_bgsave_status", "redis_rdb_last_bgsave_status", gauge, 0, "Whether the last snapshot could be written."},
	{"aof_enabled", "redis_aof_enabled", gauge, 1, "There always is a log."},
	{"aof_rewrite_in_progress", "redis_aof_rewrite_in_progress", gauge, 1, "Whether a snapshot is being written."},
	{"aof_last_bgrewrite_status", "redis_aof_last_bgrewrite_status", gauge, 0, "Whether the last snapshot could be written."},
	{"aof_last_write_status", "redis_aof_last_write_status", gauge, 0, "Whether the disk has room for more of the log; else writes are refused."},
	{"total_connections_received", "redis_connections_received_total", counter, 1, "Connections of clients."},
	{"total_commands_processed", "redis_commands_processed_total", counter, 1, "Commands that were executed."},
	{"instantaneous_ops_per_sec", "redis_instantaneous_ops_per_sec", gauge, 1, "Commands in the last second."},
	{"rejected_connections", "redis_rejected_connections_total", counter, 1, "Connections refused because of maxclients or the protected mode."},
	{"total_net_input_bytes", "redis_net_input_bytes_total", counter, 1, "Read from clients."},
	{"total_net_output_bytes", "redis_net_output_bytes_total", counter, 1, "Sent to clients."},
	{"expired_keys", "redis_expired_keys_total", counter, 1, "Keys whose memory is free again because they had expired."},
	{"evicted_keys", "redis_evicted_keys_total", counter, 1, "None: a key is never removed for want of memory."},
	{"pubsub_channels", "redis_pubsub_channels", gauge, 1, "Channels that somebody listens to."},
	{"pubsub_patterns", "redis_pubsub_patterns", gauge, 1, "Different patterns that somebody listens to."},
	{"pubsub_peer_sent", "quipu_pubsub_peer_sent_total", counter, 1, "Published messages sent to other nodes."},
	{"pubsub_peer_dropped", "quipu_pubsub_peer_dropped_total", counter, 1, "Published messages that other nodes did not get: they were slow, or not connected."},
	{"keyspace_events_dropped", "quipu_keyspace_events_dropped_total", counter, 1, "Events of keys that were not published because more came than could be."},
	{"client_output_buffer_limit_disconnections", "quipu_clients_closed_unread_total", counter, 1, "Clients closed because they did not read replies or messages."},
	{"evicted_clients", "redis_evicted_clients_total", counter, 1, "Clients closed because of maxmemory-clients."},
	{"keyspace_hits", "redis_keyspace_hits_total", counter, 1, "Reads of keys that exist."},
	{"keyspace_misses", "redis_keyspace_misses_total", counter, 1, "Reads of keys that do not."},
	{"acl_access_denied_auth", "redis_acl_access_denied_auth_total", counter, 1, "Wrong passwords."},
	{"acl_access_denied_cmd", "redis_acl_access_denied_cmd_total", counter, 1, "Commands denied to their user."},
	{"acl_access_denied_key", "redis_acl_access_denied_key_total", counter, 1, "Keys denied to their user."},
	{"acl_access_denied_channel", "redis_acl_access_denied_channel_total", counter, 1, "Channels denied to their user."},
	{"used_cpu_sys", "redis_cpu_sys_seconds_total", counter, 1, "Processor time in the system."},
	{"used_cpu_user", "redis_cpu_user_seconds_total", counter, 1, "Processor time outside of the system."},
	{"connected_slaves", "redis_connected_slaves", gauge, 1, "Other nodes that are connected, where this one leads."},
	{"master_repl_offset", "redis_master_repl_offset", gauge, 1, "Index up to which the log is committed."},
	{"cluster_enabled", "redis_cluster_enabled", gauge, 1, "The setting cluster-enabled."},

	{"raft_leader", "quipu_leader", gauge, 1, "Whether this node leads."},
	{"raft_term", "quipu_term", gauge, 1, "Raft's term: it rises with each election."},
	{"raft_members", "quipu_members", gauge, 1, "Nodes of the cluster."},
	{"log_last_index", "quipu_log_last_index", gauge, 1, "Of the newest entry in this node's log."},
	{"raft_commit_index", "quipu_log_commit_index", gauge, 1, "Up to which the log is committed, as far as this node knows."},
	{"log_applied_index", "quipu_log_applied_index", gauge, 1, "Up to which this node has applied the log."},
	{"log_entries_applied", "quipu_entries_applied_total", counter, 1, "Entries of the log that were applied."},
	{"failed_batches", "quipu_failed_batches_total", counter, 1, "Batches that were not applied, or with an unknown outcome."},
	{"log_bytes_since_snapshot", "quipu_log_bytes", gauge, 1, "Bytes of entries behind the newest snapshot."},
	{"log_bytes_snapshot_trigger", "quipu_log_snapshot_trigger_bytes", gauge, 1, "Bytes of entries at which the next snapshot is taken."},
	{"log_segments", "quipu_log_segments", gauge, 1, "Files of the log."},
	{"log_write_stalled_ms", "quipu_log_stalled_seconds", gauge, 0.001, "How long a write of the log takes already that is too slow; else 0."},
	{"log_time_offset_ms", "quipu_log_time_offset_seconds", gauge, 0.001, "Log time beyond the wall clock."},
	{"snapshot_bytes", "quipu_snapshot_bytes", gauge, 1, "Of the newest snapshot."},
	{"disk_free_bytes", "quipu_disk_free_bytes", gauge, 1, "On the disk of the data."},
	{"load_time_ms", "quipu_load_seconds", gauge, 0.001, "From the start until the node was ready; 0: not yet."},
	{"outstanding_write_bytes", "quipu_outstanding_write_bytes", gauge, 1, "Of writes that are not answered yet."},
	{"data_mapped", "quipu_data_mapped_bytes", gauge, 1, "Held from the system for keys."},
	{"data_index_bytes", "quipu_data_index_bytes", gauge, 1, "Of the index of keys."},
	{"data_dead_bytes", "quipu_data_dead_bytes", gauge, 1, "Of records that are freed and not given back yet."},
	{"data_snapshot_bytes", "quipu_data_snapshot_bytes", gauge, 1, "Held for a snapshot that is being written."},
	{"refused_commands", "quipu_refused_commands_total", counter, 1, "Commands refused before they were executed."},
	{"accept_errors", "quipu_accept_errors_total", counter, 1, "Connections that the system could not give."},
	{"tls_handshakes", "quipu_tls_handshakes_total", counter, 1, "TLS handshakes that were good."},
	{"tls_handshakes_under_way", "quipu_tls_handshakes_under_way", gauge, 1, "TLS handshakes that have not ended."},
	{"long_locks", "quipu_long_locks_total", counter, 1, "Commands that were carried out beside the event loops since they take long."},
	{"local_ack_pending_increments", "quipu_answered_ahead_increments", gauge, 1, "Answered at ack level local and not applied yet."},
	{"local_ack_pending_keys", "quipu_answered_ahead_keys", gauge, 1, "Keys of these increments."},
	{"local_ack_pending_bytes", "quipu_answered_ahead_bytes", gauge, 1, "Memory for these increments."},
	{"local_ack_behind", "quipu_answered_ahead_behind", gauge, 1, "Whether increments at ack level local wait for the log, which takes nothing."},
	{"local_ack_sections", "quipu_answered_ahead_sections_total", counter, 1, "Counted sections that were applied, of any node."},
	{"local_ack_gaps", "quipu_answered_ahead_gaps_total", counter, 1, "Counted sections and writes of sources that were refused since an earlier one is missing."},
	{"local_ack_expired", "quipu_answered_ahead_expired_total", counter, 1, "Increments whose key had expired when they were applied."},
	{"local_ack_dropped", "quipu_answered_ahead_dropped_total", counter, 1, "Increments that could not be applied, because of the value's kind or an overflow."},
}

// infoFields is what INFO says now.
type infoFields struct {
	lines  []label // in its order
	values map[string]string
}

// newInfoFields asks for the sections of which metrics are made. Server.reading is held.
func newInfoFields(srv *Server) infoFields {
	f := infoFields{values: map[string]string{}}
	p := infoPrinter{take: func(name, value string) {
		f.lines = append(f.lines, label{name, value})
		f.values[name] = value
	}}
	for _, s := range infoSections {
		if s.is&asMetrics != 0 {
			s.write(srv, &p)
		}
	}
	return f
}

// info makes the metrics of what INFO says.
func (c collecting) info(f infoFields) {
	for _, m := range infoMetrics {
		text, there := f.values[m.line]
		if !there {
			continue
		}
		v := number(text) * m.scale
		if m.scale == 0 {
			v = float64(boolInt(text == "ok"))
		}
		c.metric(m.kind, m.name, m.help, v, nil)
	}
	for _, l := range f.lines {
		c.commandLine(l)
		c.errorLine(l)
		c.databaseLine(l)
		c.replicaLine(l)
	}
	if _, there := f.values["db0"]; !there {
		c.databaseLine(label{"db0", "keys=0,expires=0,avg_ttl=0"})
	}
	c.instance(f)
	c.master(f)
}

// fields splits a=1,b=2.
func fields(value string) map[string]string {
	list := map[string]string{}
	for part := range strings.SplitSeq(value, ",") {
		name, v, _ := strings.Cut(part, "=")
		list[name] = v
	}
	return list
}

// number is 0 for what is none.
func number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return n
}

func (c collecting) commandLine(l label) {
	cmd, ok := strings.CutPrefix(l.name, "cmdstat_")
	if !ok {
		return
	}
	p := fields(l.value)
	c.counter("redis_commands_total", "Calls of the command.", number(p["calls"]), label{"cmd", cmd})
	c.counter("redis_commands_rejected_calls_total", "Calls of the command that were refused before it ran.", number(p["rejected_calls"]), label{"cmd", cmd})
	if p["usec"] != "0" { // 0: no call was timed so far
		c.counter("redis_commands_duration_seconds_total", "Time of the command's calls.", number(p["usec"])/1e6, label{"cmd", cmd})
	}
}

func (c collecting) errorLine(l label) {
	if code, ok := strings.CutPrefix(l.name, "errorstat_"); ok {
		c.counter("redis_errors_total", "Error replies by their first word.", number(fields(l.value)["count"]), label{"err", code})
	}
}

func (c collecting) databaseLine(l label) {
	digits, ok := strings.CutPrefix(l.name, "db")
	if _, err := strconv.Atoi(digits); !ok || err != nil {
		return
	}
	p := fields(l.value)
	c.gauge("redis_db_keys", "Keys of the database.", number(p["keys"]), label{"db", l.name})
	c.gauge("redis_db_keys_expiring", "Keys of the database that have a deadline.", number(p["expires"]), label{"db", l.name})
	c.gauge("redis_db_avg_ttl_seconds", "How long these keys live on average, estimated.", number(p["avg_ttl"])/1000, label{"db", l.name})
}

// replicaLine has what the leader knows of another node that is connected.
func (c collecting) replicaLine(l label) {
	digits, ok := strings.CutPrefix(l.name, "slave")
	if _, err := strconv.Atoi(digits); !ok || err != nil {
		return
	}
	p := fields(l.value)
	if p["ip"] == "" { // it is not known; two of them would be one metric
		return
	}
	labels := []label{{"slave_ip", p["ip"]}, {"slave_port", p["port"]}, {"slave_state", p["state"]}}
	c.gauge("redis_connected_slave_offset_bytes", "Index up to which the node has applied the log; the name is redis_exporter's.", number(p["offset"]), labels...)
	c.gauge("redis_connected_slave_lag_seconds", "Since when the node has not answered.", number(p["lag"]), labels...)
}

// master has what a node that does not lead knows of the one that does.
func (c collecting) master(f infoFields) {
	if f.values["role"] != "slave" {
		return
	}
	host, port := f.values["master_host"], f.values["master_port"]
	labels := []label{{"master_host", host}, {"master_port", port}}
	c.gauge("redis_master_link_up", "Whether the node that leads is connected.", float64(boolInt(f.values["master_link_status"] == "up")), labels...)
	c.gauge("redis_master_last_io_seconds_ago", "Since when it has not answered; -1: it is not connected.", number(f.values["master_last_io_seconds_ago"]), labels...)
	c.gauge("redis_slave_repl_offset", "Index up to which this node has applied the log.", number(f.values["slave_repl_offset"]), labels...)
	c.gauge("redis_slave_info", "Always 1.", 1, append(slices.Clip(labels), label{"read_only", f.values["slave_read_only"]})...)
}

func (c collecting) instance(f infoFields) {
	var labels []label
	for _, name := range []string{"role", "redis_version", "redis_mode", "os", "maxmemory_policy", "tcp_port", "run_id", "process_id"} {
		labels = append(labels, label{name, f.values[name]})
	}
	c.gauge("redis_instance_info", "Always 1.", 1, labels...)
	c.gauge("quipu_build_info", "Always 1.", 1, label{"version", f.values["quipu_version"]}, label{"go_version", f.values["go_version"]},
		label{"member", f.values["node_id"]}, label{"transport", f.values["multiplexing_api"]})
}
