package server

import (
	"quipu/engine"
	"quipu/replication"
)

// limitNames are the values of the label limit.
var limitNames = [limits]string{
	limitConnections: "connections", limitHandshake: "tls_handshake", limitProtocol: "protocol", limitAuth: "password",
	limitOutput: "output", limitTime: "time", limitMemory: "memory",
}

// pauseNames are the values of the label reason.
var pauseNames = [pauseReasons]string{pausedByInput: "input", pausedByWrites: "outstanding", pausedByOutput: "output"}

// limits has how often clients have met limits.
func (c collecting) limits(srv *Server) {
	for kind, name := range limitNames {
		c.counter("quipu_limits_met_total", "Connections that were closed or refused, and passwords that were wrong, by the limit.", float64(srv.limits.times(limit(kind))), label{"limit", name})
	}
	for reason, name := range pauseNames {
		if name != "" {
			c.counter("quipu_clients_paused_total", "How often a client's input was left in its socket for a while.", float64(srv.stats.pauses[reason].Load()), label{"reason", name})
		}
	}
	c.gauge("quipu_feed_streams", "Clients of /feed.", float64(srv.feedStreams.Load()))
	c.gauge("quipu_feed_streams_max", "Clients of /feed that there may be.", feedStreams)
}

// node has how the node and its cluster are.
func (c collecting) node(srv *Server) {
	c.gauge("quipu_ready", "Whether /readyz says that the node serves.", float64(boolInt(srv.unready() == "")))
	st := srv.replicas[0].Group.Status()
	c.gauge("quipu_has_leader", "Whether this node knows one that leads.", float64(boolInt(st.Leader || st.LeaderID != "")))
	c.gauge("quipu_disk_full", "Whether writes are refused for want of room on disks.", float64(boolInt(st.DiskFull != nil)))
	c.gauge("quipu_doubtful", "Whether this node's state is not what that of most nodes is.", float64(boolInt(st.Doubtful)))
	c.histogram("quipu_sync_seconds", "Syncs of the log to disk.", srv.replicas[0].Group.Syncs(), 1e9)
	for i := range st.Members {
		c.member(&st, &st.Members[i])
	}
}

// member has what this node knows of a member of its cluster.
func (c collecting) member(st *replication.Status, m *replication.MemberStatus) {
	labels := []label{{"member", m.ID}, {"address", m.Address}}
	c.gauge("quipu_member_up", "Whether the node is connected to this one, or is this one.", float64(boolInt(m.Up)), labels...)
	c.gauge("quipu_member_voter", "Whether the node votes.", float64(boolInt(m.Voter)), labels...)
	if st.Leader && !m.Self {
		c.gauge("quipu_follower_lag_entries", "Entries that were committed when this node, which leads, asked the other one, and that it had not applied when it answered.",
			float64(m.Behind), labels...)
		c.gauge("quipu_follower_answered_seconds", "Since when the other node has not answered this one, which leads.", lag(m).Seconds(), labels...)
	}
}

// measured has the histograms of all replicas but the syncs.
func (c collecting) measured(srv *Server) {
	r := srv.replicas[0] // there is one, but in tests
	f := r.Figures()
	c.histogram("quipu_commit_seconds", "From the proposal of an entry of this node, which leads, until it is applied here: sync, followers, execution.", f.Commits, 1e9)
	c.histogram("quipu_forward_seconds", "From sending a batch to the node that leads until its answer that it is applied.", f.Forwards, 1e9)
	c.histogram("quipu_batch_commands", "Commands in the batches of this node that were applied, without increments answered ahead.", r.Commands(), 1)
	c.histogram("quipu_entry_bytes", "Bytes of the entries that this node has proposed.", f.Entries, 1)
}

// origins has how many there are of those that write under positions.
func (c collecting) origins(srv *Server) {
	var sources, producers int64
	for _, r := range srv.replicas {
		sources += r.Keyspace.Sources()
		producers += r.Keyspace.Producers()
	}
	c.gauge("quipu_sources", "Sources of events (INGEST), each with a position.", float64(sources))
	c.gauge("quipu_sources_max", "Sources that there may be.", engine.MaxSources)
	c.gauge("quipu_producers", "Clients that number their writes (ONCE).", float64(producers))
	c.gauge("quipu_producers_max", "Of these that there may be.", engine.MaxProducers)
}

// regions has what INFO regions says.
func (c collecting) regions(srv *Server) {
	f, ok := regionSource{srv, srv.replicas[0]}.figures()
	if !ok {
		return
	}
	c.gauge("quipu_region_info", "The region that this cluster is; always 1.", 1, label{"region", f.name()})
	c.gauge("quipu_region_incarnations", "Lives of data of all regions.", float64(len(f.Origins)))
	c.gauge("quipu_region_incarnations_lost", "Those that are lost.", float64(f.lost()))
	c.gauge("quipu_region_tombstones", "Counters that were deleted and are remembered until all regions know.", float64(f.Graves))
	c.counter("quipu_region_late_deadlines_total", "Deadlines of other regions that came when they had passed here.", float64(f.Late))
	for i := range f.links {
		c.regionLink(&f.links[i])
	}
}

// regionLink has how one other region is told. A node that does not lead has links that rest.
func (c collecting) regionLink(l *peerLag) {
	to := label{"to", l.Region}
	c.gauge("quipu_region_link_active", "Whether this node is the one that tells the other region.", float64(boolInt(l.State != "idle")), to)
	if l.State == "idle" {
		return
	}
	c.gauge("quipu_region_link_up", "Whether the other region is connected.", float64(boolInt(l.State == "connected")), to)
	if l.Known {
		c.gauge("quipu_region_link_behind", "Changes that the other region has not confirmed.", float64(l.Positions), to)
		c.gauge("quipu_region_link_keys_behind", "About how many keys these are of.", float64(l.Keys), to)
		c.gauge("quipu_region_link_age_seconds", "How long ago the oldest of these changes was made.", float64(l.age)/1000, to)
		c.gauge("quipu_region_link_parts_to_tell_whole", "Parts of whose counters it is not known what has changed.", float64(l.Full), to)
	}
	if l.Clock.Known {
		c.gauge("quipu_region_link_clock_offset_seconds", "How far the other region's log time is before this one's.", float64(l.Clock.Offset)/1000, to)
	}
	c.gauge("quipu_region_link_rtt_seconds", "How long the last answer took.", l.RTT.Seconds(), to)
	c.counter("quipu_region_link_frames_total", "Frames that were answered.", float64(l.Frames), to)
	c.counter("quipu_region_link_sketch_frames_total", "Frames of sketches among these.", float64(l.Sketches), to)
	c.counter("quipu_region_link_rows_total", "Rows in these.", float64(l.Rows), to)
	c.counter("quipu_region_link_bytes_total", "Bytes of these.", float64(l.Bytes), to)
	c.counter("quipu_region_link_whole_parts_total", "Frames of all keys of a part among these.", float64(l.Whole), to)
	c.counter("quipu_region_link_gaps_total", "Frames that did not fit and were sent again.", float64(l.Gaps), to)
	c.counter("quipu_region_link_digests_total", "Parts that were compared by digests.", float64(l.Digests), to)
	c.counter("quipu_region_link_digest_mismatches_total", "Those in which the other region had something else.", float64(l.Differ), to)
}
