package engine

// DBStats describes one database.
type DBStats struct {
	Keys    int64 // records not yet reclaimed
	Expires int64 // those with a deadline
	AvgTTL  int64 // their average remaining time in milliseconds (an estimate), 0 if none
}

// Stats returns figures of a database. It takes no locks.
func (ks *Keyspace) Stats(db int) DBStats {
	var s DBStats
	sum := int64(0)
	for p := range Parts {
		if sh := ks.shard(p, db); sh != nil {
			s.Keys += sh.keys.Load()
			s.Expires += sh.expires.Load()
			sum += sh.deadline.Load()
		}
	}
	if s.Expires > 0 {
		s.AvgTTL = max(0, sum/s.Expires<<10-ks.clock.Load())
	}
	return s
}

// Sources is the number of sources, each of which has one position, and Producers that of producers. They take no locks.
func (ks *Keyspace) Sources() int64 { return ks.sources.Load() }

// Producers is described at Sources.
func (ks *Keyspace) Producers() int64 { return ks.producers.Load() }

// MemoryStats are sizes in bytes. Sums of live and dead bytes may lag by 4 KiB
// for each part of each database in use.
type MemoryStats struct {
	Used       int64 // live records, index and fixed structures: what the keys need
	Mapped     int64 // memory held from the system for keys; at most this much is resident
	ArenaBytes int64 // chunks that hold records
	LiveBytes  int64 // records in them
	DeadBytes  int64 // freed records in them
	IndexBytes int64
	// SnapshotBytes is what a snapshot in progress holds on top.
	SnapshotBytes int64
}

// Plus returns the sums of two keyspaces.
func (m MemoryStats) Plus(o MemoryStats) MemoryStats {
	return MemoryStats{
		m.Used + o.Used, m.Mapped + o.Mapped, m.ArenaBytes + o.ArenaBytes, m.LiveBytes + o.LiveBytes, m.DeadBytes + o.DeadBytes,
		m.IndexBytes + o.IndexBytes, m.SnapshotBytes + o.SnapshotBytes,
	}
}

// fixedBytes is a rough size of an empty keyspace's own structures.
const fixedBytes = 1 << 18

// Memory returns how much memory the keyspace takes. It takes no locks.
func (ks *Keyspace) Memory() MemoryStats {
	m := MemoryStats{
		Mapped:     ks.pages.out.Load(),
		ArenaBytes: ks.arenaBytes.Load() + ks.wideBytes.Load(),
		LiveBytes:  ks.liveBytes.Load(),
		DeadBytes:  ks.deadBytes.Load(),
		IndexBytes: ks.slabs.bytes.Load(),
	}
	m.Used = m.LiveBytes + m.IndexBytes + fixedBytes
	if s := ks.snapshot.Load(); s != nil {
		m.SnapshotBytes = s.held.Load()
	}
	return m
}
