package exec

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"quipu/commands"
	"quipu/engine"
)

// benchBatch times Add and Apply of a batch of 1600 commands; one operation is one command. add is called for the i-th.
func benchBatch(b *testing.B, add func(batch *SubBatch, table *commands.Table, i int)) {
	table := commands.NewTable()
	ks := engine.New(engine.Config{Databases: 1, Seed: 1})
	defer ks.Close()
	r, batch := NewRunner(ks, table), NewSubBatch(table)
	const size = 1600
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += size {
		batch.Begin(nil, 0)
		for i := range size {
			add(batch, table, i)
		}
		batch.End()
		if err := apply(batch, r, batch.ops, startOfLogTime); err != nil {
			b.Fatal(err)
		}
		batch.Reset()
	}
}

func benchArgs(name string, keys int) [][][]byte {
	list := make([][][]byte, keys)
	for i := range list {
		list[i] = [][]byte{[]byte(name), fmt.Appendf(nil, "counter:%d", i)}
	}
	return list
}

func BenchmarkBatchDistinctKeys(b *testing.B) {
	args := benchArgs("INCR", 1600)
	benchBatch(b, func(batch *SubBatch, t *commands.Table, i int) { batch.Write(t.ByLogID(1), args[i], As{RESP: 2}) })
}

func BenchmarkBatchOneKey(b *testing.B) {
	args := benchArgs("INCR", 1)
	benchBatch(b, func(batch *SubBatch, t *commands.Table, _ int) { batch.Write(t.ByLogID(1), args[0], As{RESP: 2}) })
}

func BenchmarkBatchReadsBehindWrites(b *testing.B) {
	writes, reads := benchArgs("INCR", 1600), benchArgs("GET", 1600)
	get := commands.NewTable().Lookup([]byte("get"))
	benchBatch(b, func(batch *SubBatch, t *commands.Table, i int) {
		if i%2 == 0 {
			batch.Write(t.ByLogID(1), writes[i], As{RESP: 2})
		} else {
			batch.Read(get, reads[i-1], As{RESP: 2})
		}
	})
}

func BenchmarkBatchTransactions(b *testing.B) {
	args := benchArgs("INCR", 1600)
	benchBatch(b, func(batch *SubBatch, t *commands.Table, i int) {
		if i%4 == 0 {
			batch.BeginTxn(4, 0, nil, As{RESP: 2})
		}
		batch.Write(t.ByLogID(1), args[i], As{RESP: 2})
		if i%4 == 3 {
			batch.EndTxn()
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	table := commands.NewTable()
	ks := engine.New(engine.Config{Databases: 1, Seed: 1})
	defer ks.Close()
	r, batch := NewRunner(ks, table), NewSubBatch(table)
	batch.Begin(nil, 0)
	args := benchArgs("INCR", 1600)
	for i := range args {
		batch.Write(table.ByLogID(1), args[i], As{RESP: 2})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += len(args) {
		if err := r.Replay(batch.ops, startOfLogTime); err != nil {
			b.Fatal(err)
		}
	}
}

// TestOneKeyIsAlwaysThere checks what lets the runner lock a single part without looking at the arguments' number.
func TestOneKeyIsAlwaysThere(t *testing.T) {
	for _, cmd := range commands.NewTable().All() {
		least := cmd.Arity
		if least < 0 {
			least = -least
		}
		if cmd.OneKey() && cmd.Keys[0].First >= least {
			t.Errorf("%s: its key is argument %d, but %d may be all", cmd.FullName(), cmd.Keys[0].First, least)
		}
		if cmd.Delta != nil && (!cmd.OneKey() || cmd.Keys[0].First != 1) {
			t.Errorf("%s: a run's key is argument 1", cmd.FullName())
		}
	}
}

// TestCrossingDatabases checks that no write but COPY and MOVE, and ONCE around them, can be given another database.
func TestCrossingDatabases(t *testing.T) {
	for _, cmd := range commands.NewTable().All() {
		if names := strings.Contains(cmd.Syntax, "DB ") || strings.Contains(cmd.Syntax, " db"); cmd.Write != nil && names != cmd.CrossesDatabases(make([][]byte, 99)) {
			t.Errorf("%s %s: does it write to another database?", cmd.FullName(), cmd.Syntax)
		}
	}
}

// BenchmarkBatchCMSIncrBy is what CMS.INCRBY of one item costs on its way through a batch: 425 ns on two busy cores of an
// AMD EPYC (Zen 4), where an INCR takes 200, and no allocation.
func BenchmarkBatchCMSIncrBy(b *testing.B) {
	items := make([][][]byte, 1600)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.05, 1, 999_999)
	for i := range items {
		items[i] = words(b, fmt.Sprintf("CMS.INCRBY sketch item:%d 1", zipf.Uint64()))
	}
	create := words(b, "CMS.INITBYDIM sketch 2000 7")
	benchBatch(b, func(batch *SubBatch, t *commands.Table, i int) {
		if i == 0 {
			batch.Write(t.Lookup(create[0]), create, As{RESP: 2})
		}
		batch.Write(t.ByLogID(52), items[i], As{RESP: 2})
	})
}

// BenchmarkDue is what a command costs that is not timed, with the clock of those that are.
func BenchmarkDue(b *testing.B) {
	ks := engine.New(engine.Config{Databases: 1, Seed: 1})
	defer ks.Close()
	r := NewRunner(ks, commands.NewTable())
	began := time.Now()
	r.TimeWith(&Meter{Clock: func() int64 { return int64(time.Since(began)) }, Took: func(Timed) {}})
	due := 0
	for range b.N {
		if r.Due(r.increment) {
			due++
		}
	}
	if due < b.N/timedEach {
		b.Fatalf("%d of %d were due", due, b.N)
	}
}

// BenchmarkClock is a reading of the clock.
func BenchmarkClock(b *testing.B) {
	began, last := time.Now(), time.Duration(0)
	for range b.N {
		last = time.Since(began)
	}
	if last < 0 {
		b.Fatal(last)
	}
}

// BenchmarkBatchSet has ordinary commands: each is an operation of its own.
func BenchmarkBatchSet(b *testing.B) {
	args := benchArgs("SET", 1600)
	for i := range args {
		args[i] = append(args[i], []byte("1234567"))
	}
	set := commands.NewTable().Lookup([]byte("set"))
	benchBatch(b, func(batch *SubBatch, _ *commands.Table, i int) { batch.Write(set, args[i], As{RESP: 2}) })
}
