package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// once executes a write of a producer as the command does, and returns the verdict and the reply.
func once(ks *Keyspace, now int64, name string, epoch, number uint64, reply string) (OnceVerdict, string) {
	t := ks.Txn(0, now, false)
	part := ProducerPart([]byte(name))
	ks.LockPart(part)
	defer ks.UnlockPart(part)
	p, found := t.Producer([]byte(name))
	v, known := p.Judge(found, epoch, number)
	if v == OnceNew {
		t.RecordOnce([]byte(name), number, Slot([]byte(reply)), []byte(reply))
		return v, reply
	}
	return v, string(known)
}

// onceModel is a producer as a map.
type onceModel struct {
	epoch, highest uint64
	replies        map[uint64]string
	order          []uint64
}

func (m *onceModel) do(number uint64, reply string) (OnceVerdict, string) {
	if m.highest >= OnceWindow && number <= m.highest-OnceWindow {
		return OnceTooOld, ""
	}
	if r, ok := m.replies[number]; ok {
		if r == "\x00" {
			return OnceUnkept, ""
		}
		return OnceKnown, r
	}
	m.highest = max(m.highest, number)
	kept := reply
	if len(reply) > MaxOnceReply {
		kept = "\x00"
	}
	m.replies[number] = kept
	m.order = append(m.order, number)
	size := 0
	var order []uint64
	for _, n := range m.order {
		if m.highest >= OnceWindow && n <= m.highest-OnceWindow {
			delete(m.replies, n)
			continue
		}
		order = append(order, n)
		if m.replies[n] != "\x00" {
			size += len(m.replies[n])
		}
	}
	m.order = order
	for _, n := range order {
		if size <= MaxOnceReplies {
			break
		}
		if m.replies[n] != "\x00" {
			size -= len(m.replies[n])
			m.replies[n] = "\x00"
		}
	}
	return OnceNew, reply
}

// TestOnce compares producers with a model: numbers in and out of order, replies short and long, lives, and a second node that
// gets the same and loads a snapshot now and then.
func TestOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	a, b := newNode(t, "a", 1), newNode(t, "b", 2)
	models := map[string]*onceModel{}
	for i := range 30_000 {
		name := fmt.Sprint("producer", rng.IntN(3))
		m := models[name]
		if m == nil || rng.IntN(2000) == 0 {
			epoch := uint64(1)
			if m != nil {
				epoch = m.epoch + 1
			}
			models[name] = &onceModel{epoch: epoch, replies: map[uint64]string{}}
			for _, ks := range []*Keyspace{a, b} {
				if got, ok := ks.Txn(0, 1, false).OpenProducer([]byte(name), 1000); !ok || got != epoch {
					t.Fatalf("epoch %d, %v, want %d", got, ok, epoch)
				}
			}
			continue
		}
		number := uint64(max(1, int(m.highest)+rng.IntN(140)-100))
		if rng.IntN(4) > 0 {
			number = m.highest + 1
		}
		reply := fmt.Sprintf(":%d\r\n", i)
		if rng.IntN(10) == 0 {
			reply = strings.Repeat("x", rng.IntN(MaxOnceReply+100))
		}
		epoch := m.epoch
		want, wantReply := OnceVerdict(0), ""
		switch rng.IntN(50) {
		case 0:
			epoch, want = epoch-1, OnceFenced
		case 1:
			epoch, want = epoch+1, OnceNoProducer
		default:
			want, wantReply = m.do(number, reply)
		}
		for _, ks := range []*Keyspace{a, b} {
			if v, got := once(ks, 1, name, epoch, number, reply); v != want || got != wantReply {
				t.Fatalf("step %d, %s %d (highest %d): %v %q, want %v %q", i, name, number, m.highest, v, got, want, wantReply)
			}
		}
		if i%3000 == 0 {
			b = loaded(t, saved(t, b), 3)
		}
	}
	if a.Checksum(1) != b.Checksum(1) {
		t.Error("nodes differ")
	}
	info, ok := a.View(0, 1, false).ProducerInfo([]byte("producer1"))
	if m := models["producer1"]; !ok || info.Epoch != m.epoch || info.Highest != m.highest || len(info.Numbers) != len(m.order) || info.Deadline != 1001 {
		t.Errorf("%+v, want %+v", info, m)
	}
}

// TestProducersExpire: a producer lives for its TTL after its last write, and what has expired makes room for others on every
// node, whether or not that node has reclaimed it.
func TestProducersExpire(t *testing.T) {
	reclaimed, not := newNode(t, "a", 1), newNode(t, "b", 1)
	for _, ks := range []*Keyspace{reclaimed, not} {
		for i := range MaxProducers {
			ttl := int64(10_000)
			if i%10 == 0 {
				ttl = 50
			}
			if _, ok := ks.Txn(0, 1, false).OpenProducer(fmt.Append(nil, "p", i), ttl); !ok {
				t.Fatal(i)
			}
		}
		if _, ok := ks.Txn(0, 1, false).OpenProducer([]byte("more"), 50); ok {
			t.Error("one more than the limit")
		}
		if epoch, ok := ks.Txn(0, 1, false).OpenProducer([]byte("p5"), 10_000); !ok || epoch != 2 {
			t.Errorf("opened again: %d, %v", epoch, ok)
		}
		if v, _ := once(ks, 40, "p10", 1, 1, ":1"); v != OnceNew {
			t.Error(v)
		}
		if v, _ := once(ks, 80, "p10", 1, 2, ":2"); v != OnceNew {
			t.Errorf("a write did not begin its TTL anew: %v", v)
		}
		if v, _ := once(ks, 80, "p20", 1, 1, ":1"); v != OnceNoProducer {
			t.Errorf("expired: %v", v)
		}
	}
	for part := range Parts {
		for more := true; more; {
			_, _, more = reclaimed.Reclaim(part, 80, 1000)
		}
	}
	for i := range MaxProducers/10 - 1 {
		for _, ks := range []*Keyspace{reclaimed, not} {
			if epoch, ok := ks.Txn(0, 80, false).OpenProducer(fmt.Append(nil, "later", i), 10_000); !ok || epoch != 1 {
				t.Fatalf("%d: %v", i, ok)
			}
		}
	}
	for _, ks := range []*Keyspace{reclaimed, not} {
		if _, ok := ks.Txn(0, 80, false).OpenProducer([]byte("more"), 50); ok {
			t.Error("one more than the limit, behind others that have expired")
		}
	}
	if reclaimed.Checksum(80) != not.Checksum(80) {
		t.Error("nodes differ")
	}
	again := loaded(t, saved(t, not), 3)
	if n := again.producers.Load(); n != MaxProducers {
		t.Errorf("%d producers after loading", n)
	}
	if again.Stats(0).Keys != 0 {
		t.Error("producers are keys")
	}
}

// BenchmarkRecordOnce is what ONCE adds to a write: judged, and recorded in a full window.
func BenchmarkRecordOnce(b *testing.B) {
	ks := newTestKeyspace(b, Config{Databases: 1, Seed: 5})
	ks.Txn(0, 1, false).OpenProducer([]byte("producer"), 1<<40)
	n := uint64(0)
	for b.Loop() {
		n++
		if v, _ := once(ks, 1, "producer", 1, n, ":1234567\r\n"); v != OnceNew {
			b.Fatal(v)
		}
	}
}
