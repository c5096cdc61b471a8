package pulsar

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"quipu/connect/count"
	"quipu/connect/quipu"
)

// TestWithBroker has what needs a broker, which takes 10 s to start.
func TestWithBroker(t *testing.T) {
	b := newBed(t)
	t.Run("counts", func(t *testing.T) { testCounts(t, b) })
	t.Run("at once", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *bed){
			"latest": testLatest, "gap": testGap, "ledger": testGapBeforeLedger, "believed": testBelieved, "accepted": testAccepted,
			"recreated": testRecreated, "others": testOthers, "again": testFetch, "added": testAdded, "kept": testKept, "mark": testMark, "moved": testMoved,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, b)
			})
		}
	})
	t.Run("chaos", func(t *testing.T) { testChaos(t, b) })
}

// testCounts counts, is stopped, and goes on: with batches and without, with partitions and without.
func testCounts(t *testing.T, b *bed) {
	for _, partitions := range []int{0, 2} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			p := b.newTopic(t, partitions)
			p.send(t, -1, 1000, true)
			p.send(t, -1, 100, false)
			c := p.connect(t, usual.patience, nil)
			p.exact(t)
			p.send(t, -1, 500, true)
			p.exact(t)
			for i := range p.parts {
				s := c.state(i, count.Counting)
				eventually(t, func() error {
					if s = c.snapshot(i); s.End == 0 || s.Lag() != 0 || s.Off() != 0 {
						return fmt.Errorf("%+v", s)
					}
					return nil
				})
				eventually(t, func() error { // the last entry is not acknowledged
					if n := p.backlog(t, i); n > 1 {
						return fmt.Errorf("the backlog is %d", n)
					}
					return nil
				})
			}
			c.stop()
			before := p.counts(t)
			p.send(t, -1, 300, true)
			if fmt.Sprint(p.counts(t)) != fmt.Sprint(before) {
				t.Error("a connector that was stopped counts")
			}
			c = p.connect(t, usual.patience, nil)
			p.exact(t)
			c.stop()
			noGoroutines(t)
		})
	}
}

// noGoroutines checks that nothing of a connector runs any more. The client of the test itself does.
func noGoroutines(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		text := make([]byte, 1<<20)
		for g := range strings.SplitSeq(string(text[:runtime.Stack(text, true)]), "\n\n") {
			if strings.Contains(g, "quipu/connect/pulsar.(*") && !strings.Contains(g, "testing.tRunner") || strings.Contains(g, "partitionConsumer") {
				return fmt.Errorf("still runs: %s", g)
			}
		}
		return nil
	})
}

// testLatest begins behind what is there.
func testLatest(t *testing.T, b *bed) {
	p := b.newTopic(t, 2, "start latest")
	p.send(t, 0, 100, true)
	clear(p.want)
	c := p.connect(t, usual.patience, nil)
	c.state(0, count.Counting)
	c.state(1, count.Counting)
	p.send(t, 0, 40, true)
	p.send(t, 1, 40, true)
	p.exact(t)
}

// testGap has a consumer leave out an entry, once: nothing is lost.
func testGap(t *testing.T, b *bed) {
	p := b.newTopic(t, 0)
	p.send(t, -1, 70, true) // 10 entries
	opened := 0
	c := p.connect(t, time.Second, func(l *link) *link {
		if opened++; opened != 2 { // the first one seeks only
			return l
		}
		return drop(l, func(m spot) bool { return m.entry == 4 })
	})
	s := c.state(0, count.Missing)
	if s.Position.Counted > 28 {
		t.Errorf("%d are counted with the fifth entry missing", s.Position.Counted)
	}
	if !strings.Contains(s.Reason, ":5:0") {
		t.Errorf("the reason is %q", s.Reason)
	}
	p.exact(t)
	if s := c.state(0, count.Counting); s.Position.Lost != 0 {
		t.Errorf("%d are lost", s.Position.Lost)
	}
}

// testGapBeforeLedger has a consumer leave out the end of a ledger: the first entry of the next one looks right.
func testGapBeforeLedger(t *testing.T, b *bed) {
	p := b.newTopic(t, 0)
	p.send(t, -1, 70, true)
	p.unload(t, 0)
	p.send(t, -1, 70, true)
	opened := 0
	var first int64
	c := p.connect(t, time.Second, func(l *link) *link {
		if opened++; opened != 2 {
			return l
		}
		return drop(l, func(m spot) bool {
			if first == 0 {
				first = m.ledger
			}
			return m.ledger == first && m.entry >= 7
		})
	})
	s := c.state(0, count.Missing)
	if s.Position.Counted > 49 || !strings.Contains(s.Reason, "though the topic has") {
		t.Errorf("%d are counted: %s", s.Position.Counted, s.Reason)
	}
	p.exact(t)
	if s := c.state(0, count.Counting); s.Position.Lost != 0 {
		t.Errorf("%d are lost", s.Position.Lost)
	}
}

// testBelieved has all consumers leave out the same: the partition stops.
func testBelieved(t *testing.T, b *bed) {
	p := b.newTopic(t, 0)
	p.send(t, -1, 70, true)
	c := p.connect(t, time.Second, func(l *link) *link {
		return drop(l, func(m spot) bool { return m.entry == 4 && m.index > 2 })
	})
	s := c.state(0, count.Gap)
	if s.Position.Counted != 31 || !strings.Contains(s.Reason, "accept") {
		t.Errorf("%d are counted: %s", s.Position.Counted, s.Reason)
	}
	time.Sleep(1500 * time.Millisecond)
	if n := c.state(0, count.Gap).Position.Counted; n != 31 {
		t.Errorf("%d are counted", n)
	}
}

// testAccepted has a gap that is in what the broker hands out: the client refuses an entry without content. on-gap accept, and the
// command accept, go on behind it.
func testAccepted(t *testing.T, b *bed) {
	for _, setting := range []string{"on-gap accept", "on-gap stop"} {
		t.Run(strings.TrimPrefix(setting, "on-gap "), func(t *testing.T) {
			p := b.newTopic(t, 0, setting)
			p.send(t, -1, 10, false)
			p.sendValues(t, -1, false, []byte{}, []byte{})
			p.send(t, -1, 10, false)
			c := p.connect(t, time.Second, nil)
			if setting == "on-gap stop" {
				s := c.state(0, count.Gap)
				if s.Position.Counted != 10 {
					t.Errorf("%d are counted: %s", s.Position.Counted, s.Reason)
				}
				if what := p.accept(t, 0); !strings.Contains(what, "2 records that are gone") {
					t.Errorf("accept: %s", what)
				}
			}
			p.exact(t)
			if s := c.state(0, count.Counting); s.Position.Lost != 2 || s.Off() != 0 {
				t.Errorf("%+v", s.Position)
			}
		})
	}
}

// accept does what the command accept does with a partition.
func (p *topic) accept(t *testing.T, number int) string {
	t.Helper()
	job := p.job(t).job
	defer job.Quipu.Close()
	name := fmt.Sprintf("%s/%d", p.name, number)
	incarnation, text := p.stored(t, number)
	at := quipu.Stored{Name: name, Incarnation: incarnation, Position: text}
	list, err := Kind.Look(t.Context(), job, map[string]quipu.Stored{name: at})
	if err != nil {
		t.Fatal(err)
	}
	to, what, err := count.Accepted(Kind, at, list[number])
	if err != nil {
		t.Fatal(err)
	}
	if what != "" {
		if err := p.redis.Do(t.Context(), "INGEST", "SET", name, list[number].Incarnation, to.String()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return what
}

// testRecreated deletes topics and creates them again: while they are counted, and while they are not.
func testRecreated(t *testing.T, b *bed) {
	for _, running := range []bool{true, false} {
		t.Run(map[bool]string{true: "running", false: "stopped"}[running], func(t *testing.T) {
			p := b.newTopic(t, 2)
			p.send(t, 0, 70, true)
			p.send(t, 1, 10, false)
			c := p.connect(t, usual.patience, nil)
			p.exact(t)
			if what := p.accept(t, 0); what != "" {
				t.Errorf("accept: %s", what)
			}
			if !running {
				c.stop()
			}
			b.broker.DeleteTopic(t, p.name, 2)
			if running {
				c.state(0, count.NoTopic)
			}
			b.broker.CreateTopic(t, p.name, 2)
			if !running {
				p.send(t, 0, 30, true) // less than there was
				c = p.connect(t, usual.patience, nil)
			}
			c.state(0, count.NewIncarnation)
			c.state(1, count.NewIncarnation)
			if running {
				p.send(t, 0, 30, true)
			}
			for i := range 2 {
				if what := p.accept(t, i); !strings.Contains(what, "counts the new one") {
					t.Errorf("accept: %q", what)
				}
			}
			p.send(t, 1, 10, true)
			p.exact(t)
			if s := c.state(0, count.Counting); s.Position.Counted != 30 {
				t.Errorf("%+v", s.Position)
			}
		})
	}
}

// testOthers has two connectors count, and stops one: the other one goes on at once.
func testOthers(t *testing.T, b *bed) {
	p := b.newTopic(t, 2)
	c := p.connect(t, usual.patience, nil)
	c.state(0, count.Counting)
	c.state(1, count.Counting)
	other := p.connect(t, usual.patience, nil)
	p.send(t, -1, 100, true)
	p.exact(t)
	if s := other.snapshot(0); s.State != "" {
		t.Errorf("the other one has partition 0, too: %+v", s)
	}
	c.stop()
	other.state(0, count.Counting)
	other.state(1, count.Counting)
	p.send(t, -1, 100, true)
	p.exact(t)
}

// testFetch sets bad records aside, and reads them again.
func testFetch(t *testing.T, b *bed) {
	p := b.newTopic(t, 0, "on-bad-record park dead:testwithbroker-at-once-again")
	values := make([][]byte, 0, 60)
	for i := range 60 {
		if values = append(values, []byte(`{"k":"a"}`)); i%9 == 6 {
			values[i] = fmt.Appendf(nil, "bad %d", i)
		}
	}
	p.sendValues(t, -1, true, values...)
	p.sendValues(t, -1, false, []byte("bad alone"))
	p.connect(t, usual.patience, nil)
	p.exact(t)
	var text string
	eventually(t, func() (err error) {
		text, err = p.redis.Get(t.Context(), "dead:"+p.name+"/0").Result()
		if err == nil && strings.Count(text, "\n") != 7 {
			err = fmt.Errorf("set aside: %q", text)
		}
		return err
	})
	var at []count.Coord
	for line := range strings.Lines(text) {
		var c count.Coord
		if _, err := fmt.Sscanf(line, "%d:%d:%d ", &c.A, &c.B, &c.C); err != nil {
			t.Fatal(err)
		}
		at = append(at, c)
	}
	gone := count.Coord{A: at[0].A + 1000, B: 5}
	var got []string
	job := p.job(t).job
	err := Kind.Fetch(t.Context(), job, p.name+"/0", append(at, gone), func(r count.Record) { got = append(got, string(r.Value)) })
	if want := "[bad 6 bad 15 bad 24 bad 33 bad 42 bad 51 bad alone]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v", got, err)
	}
}

// testAdded adds partitions to a topic.
func testAdded(t *testing.T, b *bed) {
	p := b.newTopic(t, 1, "start latest")
	c := p.connect(t, usual.patience, nil)
	c.state(0, count.Counting)
	b.admin(t, http.MethodPost, p.name+"/partitions", "3")
	p.parts = 3
	for i := range 3 {
		p.send(t, i, 20, true)
	}
	p.exact(t)
}

// testKept lets the broker delete what is acknowledged: the record that was counted last stays.
func testKept(t *testing.T, b *bed) {
	p := b.newTopic(t, 0)
	b.admin(t, http.MethodPost, p.name+"/retention", `{"retentionTimeInMinutes":0,"retentionSizeInMB":0}`)
	p.send(t, -1, 70, true)
	c := p.connect(t, usual.patience, nil)
	p.exact(t)
	eventually(t, func() error {
		if n := p.backlog(t, 0); n != 1 {
			return fmt.Errorf("the backlog is %d", n)
		}
		return nil
	})
	for range 2 {
		p.unload(t, 0) // afterwards there is another ledger
		time.Sleep(200 * time.Millisecond)
	}
	c.stop()
	c = p.connect(t, usual.patience, nil)
	c.state(0, count.Counting)
	p.send(t, -1, 70, true)
	p.exact(t)
	if s := c.state(0, count.Counting); s.Position.Lost != 0 {
		t.Errorf("%+v", s.Position)
	}
}

// testMark counts on in a cluster that was set up anew, and has another record where the one is that was counted last.
func testMark(t *testing.T, b *bed) {
	p := b.newTopic(t, 0)
	p.send(t, -1, 70, true)
	c := p.connect(t, usual.patience, nil)
	p.exact(t)
	c.stop()
	_, text := p.stored(t, 0)
	position, err := parsePosition(text)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := parse(position.At)
	at.mark++
	position.At = at.String()
	if err := p.redis.Do(t.Context(), "INGEST", "SET", p.name+"/0", "of another cluster", position.String()).Err(); err != nil {
		t.Fatal(err)
	}
	c = p.connect(t, usual.patience, nil)
	c.state(0, count.NewIncarnation)
	if what := p.accept(t, 0); !strings.Contains(what, "counts the new one") {
		t.Errorf("accept: %q", what)
	}
	for key := range p.want {
		p.want[key] *= 2
	}
	p.exact(t)
}

// testMoved moves a partition back while it is counted, as another connector would forward: it goes on from there.
func testMoved(t *testing.T, b *bed) {
	p := b.newTopic(t, 0)
	p.send(t, -1, 70, true)
	c := p.connect(t, usual.patience, nil)
	p.exact(t)
	incarnation, _ := p.stored(t, 0)
	if err := p.redis.Do(t.Context(), "INGEST", "SET", p.name+"/0", incarnation, beginning.String()).Err(); err != nil {
		t.Fatal(err)
	}
	for key := range p.want {
		p.want[key] *= 2
	}
	p.send(t, -1, 70, true)
	p.exact(t)
	if s := c.state(0, count.Counting); s.Position.Counted != 140 {
		t.Errorf("%+v", s.Position)
	}
}

// admin is a request about a topic to the broker.
func (b *bed) admin(t *testing.T, method, path, body string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, b.broker.Admin+"/admin/v2/persistent/public/default/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s, %s, %v", method, path, res.Status, text, err)
	}
	return string(text)
}

// partition is the name of a partition.
func (p *topic) partition(number int) string {
	if p.whole {
		return p.name
	}
	return fmt.Sprintf("%s-partition-%d", p.name, number)
}

// unload has the broker open a partition anew, with another ledger.
func (p *topic) unload(t *testing.T, number int) {
	t.Helper()
	p.admin(t, http.MethodPut, p.partition(number)+"/unload", "")
}

// backlog is how many entries of a partition are not acknowledged.
func (p *topic) backlog(t *testing.T, number int) int64 {
	t.Helper()
	var stats struct {
		Subscriptions map[string]struct {
			MsgBacklog int64 `json:"msgBacklog"`
		}
	}
	text := p.admin(t, http.MethodGet, p.partition(number)+"/stats?getPreciseBacklog=true", "")
	if err := json.Unmarshal([]byte(text), &stats); err != nil {
		t.Fatal(err)
	}
	s, found := stats.Subscriptions["quipu-"+p.name]
	if !found {
		t.Fatalf("there is no subscription: %s", text)
	}
	return s.MsgBacklog
}
