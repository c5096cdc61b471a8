package count

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
)

func numeric(at string) (int64, error) { return strconv.ParseInt(at, 10, 64) }

// TestPosition: what String writes ParsePosition reads, and the longest fits into what Quipu stores.
func TestPosition(t *testing.T) {
	for _, text := range []string{
		"0", "7 s7", "1004000 s0 c800000", "1004000 c800000 m4000 i200000", "12 s2 c1 f2 p3 r4 m-5 i6 g-7 l8 e9",
	} {
		p, err := ParsePosition(text, numeric)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		again, err := ParsePosition(p.String(), numeric)
		if err != nil || again != p {
			t.Errorf("%q becomes %+v, and %q %+v, %v", text, p, p.String(), again, err)
		}
	}
	most := int64(math.MinInt64)
	p := Position{strings.Repeat("9", 41), most, Identity{most, most, most, most, most, most, most}, most, 1000}
	if n := len(p.String()); n > 255 {
		t.Errorf("the longest position has %d bytes", n)
	}
	if p, err := ParsePosition("500", numeric); err != nil || p.Start != 500 || p.Off(500) != 0 {
		t.Errorf("a place alone: %+v, %v", p, err)
	}
	for _, text := range []string{"", "x", "7 c", "7 cx", "7 z5", "7 c5c6"} {
		if p, err := ParsePosition(text, numeric); err == nil {
			t.Errorf("%q is taken for %+v", text, p)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("1004000 s0 c800000 m4000 i200000")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text, numeric)
		if err != nil {
			return
		}
		if again, err := ParsePosition(p.String()+" s"+strconv.FormatInt(p.Start, 10), numeric); err != nil || again != p {
			t.Errorf("%q: %+v, then %+v, %v", text, p, again, err)
		}
	})
}

// TestParkLine: a line has one end, whatever the reason says.
func TestParkLine(t *testing.T) {
	line := ParkLine("topic", Coord{A: 7}, errors.New("bad\nrecord \xff"+strings.Repeat("é", 500)))
	if strings.Count(line, "\n") != 1 || len(line) > 200 || !strings.HasPrefix(line, "7:0:0 topic bad record ?") {
		t.Errorf("%q", line)
	}
}
