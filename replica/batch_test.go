package replica

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"quipu/commands"
	"quipu/exec"
	"quipu/replication"
)

// owner notes what it gets back.
type owner struct {
	back chan *SubBatch
}

// Complete implements Owner.
func (o *owner) Complete(s *SubBatch) { o.back <- s }

// openReplica opens a replica on a group in memory.
func openReplica(t *testing.T) *Replica {
	t.Helper()
	r, err := Open(Options{
		Table: commands.NewTable(), Databases: 1, WriteTimeout: 10 * time.Second, Log: slog.New(slog.DiscardHandler),
		Group:     replication.Config{OnFatal: func(err error) { t.Error(err) }},
		LocalKeys: func([]byte) bool { return false },
		Ahead:     func() AheadLimits { return AheadLimits{time.Hour, time.Hour, 1 << 20} },
		Open: func(_ replication.Config, sm replication.StateMachine) (replication.Group, error) {
			return replication.NewMemoryGroup(sm, nil), nil
		},
		CountError: func(string) {}, Reclaimed: func(int) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background(), true); err != nil {
			t.Error(err)
		}
		if err := r.Close(context.Background(), false); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestSubBatchesReturnToTheirOwners has sub-batches of several owners share an entry, with several clients each: every
// owner gets its own back, with the replies of its clients, and once.
func TestSubBatchesReturnToTheirOwners(t *testing.T) {
	r := openReplica(t)
	table := r.opt.Table
	owners := make([]*owner, 3)
	given := make([]*SubBatch, len(owners))
	for i := range owners {
		owners[i] = &owner{make(chan *SubBatch, 4)}
		given[i] = r.NewSubBatch(owners[i])
	}
	for round := range 3 {
		for i, s := range given {
			s.Open()
			for client := range 2 {
				s.Begin(fmt.Sprint(i, client), uint64(10*i+client))
				s.Write(table.Lookup([]byte("incrby")), [][]byte{[]byte("incrby"), []byte("k"), fmt.Appendf(nil, "%d", 1+10*i+client)}, exec.As{RESP: 2})
				s.End()
			}
			r.Submit(s)
		}
		r.Flush()
		sum := 69 * round // of 1, 2, 11, 12, 21 and 22
		for i, o := range owners {
			var s *SubBatch
			select {
			case s = <-o.back:
			case <-time.After(10 * time.Second):
				t.Fatalf("owner %d gets nothing back", i)
			}
			if s != given[i] {
				t.Fatalf("owner %d gets the sub-batch of another", i)
			}
			for client := range 2 {
				sum += 1 + 10*i + client
				sub := &s.Submissions()[client]
				if got, want := string(s.Replies(sub)), fmt.Sprintf(":%d\r\n", sum); got != want || sub.Client != fmt.Sprint(i, client) || sub.Slot != uint64(10*i+client) {
					t.Errorf("owner %d, client %v, slot %d: %q, want %q", i, sub.Client, sub.Slot, got, want)
				}
			}
		}
	}
	if err := r.batcher.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i, o := range owners {
		if len(o.back) > 0 {
			t.Errorf("owner %d got more back than it has handed over", i)
		}
	}
	if r.Entries() != 3 {
		t.Errorf("%d entries, not one a round", r.Entries())
	}
}
