// Package storage keeps what a node must not lose: the log, the vote, snapshots, and whose data it is. It knows nothing of
// what an entry means; package replication builds a Raft group on it.
//
// The libraries raft-wal and raft-boltdb write the files of log and vote. What they lack is here: they do not notice some
// damage, they do not tell a lost entry from a torn write, and they fail on a full disk. The rule of this package: a store
// returns what was stored, or an error that names the file, the place and what to do (*CorruptError, *VersionError). A
// storage error is final: the store reports it once and the node stops.
//
// Files:
//
//	logstore.go     the log: CRCs, errors           segments.go   the log's files, made ahead of use
//	tailscan.go     the unsealed end of the log     watermark.go  up to where the log was acknowledged
//	segmentlist.go  the list of the log's files     trail.go      how much log stays behind a snapshot
//	votes.go        term and vote                   boltcheck.go  damage in the file of term and vote
//	snapshots.go    the snapshot files              snapformat.go the bytes of a snapshot file
//	identity.go     whose data a directory holds    boot.go       how often the node has started
//	container.go    small files, replaced as a whole
//	diskguard.go    refusing before the disk is full
//	diskshare.go    snapshots leave the disk to the log
//	errors.go       damage, newer versions, a full disk
//	hclog.go        what the libraries log, to slog
//	sys_….go        what differs between systems
package storage
