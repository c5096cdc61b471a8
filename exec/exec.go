// Package exec makes operations of the log from the commands of clients, and executes the operations on a keyspace, with
// the same result on every node. What a single command does is in package commands.
//
//	SubBatch      what the clients of one event loop want in one turn           subbatch.go, fail.go
//	Batch, Guard  the sub-batches that share an entry                           batch.go, touched.go
//	op, decoder   the operations as bytes                                       format.go
//	executor      executes an entry, with or without clients that wait for it   executor.go, cursor.go
//	Runner        one command on the keyspace, under the locks it needs         runner.go
//	runSet        several runs executed together                                runset.go
//	warmer        fetches what the next operations of an entry need             warm.go
//	burst         reads and increments answered ahead, without the log          burst.go, silent.go
//	Sees, As      for whom a command is executed, and what it may see           exec.go
package exec

import "quipu/engine"

// Sees says which increments that this node has answered ahead a read counts.
type Sees uint8

// What a read can see.
const (
	SeesApplied Sees = iota // none: only what is applied
	SeesByKey               // the increments of keys that are at ack level local
	SeesAhead               // all increments
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
	Sees   Sees // of a read: what it sees. Of an increment: SeesAhead if its reply counts what is answered ahead
}
