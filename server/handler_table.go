package server

import (
	"quipu/commands"
	"quipu/protocol"
)

// handler is a command that belongs to the connection or to the node rather than to the keyspace: its entry, as in
// package commands, and what it does.
type handler struct {
	entry commands.Command
	// run writes exactly one reply. Inside of a transaction it runs when EXEC does.
	run func(s *Session, args [][]byte, w *protocol.Writer)
	// flow takes care of its replies itself and returns false to be called again once the session has waited.
	flow func(s *Session, args [][]byte) bool

	// write says what goes into the log for the command: a write, and its arguments; nil if it has replied. Its flow is userWrite.
	write func(s *Session, args [][]byte, w *protocol.Writer) (cmd *commands.Command, logged [][]byte)

	// slow says that run takes long with many clients: it runs on the task pool, unless in a transaction, and uses nothing of
	// the session that belongs to its loop.
	slow           bool
	control        bool // runs at once though a transaction is being queued
	ownWritesFirst bool // its reply depends on the data, or it ends messages about them: the client's earlier writes come first
	subs           []handler
}

// Flags that many of the entries share.
const (
	flagsControl = commands.FlagNoScript | commands.FlagLoading | commands.FlagStale
	flagsAdmin   = flagsControl | commands.FlagAdmin
	flagsAnytime = flagsControl | commands.FlagFast | commands.FlagNoAuth | commands.FlagAllowBusy
)
