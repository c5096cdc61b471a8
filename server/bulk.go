package server

import (
	"sync"
	"sync/atomic"

	"quipu/commands"
	"quipu/exec"
)

// Replies of commands that are under way wait in sub-batches, where the limit of a client's output does not see them yet. Both what
// one client's pipeline and what those of all clients may collect there is bounded, as far as that can be told before the commands
// run: by the largest value that there is.
const (
	bulkBudget    = exec.MaxReplyBytes / 2 // bytes of a client: half of what it may have, so that values may grow meanwhile
	bulkBudgetAll = 64 << 20               // bytes of all clients; one is served however large its replies may be
)

// bulkReplies is what the replies that are under way may come to.
type bulkReplies struct {
	bytes atomic.Int64

	waiters atomic.Int32 // at least as many as waiting has
	mu      sync.Mutex   // a leaf; guards waiting
	waiting []func()
}

// take takes n bytes of the budget. Where there are too few, it returns false, and then, which must not block, is called once
// there may be more.
func (b *bulkReplies) take(n int, then func()) bool {
	if b.tryTake(n) {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiters.Add(1) // before looking again: what is given back from here on is told
	if b.tryTake(n) {
		b.waiters.Add(-1)
		return true
	}
	b.waiting = append(b.waiting, then)
	return false
}

func (b *bulkReplies) tryTake(n int) bool {
	for {
		used := b.bytes.Load()
		if used > 0 && used+int64(n) > bulkBudgetAll {
			return false
		}
		if b.bytes.CompareAndSwap(used, used+int64(n)) {
			return true
		}
	}
}

func (b *bulkReplies) giveBack(n int) {
	if n == 0 {
		return
	}
	b.bytes.Add(int64(-n))
	if b.waiters.Load() == 0 {
		return
	}
	b.mu.Lock()
	waiting := b.waiting
	b.waiting = nil
	b.waiters.Add(int32(-len(waiting)))
	b.mu.Unlock()
	for _, then := range waiting {
		then()
	}
}

// bulkOf is how many bytes the replies to a command may have, where it may reply with values; else 0.
func (s *Session) bulkOf(cmd *commands.Command, args [][]byte) int {
	if cmd.Flags&commands.FlagBulky == 0 {
		return 0
	}
	largest := max(s.lane.replica.Keyspace.LargestValue(), 64)
	switch {
	case cmd.Group == "module": // a list of a sketch
		return min(largest, exec.MaxReplyBytes)
	case cmd.Write == nil:
		return min(largest, commands.MaxValueBytes) * max(1, len(args)-1)
	case cmd.Name == "set" && len(args) == 3: // without GET
		return 0
	}
	return min(largest, commands.MaxValueBytes)
}

// bulkOfTransaction is bulkOf for all commands of a transaction together.
func (s *Session) bulkOfTransaction(t *transaction) (n int) {
	for i := range t.queue {
		if q := &t.queue[i]; q.cmd.Flags&commands.FlagBulky != 0 {
			n += s.bulkOf(q.cmd, t.arguments(q))
		}
	}
	return n
}

// awaitBulk takes n bytes for replies of commands that are about to go under way. It returns true if the session has to wait: for
// its own commands or for those of others. The command is then read again.
func (s *Session) awaitBulk(n int) bool {
	switch {
	case n == 0:
		return false
	case s.bulk > 0 && s.bulk+n > bulkBudget:
		return s.awaitPending()
	case !s.srv.bulk.take(n, s.bulkGivenBack):
		s.waiting = waitBulk
		return true
	}
	s.bulk += n
	return false
}

// bulkGivenBack may be called from any goroutine.
func (s *Session) bulkGivenBack() { s.goOn(waitBulk) }

// goOn has the session read on if it waits for reason. It may be called from any goroutine.
func (s *Session) goOn(reason waitReason) {
	s.worker.loop.Post(func() {
		if s.waiting == reason && !s.closing {
			s.waiting = waitNothing
			s.link.Resume()
		}
	})
}
