package server

import (
	"fmt"

	"quipu/commands"
	"quipu/protocol"
)

// memoryHandlers adds to the MEMORY of package commands what only the process knows.
func memoryHandlers() handler {
	return handler{
		entry: commands.Command{Name: "memory"},
		subs: []handler{{entry: commands.Command{Name: "stats", Arity: 2, Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
			Since: "4.0.0", Group: "server", Complexity: "O(1)", Summary: "What the server's memory is used for"}, run: memoryStats, ownWritesFirst: true}},
	}
}

// memoryFigures is where the process's memory goes, in bytes. The keyspace lies outside of the Go heap, everything else
// on it; the runtime keeps some memory beyond the heap's objects, and the program's own pages make up the rest of what
// is resident.
type memoryFigures struct {
	used     int64 // live records, index, objects on the Go heap
	dataset  int64 // live records
	index    int64
	dead     int64 // freed records that compaction has yet to give back
	mapped   int64 // of the keyspace, dead records and unused ends of chunks included
	heap     int64 // objects on the Go heap
	goSystem int64 // what the Go runtime holds from the system, its heap included
	snapshot int64 // held for a snapshot in progress
	resident int64 // as the system counts; 0 where it does not tell
	peak     int64 // of used
	startup  int64 // used when the keyspace was empty
}

func (srv *Server) memoryFigures() memoryFigures {
	m := srv.dataMemory()
	heap, system := goMemory()
	f := memoryFigures{
		used: m.Used + heap, dataset: m.LiveBytes, index: m.IndexBytes, dead: m.DeadBytes, mapped: m.Mapped,
		heap: heap, goSystem: system, snapshot: m.SnapshotBytes,
		resident: residentMemory(), startup: srv.stats.startMemory,
	}
	f.peak = max(f.used, srv.stats.peakMemory.Load())
	return f
}

func infoMemory(srv *Server, p *infoPrinter) {
	f := srv.memoryFigures()
	size := func(name string, n int64) {
		p.line(name, n)
		p.line(name+"_human", humanBytes(n))
	}
	size("used_memory", f.used)
	size("used_memory_rss", f.resident)
	size("used_memory_peak", f.peak)
	p.line("used_memory_peak_perc", fmt.Sprintf("%.2f%%", percent(f.used, f.peak)))
	p.line("used_memory_overhead", f.used-f.dataset)
	p.line("used_memory_startup", f.startup)
	p.line("used_memory_dataset", f.dataset)
	p.line("used_memory_dataset_perc", fmt.Sprintf("%.2f%%", percent(f.dataset, f.used-f.startup)))
	allocated := f.dataset + f.index // the allocator is the keyspace's own, as in MEMORY STATS
	p.line("allocator_allocated", allocated)
	p.line("allocator_active", f.mapped)
	p.line("allocator_resident", f.mapped)
	p.line("allocator_frag_ratio", fmt.Sprintf("%.2f", ratio(f.mapped, allocated)))
	p.line("allocator_frag_bytes", f.mapped-allocated)
	p.line("allocator_rss_ratio", "1.00")
	p.line("allocator_rss_bytes", 0)
	p.line("rss_overhead_ratio", fmt.Sprintf("%.2f", ratio(f.resident, f.mapped)))
	p.line("rss_overhead_bytes", f.resident-f.mapped)
	p.zeros("number_of_cached_scripts", "number_of_functions", "number_of_libraries", "used_memory_lua", "used_memory_vm_eval",
		"used_memory_scripts_eval", "used_memory_vm_functions", "used_memory_vm_total", "used_memory_functions", "used_memory_scripts")
	for _, name := range []string{"used_memory_lua", "used_memory_vm_total", "used_memory_scripts"} {
		p.line(name+"_human", humanBytes(0))
	}
	p.line("data_mapped", f.mapped)
	p.line("data_dead_bytes", f.dead)
	p.line("data_index_bytes", f.index)
	p.line("data_snapshot_bytes", f.snapshot)
	p.line("go_heap_bytes", f.heap)
	p.line("go_sys_bytes", f.goSystem)
	size("total_system_memory", systemMemory())
	p.line("mem_clients_normal", srv.clientMemory.sum.Load())
	p.line("mem_aof_buffer", srv.queued())
	p.zeros("mem_clients_slaves", "mem_cluster_links", "mem_not_counted_for_evict", "mem_replication_backlog", "mem_total_replication_buffers",
		"active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects")
	size("maxmemory", srv.config().MaxMemory)
	p.line("maxmemory_policy", "noeviction")
	p.line("mem_fragmentation_ratio", fmt.Sprintf("%.2f", ratio(f.resident, f.used)))
	p.line("mem_fragmentation_bytes", f.resident-f.used)
	p.line("mem_allocator", "mmap")
	p.line("outstanding_write_bytes", srv.queued())
}

// memoryStats answers MEMORY STATS with Redis's names, see https://redis.io/commands/memory-stats. The allocator's
// figures are the keyspace's own: allocated is what its records and index need, active what it has mapped for them.
func memoryStats(s *Session, _ [][]byte, w *protocol.Writer) {
	srv := s.srv
	f := srv.memoryFigures()
	var used []int // databases with keys
	var keys int64
	for db := range srv.config().Databases {
		if n := srv.dbStats(db).Keys; n > 0 {
			used, keys = append(used, db), keys+n
		}
	}
	var perKey int64
	if keys > 0 {
		perKey = (f.used - f.startup) / keys
	}
	w.Map(27 + len(used))
	integer := func(name string, n int64) { w.BulkString(name); w.Int(n) }
	double := func(name string, x float64) { w.BulkString(name); w.Double(x) }
	integer("peak.allocated", f.peak)
	integer("total.allocated", f.used)
	integer("startup.allocated", f.startup)
	integer("replication.backlog", 0)
	integer("clients.slaves", 0)
	integer("clients.normal", srv.clientMemory.sum.Load())
	integer("cluster.links", 0)
	integer("aof.buffer", srv.queued())
	integer("lua.caches", 0)
	integer("functions.caches", 0)
	for _, db := range used {
		// The index of a part is shared memory of all its databases, so each gets its keys' share.
		w.BulkString(fmt.Sprintf("db.%d", db))
		w.Map(3)
		integer("overhead.hashtable.main", int64(float64(f.index)*float64(srv.dbStats(db).Keys)/float64(keys)))
		integer("overhead.hashtable.expires", 0)
		integer("overhead.hashtable.slot-to-keys", 0)
	}
	integer("overhead.total", f.used-f.dataset)
	integer("keys.count", keys)
	integer("keys.bytes-per-key", perKey)
	integer("dataset.bytes", f.dataset)
	double("dataset.percentage", percent(f.dataset, f.used-f.startup))
	double("peak.percentage", percent(f.used, f.peak))
	allocated := f.dataset + f.index
	integer("allocator.allocated", allocated)
	integer("allocator.active", f.mapped)
	integer("allocator.resident", f.mapped)
	double("allocator-fragmentation.ratio", ratio(f.mapped, allocated))
	integer("allocator-fragmentation.bytes", f.mapped-allocated)
	double("allocator-rss.ratio", 1)
	integer("allocator-rss.bytes", 0)
	double("rss-overhead.ratio", ratio(f.resident, f.mapped))
	integer("rss-overhead.bytes", f.resident-f.mapped)
	double("fragmentation", ratio(f.resident, f.used))
	integer("fragmentation.bytes", f.resident-f.used)
}

// ratio is a/b, 1 where one of them is not known.
func ratio(a, b int64) float64 {
	if a <= 0 || b <= 0 {
		return 1
	}
	return float64(a) / float64(b)
}

// percent is a in per cent of b, at most 100.
func percent(a, b int64) float64 {
	if b <= 0 {
		return 0
	}
	return min(100, 100*float64(a)/float64(b))
}
