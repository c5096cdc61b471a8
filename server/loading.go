package server

// A follower that has been away for long is given the leader's snapshot while clients are connected to it. The snapshot
// replaces the whole keyspace, in place: a second keyspace beside it would take twice the memory. The locks of parts do not
// help, since loading changes what all parts share. So the keyspace has to be left alone meanwhile, by:
//
//   - sessions. The gate answers -LOADING, as at a start. Turns that have passed the gate already are waited for;
//   - slow reads and the reclaiming of expired keys, on goroutines of their own: they hold reading.
//
// What is executed from the log needs nothing: it is the goroutine of the log that loads.

// whileLoading runs load, which replaces the keyspace of a replica, with nobody else using it.
func (srv *Server) whileLoading(load func() error) error {
	srv.loading.Add(1)
	defer srv.loading.Add(-1)
	srv.log.Info("loading a snapshot from the leader: reads are refused until it is there")
	srv.reading.Lock()
	defer srv.reading.Unlock()
	srv.awaitTurns(nil)
	srv.watches.touchAll() // what the snapshot changes, nobody tells
	srv.tracking.invalidateAll()
	return load()
}
