package server

import (
	"context"
	"errors"
	"io"
	"time"

	"quipu/commands"
	"quipu/protocol"
	"quipu/replication"
)

// BACKUP hands the file of a snapshot out in pieces, as a reply of its size would need as much memory. `quipu backup` uses it.
// A connection has one backup at a time, whose file stays on disk until BACKUP END or the end of the connection.

// backupPiece is the most bytes that BACKUP READ replies with.
const backupPiece = 1 << 20

func backupHandler() handler {
	entry := func(flow func(s *Session, args [][]byte) bool, name string, arity int, complexity, syntax, summary string) handler {
		return handler{run: notInTransaction, flow: flow, entry: commands.Command{Name: name, Own: true, Arity: arity, Flags: commands.FlagAdmin | commands.FlagNoScript | commands.FlagNoMulti | commands.FlagAllKeys,
			Since: "0.2.0", Group: "server", Complexity: complexity, Syntax: syntax, Summary: summary}}
	}
	return handler{
		entry: commands.Command{Name: "backup", Own: true, Arity: -2, Since: "0.2.0", Group: "server", Complexity: "That of the subcommand", Summary: "Read a snapshot of everything that was answered before"},
		run:   missingSubcommand,
		subs: []handler{
			entry(backupBegin, "begin", 2, "O(N) for a snapshot of N keys", "", "Write a snapshot that has everything answered so far, and open it"),
			entry(backupRead, "read", 4, "O(1)", "offset:integer count:integer", "A piece of the open snapshot"),
			entry(backupEnd, "end", 2, "O(1)", "", "Close the open snapshot"),
		},
	}
}

// backupBegin answers with the index of the last entry in the snapshot, and the size of its file in bytes.
func backupBegin(s *Session, _ [][]byte) bool {
	if !s.barrierPassed {
		s.submissionFor(0, true).Literal(nil, s.as()) // what is in the log by then was answered before
		s.barrierPassed = true
		return !s.awaitPending()
	}
	s.barrierPassed = false
	if s.logOutcome != replication.Applied {
		s.replyError(protocol.ErrBackupLog)
		return true
	}
	g, index := s.lane.replica.Group, s.logged
	reply := s.replyLater(waitTask)
	s.srv.tasks.run(func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminLimit)
		defer cancel()
		b, err := openBackup(ctx, g, index)
		s.worker.loop.Post(func() {
			s.endBackup()
			if s.backup = b; s.closing { // it has no connection any more
				s.endBackup()
			}
			reply(func(w *protocol.Writer) {
				if err != nil {
					w.Error("ERR " + err.Error())
					return
				}
				w.Array(2)
				w.Int(int64(b.Index))
				w.Int(b.Size)
			})
		})
	})
	return true
}

// openBackup opens a snapshot that has everything up to an entry of the log; nil with an error.
func openBackup(ctx context.Context, g replication.Group, index uint64) (*replication.Backup, error) {
	if err := awaitIndex(ctx, g.AppliedIndex, index); err != nil {
		return nil, err
	}
	if err := g.Snapshot(); err != nil {
		return nil, err
	}
	return g.OpenSnapshot()
}

// awaitIndex waits until a node has applied an entry.
func awaitIndex(ctx context.Context, applied func() uint64, index uint64) error {
	for applied() < index {
		select {
		case <-ctx.Done():
			return errors.New("this node does not catch up with the leader")
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func backupRead(s *Session, args [][]byte) bool {
	offset, ok := protocol.ParseInt(args[2])
	count, ok2 := protocol.ParseInt(args[3])
	b := s.backup
	switch {
	case b == nil:
		s.replyError(protocol.ErrNoBackup)
		return true
	case !ok || !ok2 || offset < 0 || count < 1 || count > backupPiece:
		s.replyError(protocol.ErrOutOfRangeBetween(1, backupPiece))
		return true
	}
	reply := s.replyLater(waitTask)
	s.srv.tasks.run(func() {
		piece := make([]byte, count)
		n, err := b.ReadAt(piece, offset)
		s.worker.loop.Post(func() {
			reply(func(w *protocol.Writer) {
				if err != nil && !errors.Is(err, io.EOF) {
					w.Error("ERR " + err.Error())
					return
				}
				w.Bulk(piece[:n])
			})
		})
	})
	return true
}

func backupEnd(s *Session, _ [][]byte) bool {
	s.endBackup()
	s.reply(func(w *protocol.Writer) { w.OK() })
	return true
}

// endBackup closes the file of the session's backup, if there is one.
func (s *Session) endBackup() {
	if s.backup != nil {
		s.backup.Close()
		s.backup = nil
	}
}
