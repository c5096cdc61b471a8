package server

import (
	"fmt"
	"strings"
	"time"

	"quipu/commands"
	"quipu/protocol"
)

// nodeHandlers are the commands about the node as a whole.
func nodeHandlers() []handler {
	perKey := "O(N) for N keys in all databases"
	return []handler{
		{entry: commands.Command{Name: "info", Arity: -1, Flags: commands.FlagLoading | commands.FlagStale, Categories: commands.CatDangerous,
			Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}, Since: "1.0.0", Group: "server",
			Complexity: "O(1)", Syntax: "[section:string [section:string ...]]", Summary: "Facts and statistics about the server"}, run: infoCommand, ownWritesFirst: true},
		{entry: commands.Command{Name: "monitor", Arity: 1, Flags: flagsAdmin, Since: "1.0.0", Group: "server", Summary: "Watch the commands of all clients of the node"},
			flow: monitorCommand, run: monitorInExec},
		{entry: commands.Command{Name: "time", Arity: 1, Flags: commands.FlagLoading | commands.FlagStale | commands.FlagFast,
			Tips: []string{"nondeterministic_output"}, Since: "2.6.0", Group: "server", Complexity: "O(1)", Summary: "The server's time"}, run: timeCommand},
		{entry: commands.Command{Name: "wait", Arity: 3, Flags: commands.FlagNoScript, Categories: commands.CatConnection,
			Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}, Since: "3.0.0", Group: "generic", Complexity: "O(1)",
			Syntax: "numreplicas:integer timeout:integer", Summary: "Wait until replicas have this connection's writes"}, run: waitInTransaction, flow: waitCommand, ownWritesFirst: true},
		{entry: commands.Command{Name: "waitaof", Own: true, Arity: 4, Flags: commands.FlagNoScript, Categories: commands.CatConnection,
			Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}, Since: "7.2.0", Group: "generic", Complexity: "O(1)",
			Syntax: "numlocal:integer numreplicas:integer timeout:integer", Summary: "Wait until this connection's writes are on disk"}, run: waitAOFInTransaction, flow: waitAOFCommand, ownWritesFirst: true},
		{entry: commands.Command{Name: "save", Arity: 1, Flags: commands.FlagAdmin | commands.FlagNoScript | commands.FlagNoAsyncLoading | commands.FlagNoMulti,
			Since: "1.0.0", Group: "server", Complexity: perKey, Summary: "Write a snapshot and wait for it"}, flow: saveCommand},
		{entry: commands.Command{Name: "bgsave", Arity: -1, Flags: commands.FlagAdmin | commands.FlagNoScript | commands.FlagNoAsyncLoading,
			Since: "1.0.0", Group: "server", Complexity: "O(1)", Syntax: "[SCHEDULE@3.2.2]", Summary: "Write a snapshot in the background"}, run: backgroundSnapshot("Background saving started", protocol.ErrSaving)},
		{entry: commands.Command{Name: "bgrewriteaof", Arity: 1, Flags: commands.FlagAdmin | commands.FlagNoScript | commands.FlagNoAsyncLoading,
			Since: "1.0.0", Group: "server", Complexity: "O(1)", Summary: "Write a snapshot in the background, after which the log can be shortened"},
			run: backgroundSnapshot("Background append only file rewriting started", protocol.ErrRewriting)},
		{entry: commands.Command{Name: "lastsave", Arity: 1, Flags: commands.FlagLoading | commands.FlagStale | commands.FlagFast,
			Categories: commands.CatAdmin | commands.CatDangerous, Tips: []string{"nondeterministic_output"}, Since: "1.0.0", Group: "server",
			Complexity: "O(1)", Summary: "Time of the last snapshot"}, run: lastsaveCommand},
		{entry: commands.Command{Name: "shutdown", Arity: -1, Flags: flagsAdmin | commands.FlagNoMulti | commands.FlagAllowBusy, Since: "1.0.0", Group: "server",
			Complexity: "O(N) for a snapshot of N keys",
			Syntax:     "[nosave_save=NOSAVE|SAVE] [NOW@7.0.0] [FORCE@7.0.0] [ABORT@7.0.0]", Summary: "Stop the server gracefully"}, run: shutdownCommand},
		{entry: commands.Command{Name: "debug", Arity: -2, Flags: flagsAdmin, Since: "1.0.0", Group: "server", Complexity: "That of the subcommand",
			System: true, Syntax: "<CHECK | CHECKSUM | JUMP-CLOCK>", Summary: "Checks for developers and operators"}, run: debugCommand, ownWritesFirst: true},
	}
}

func timeCommand(_ *Session, _ [][]byte, w *protocol.Writer) {
	now := time.Now()
	w.Array(2)
	w.BulkString(itoa(now.Unix()))
	w.BulkString(itoa(int64(now.Nanosecond() / 1000)))
}

func saveCommand(s *Session, _ [][]byte) bool {
	if s.awaitPending() {
		return false
	}
	s.runTask(s.srv.snapshot)
	return true
}

// runTask runs work on another goroutine, for which the session waits and its loop does not. The reply is OK, or the error.
func (s *Session) runTask(work func() error) {
	reply := s.replyLater(waitTask)
	cmd, args := s.last, copyArgs(s.args)
	s.srv.tasks.run(func() {
		start := s.srv.meter.Clock()
		err := work()
		s.srv.tookTask(s, cmd, args, start)
		s.worker.loop.Post(func() {
			reply(func(w *protocol.Writer) {
				if err != nil {
					w.Error("ERR " + err.Error())
					return
				}
				w.OK()
			})
		})
	})
}

// backgroundSnapshot is BGSAVE, and BGREWRITEAOF: a snapshot is what shortens the log.
func backgroundSnapshot(started, busy string) func(s *Session, _ [][]byte, w *protocol.Writer) {
	return func(s *Session, args [][]byte, w *protocol.Writer) {
		if len(args) > 2 || len(args) == 2 && commands.LowerWord(args[1]) != "schedule" {
			w.Error(protocol.ErrSyntax)
			return
		}
		if s.srv.replicas[0].Group.Status().SnapshotRunning || !s.srv.saving.CompareAndSwap(false, true) {
			w.Error(busy)
			return
		}
		s.srv.tasks.run(func() {
			defer s.srv.saving.Store(false)
			if err := s.srv.snapshot(); err != nil {
				s.srv.log.Error("snapshot failed", "error", err)
			}
		})
		w.Simple(started)
	}
}

func lastsaveCommand(s *Session, _ [][]byte, w *protocol.Writer) {
	at := s.srv.replicas[0].Group.Status().SnapshotFinished
	if at.IsZero() {
		at = s.srv.started
	}
	w.Int(at.Unix())
}

// shutdownCommand asks the process to stop as SIGTERM does. There is no stopping without saving: what was
// acknowledged is on disk anyhow.
func shutdownCommand(s *Session, args [][]byte, w *protocol.Writer) {
	given := map[string]bool{}
	for _, arg := range args[1:] {
		option := commands.LowerWord(arg)
		switch option {
		case "save", "nosave", "now", "force", "abort":
			given[option] = true
		default:
			w.Error(protocol.ErrSyntax)
			return
		}
	}
	switch {
	case given["save"] && given["nosave"] || given["abort"] && len(given) > 1:
		w.Error(protocol.ErrSyntax)
		return
	case given["abort"]: // a stop does not wait for replicas, so there is none that could still be called off
		w.Error(protocol.ErrNoShutdown)
		return
	}
	s.Close("shutdown")
	s.srv.stopOnce.Do(func() { close(s.srv.stopping) })
}

func debugCommand(s *Session, args [][]byte, w *protocol.Writer) {
	if !s.srv.config().DebugCommand || !s.trusts {
		w.Error(protocol.ErrDebugNotAllowed)
		return
	}
	switch strings.ToLower(string(args[1])) {
	case "check":
		for _, r := range s.srv.replicas {
			if err := r.Keyspace.Check(); err != nil {
				w.Error("ERR " + err.Error())
				return
			}
		}
		w.OK()
	case "checksum":
		var sum uint64
		for _, r := range s.srv.replicas {
			sum += r.Keyspace.Checksum(r.Stamp())
		}
		w.Simple(fmt.Sprintf("%016x", sum))
	case "jump-clock":
		for _, r := range s.srv.replicas {
			r.Clock.AcceptJump()
		}
		w.OK()
	default:
		w.Error(protocol.ErrSubcommandSyntax(args[1], "debug"))
	}
}
