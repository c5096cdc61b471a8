package main

import (
	"testing"
	"time"

	"quipu/connect/likes/produce"
)

func like(t *testing.T, d *demo, rank int) {
	t.Helper()
	if _, err := d.Like(t.Context(), produce.Post(rank), 0); err != nil {
		t.Fatal(err)
	}
}

// says waits until the comparison says something.
func says(t *testing.T, d *demo, want string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		outcome, detail, good := d.compare(t.Context())
		if outcome == want {
			if good != (want == "Lost: nothing") {
				t.Errorf("%s, %s, is good: %v", outcome, detail, good)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it says %q, %s, and not %q", outcome, detail, want)
		}
	}
}

// TestFault: "lost: nothing" is not said where something was lost or doubled. What somebody adds to a counter behind the demo's back
// is noticed; so is a like that is counted for another post, though all sums are right.
func TestFault(t *testing.T) {
	d, _ := start(t, options{broker: "kfake"})
	like(t, d, 1)
	like(t, d, 2)
	says(t, d, "Lost: nothing")
	do(t, d, "INCR", "likes:p1")
	says(t, d, "1 too many in Quipu")
	do(t, d, "DECRBY", "likes:p1", 2)
	says(t, d, "1 missing in Quipu")
	do(t, d, "INCR", "likes:p3")
	says(t, d, "2 posts differ")
	do(t, d, "DECR", "likes:p3")
	do(t, d, "INCR", "likes:p1")
	says(t, d, "Lost: nothing")
}

func do(t *testing.T, d *demo, args ...any) {
	t.Helper()
	if _, err := d.client.Do(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 12: "12", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written as %s", n, got)
		}
	}
}
