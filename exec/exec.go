// Package exec executes what the log holds: the operations of entries, gathered from clients, written down, and carried
// out on a keyspace, the same on every node. What a single command does is in package commands.
//
//	SubBatch    what the clients of one event loop want in one turn           subbatch.go, fail.go
//	Batch       the sub-batches that share an entry                           batch.go, touched.go
//	format.go   the operations as bytes
//	executor    executes an entry, with or without clients that wait for it   executor.go, cursor.go
//	Runner      one command on the keyspace, under the locks it needs         runner.go, runset.go, warm.go
//	Burst       reads and increments answered ahead, without the log          burst.go, silent.go
package exec

import "quipu/engine"

// Sees says which increments that this node has answered ahead a read counts.
type Sees uint8

// What a read can see.
const (
	SeesApplied Sees = iota // none: only what the log has delivered
	SeesByKey               // those of keys that are at ack level local
	SeesAhead               // all of them
)

func (s Sees) view(v engine.View) engine.View {
	if s == SeesApplied {
		return v
	}
	return v.WithAhead(s == SeesAhead)
}

// As says for whom, and how, a command is executed.
type As struct {
	DB     int
	RESP   int  // 2 or 3
	Silent bool // no reply wanted
	Sees   Sees // for a read; of an increment, SeesAhead has its reply count what is answered ahead
}
