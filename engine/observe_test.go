package engine

import (
	"fmt"
	"slices"
	"testing"
)

func (n Integer) String() string {
	if !n.OK {
		return "-"
	}
	return fmt.Sprint(n.N)
}

// TestObservers: each mutation is told once, to every observer, with what the key was and is, and why.
func TestObservers(t *testing.T) {
	ks := newTestKeyspace(t, Config{Databases: 2})
	var got, again []string
	show := func(c *Change) string {
		if c.Op == OpCreated {
			return fmt.Sprintf("created %d %s %q %d@%d", c.DB, c.Key, c.Event, c.Index, c.Stamp)
		}
		return fmt.Sprintf("%d %d %s %s %v>%v %d@%d", c.Op, c.DB, c.Key, c.Event, c.Old, c.New, c.Index, c.Stamp)
	}
	ks.Observe(func(c *Change) { got = append(got, show(c)) }, nil)
	ks.Observe(func(c *Change) { again = append(again, show(c)) }, nil)
	k := []byte("k")
	cause := &Cause{Event: "why", Index: 7}
	txn := ks.Txn(1, 10, true).For(cause)
	locked(ks, func() {
		txn.Add(k, 3)
		txn.In(Part(k)).AddRun(k, 2, 4)
		txn.SetDeadline(k, 20)
		txn.Delete([]byte("absent"))
		txn.SetDeadline([]byte("absent"), 20)
		txn.WithDB(0).MoveTo(txn, k, k, "from", "to")   // absent: nothing
		txn.MoveTo(txn.WithDB(0), k, k, "from", "to")   // with its deadline
		txn.WithDB(0).MoveTo(txn, k, k, "from", "back") // and back
		cause.Index = 8
		ks.Txn(1, 20, true).For(cause).Delete(k) // expired: reclaimed, not deleted
		txn = ks.Txn(1, 30, true).For(cause)
		txn.Set(k, []byte("x"), 0)
		c := txn.Edit(k, 2)
		copy(c.Bytes, "12")
		txn.Changed(k, c)
		txn.Announce(k, OpDeadline)
		c, _ = txn.Content(k)
		c.Touch(0, 1)
		c.Bytes[0] = '3'
		txn.Changed(k, c)
		txn.Add(k, 1)
		txn.Add(k, -1<<63) // fits
		txn.Add(k, -1<<63) // an error: no mutation
		txn.CopyTo(txn.WithDB(0), k, []byte("copy"))
		txn.Delete(k)
		txn.SetInt(k, 1, 40)
	})
	ks.Reclaim(Part(k), 39, 10)
	ks.Reclaim(Part(k), 40, 10)
	runs := []Run{{DB: 1, Key: k, Delta: 2, Count: 3}, {DB: 1, Key: k, Delta: 1, Count: 1}}
	if ks.AddRuns(runs, 41, cause) != 2 || runs[1].Before != 6 {
		t.Errorf("AddRuns: %+v", runs)
	}
	txn.FlushDB()
	want := []string{
		"1 1 k why ->3 7@10", "1 1 k why 3>11 7@10", "4 1 k why 11>11 7@10",
		`created 0 k "" 7@10`, "3 1 k from 11>- 7@10", "2 0 k to ->11 7@10", `created 1 k "" 7@10`, "3 0 k from 11>- 7@10", "2 1 k back ->11 7@10",
		"5 1 k expired 11>- 8@20",
		"2 1 k why ->- 8@30", "2 1 k why ->12 8@30", "4 1 k why 12>12 8@30", "2 1 k why 12>32 8@30",
		"1 1 k why 32>33 8@30", "1 1 k why 33>-9223372036854775775 8@30",
		"2 0 copy why ->-9223372036854775775 8@30", "3 1 k why -9223372036854775775>- 8@30", "2 1 k why ->1 8@30",
		"5 1 k expired 1>- 0@40",
		"1 1 k why ->6 8@41", "1 1 k why 6>7 8@41",
		"6 1  why ->- 8@30",
	}
	if !slices.Equal(got, want) {
		t.Errorf("told\n%q, want\n%q", got, want)
	}
	if !slices.Equal(got, again) {
		t.Error("the second observer was told something else")
	}
}

// TestObserversDoNotAllocate: telling is free of garbage, and so is not telling.
func TestObserversDoNotAllocate(t *testing.T) {
	for _, observed := range []bool{false, true} {
		ks := newTestKeyspace(t, Config{Databases: 1})
		told := int64(0)
		if observed {
			ks.Observe(func(c *Change) { told += c.New.N }, nil)
		}
		cause := &Cause{Event: "incrby", Index: 1}
		k := []byte("k")
		locked(ks, func() {
			n := testing.AllocsPerRun(100, func() {
				txn := ks.Txn(0, 1, true).For(cause)
				txn.Add(k, 1)
				txn.Set(k, []byte("5"), 0)
			})
			if n != 0 || observed != (told != 0) {
				t.Errorf("observed %v: %v allocations, told %d", observed, n, told)
			}
		})
	}
}
