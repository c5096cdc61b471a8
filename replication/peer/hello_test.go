package peer

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHelloRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[ -~]{0,45}`)
	rapid.Check(t, func(t *rapid.T) {
		h := Hello{
			Purpose: Purpose(rapid.IntRange(1, int(purposes)-1).Draw(t, "purpose")), Level: rapid.Uint16().Draw(t, "level"),
			Databases: rapid.Uint32().Draw(t, "databases"), Boot: rapid.Uint64().Draw(t, "boot"), WallTime: rapid.Int64().Draw(t, "time"),
		}
		for _, s := range h.strings() {
			*s = name.Draw(t, "name")
		}
		b, err := h.encode()
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(append(bytes.Clone(b), "what follows"...))
		got, err := readHello(r)
		if err != nil || got != h || r.Len() != len("what follows") {
			t.Fatalf("%+v, %v, %d bytes left", got, err, r.Len())
		}
		damaged := bytes.Clone(b)
		damaged[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := readHello(bytes.NewReader(damaged)); err == nil {
			t.Fatal("a flipped bit was not noticed")
		}
		if _, err := readHello(bytes.NewReader(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])); err == nil {
			t.Fatal("a cut was not noticed")
		}
	})
}

func TestHelloTooLong(t *testing.T) {
	h := Hello{Purpose: ForRaft, Cluster: strings.Repeat("x", 256)}
	if _, err := h.encode(); err == nil {
		t.Error("a name of 256 bytes")
	}
	h.Cluster, h.Sender = strings.Repeat("x", 255), strings.Repeat("y", 255)
	if _, err := h.encode(); err == nil {
		t.Error("names of 510 bytes")
	}
}

func FuzzReadHello(f *testing.F) {
	b, err := (&Hello{Purpose: ForRaft, Cluster: "counts", Sender: "a", Target: "b"}).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHello(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := h.encode()
		if err != nil || !bytes.HasPrefix(b, again) {
			t.Errorf("%q decodes and encodes to %q, %v", b, again, err)
		}
	})
}
