package netfault

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// hello is the beginning of what a node says, as far as a network reads it.
func hello(sender string) []byte {
	b := make([]byte, 32)
	b = append(b, 0, 0, byte(len(sender)))
	b = append(b, sender...)
	b = append(b, 1, 2, 3, 4)
	binary.LittleEndian.PutUint16(b[6:], uint16(len(b)))
	return b
}

// TestLastWords: a node that answers and closes the connection at once is heard, however late the goroutine runs that carries
// the answer.
func TestLastWords(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, len(hello("a"))))
			io.WriteString(c, "answer")
			c.Close()
		}
	}()
	n := New()
	defer n.Close()
	address, err := n.Open(0, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	for range 50 {
		busy.Go(func() {
			for range 20 {
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				c.Write(hello("a"))
				if b, err := io.ReadAll(c); string(b) != "answer" {
					t.Errorf("%q, %v", b, err)
				}
				c.Close()
			}
		})
	}
	busy.Wait()
}

// TestStall: what is stalled arrives later, and in order.
func TestStall(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.Copy(c, c)
		c.Close()
	}()
	n := New()
	defer n.Close()
	address, err := n.OpenFor(0, 1, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	const hold = 30 * time.Millisecond
	n.Stall(1, hold)
	begun := time.Now()
	for i := range byte(3) {
		c.Write([]byte{i})
	}
	b := make([]byte, 3)
	if _, err := io.ReadFull(c, b); err != nil || b[0] != 0 || b[1] != 1 || b[2] != 2 {
		t.Errorf("%v, %v", b, err)
	}
	if took := time.Since(begun); took < 2*hold {
		t.Errorf("there and back in %v", took)
	}
	c.Close()
}
