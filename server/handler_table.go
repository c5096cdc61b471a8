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

	control        bool // runs at once though a transaction is being queued
	ownWritesFirst bool // its reply depends on the data: the client's earlier writes come first
	subs           []handler
}

// Commands is the table of all commands of a node, for tests and documentation.
func Commands() *commands.Table {
	table, _ := buildTable()
	return table
}

// buildTable joins the families of package commands with the handlers, which it returns by Command.ID; commands that
// have none get a zero handler.
func buildTable() (*commands.Table, []handler) {
	var list []handler
	list = append(list, connectionHandlers()...)
	list = append(list, transactionHandlers()...)
	list = append(list, clientHandlers(), configHandlers(), memoryHandlers())
	list = append(list, nodeHandlers()...)
	list = append(list, clusterHandlers()...)

	entries := make([]*commands.Command, len(list))
	byName := map[string]*handler{}
	for i := range list {
		h := &list[i]
		byName[h.entry.Name] = h
		for j := range h.subs {
			sub := &h.subs[j]
			h.entry.Sub = append(h.entry.Sub, &sub.entry)
			byName[h.entry.Name+"|"+sub.entry.Name] = sub
		}
		entries[i] = &h.entry
	}
	table := commands.NewTable(entries...)
	handlers := make([]handler, len(table.All()))
	for _, cmd := range table.All() {
		if h := byName[cmd.FullName()]; h != nil {
			handlers[cmd.ID()] = *h
		}
	}
	return table, handlers
}

// Flags that many of the entries share.
const (
	flagsControl = commands.FlagNoScript | commands.FlagLoading | commands.FlagStale
	flagsAdmin   = flagsControl | commands.FlagAdmin
	flagsAnytime = flagsControl | commands.FlagFast | commands.FlagNoAuth | commands.FlagAllowBusy
)

func transactionHandlers() []handler {
	fast := flagsControl | commands.FlagFast | commands.FlagAllowBusy
	return []handler{
		{entry: commands.Command{Name: "multi", Arity: 1, Flags: fast, Categories: commands.CatTransaction, Summary: "Start a transaction",
			Since: "1.2.0", Group: "transactions", Complexity: "O(1)"}, flow: multiCommand, control: true},
		{entry: commands.Command{Name: "exec", Arity: 1, Flags: flagsControl | commands.FlagSkipSlowlog, Categories: commands.CatTransaction,
			Summary: "Run the commands queued since MULTI", Since: "1.2.0", Group: "transactions",
			Complexity: "The sum of its commands"}, flow: execCommand, control: true},
		{entry: commands.Command{Name: "discard", Arity: 1, Flags: fast, Categories: commands.CatTransaction, Summary: "Forget the commands queued since MULTI",
			Since: "2.0.0", Group: "transactions", Complexity: "O(N) for N queued commands"}, flow: discardCommand, control: true},
		{entry: commands.Command{Name: "watch", Arity: -2, Flags: fast, Categories: commands.CatTransaction,
			Keys: []commands.KeySpec{{First: 1, Last: -1, Step: 1, Flags: commands.KeyRO}}, Summary: "Make EXEC depend on keys not changing",
			Since: "2.2.0", Group: "transactions", Complexity: "O(1) for a key", Syntax: "key [key ...]"}, flow: watchCommand, control: true},
		{entry: commands.Command{Name: "unwatch", Arity: 1, Flags: fast, Categories: commands.CatTransaction, Summary: "Forget all watched keys",
			Since: "2.2.0", Group: "transactions", Complexity: "O(1)"}, run: unwatchCommand},
	}
}
