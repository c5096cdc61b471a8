package storage

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestDiskShareLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written int64
		d := &diskShare{written: func() int64 { return written }}
		for _, c := range []struct {
			what         string
			grown        int64
			took, expect time.Duration
		}{
			{"an idle log", 0, time.Second, 0},
			{"a log in use", 1, 3 * time.Millisecond, 6 * time.Millisecond},
			{"a slow disk", 1, time.Second, diskPauseMax},
			{"a log that has come to rest", 0, time.Millisecond, 0},
		} {
			written += c.grown
			begin := time.Now()
			d.leave(c.took)
			if got := time.Since(begin); got != c.expect {
				t.Errorf("%s: paused %v after %v, expected %v", c.what, got, c.took, c.expect)
			}
		}
	})
}

func TestDiskShareShortens(t *testing.T) {
	for _, size := range []int64{0, 1, diskShorten, 3*diskShorten + 5} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		steps := 0
		d := &diskShare{written: func() int64 { steps++; return 0 }}
		if err := d.shorten(path); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if expect := int(max(0, size-1) / diskShorten); info.Size() > diskShorten || steps != expect {
			t.Errorf("%d bytes: %d left after %d steps, expected %d steps", size, info.Size(), steps, expect)
		}
	}
}
