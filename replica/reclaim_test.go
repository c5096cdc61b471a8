package replica

import (
	"fmt"
	"testing"
	"time"

	"quipu/engine"
)

func TestReclaimPace(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		removed, read int
		was, want     time.Duration
	}{
		{0, 0, 0, 0},
		{0, reclaimFree - 1, 800 * ms, 0},
		{0, 1000, 0, ReclaimEvery},
		{1000, 1000, 400 * ms, 800 * ms},
		{1000, 1000, 700 * ms, reclaimWait},
		{40_000, 1000, 800 * ms, 400 * ms},
	} {
		r := reclaimer{wait: c.was, removed: c.removed, read: c.read}
		if r.pace(); r.wait != c.want {
			t.Errorf("removed %d from %d chunks after %v: next pass after %v, expected %v", c.removed, c.read, c.was, r.wait, c.want)
		}
	}
}

// BenchmarkReclaim lets deadlines of three million keys pass, 100,000 a second, for ten seconds, and reports what that
// takes of a core and how many expired keys are left at most.
func BenchmarkReclaim(b *testing.B) {
	const keys, perSecond = 3_000_000, 100_000
	for range b.N {
		b.StopTimer()
		ks := engine.New(engine.Config{Seed: 7})
		t := ks.Txn(0, 1, true)
		for i := range keys {
			t.SetInt(fmt.Appendf(nil, "likes:post:%08d", i), 1, 1+int64(i*7919%keys/(perSecond/1000)))
		}
		b.StartTimer()
		start, removed, late := time.Now(), 0, 0
		var r reclaimer
		busy := time.Duration(0)
		for at := time.Duration(0); at < 10*time.Second; at = time.Since(start) {
			begin := time.Now()
			removed += r.proceed(ks, at.Milliseconds())
			busy += time.Since(begin)
			late = max(late, int(at.Milliseconds()*perSecond/1000)-removed)
			time.Sleep(ReclaimEvery - time.Since(begin))
		}
		b.ReportMetric(100*busy.Seconds()/time.Since(start).Seconds(), "%core")
		b.ReportMetric(float64(removed)/time.Since(start).Seconds(), "keys/s")
		b.ReportMetric(float64(late), "late-keys")
		ks.Close()
	}
}
