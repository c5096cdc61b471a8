package sink

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fake is a node of Quipu with nothing but the feed, which a test brings into states that a real one is rarely in: behind another
// node, of another incarnation, without what was there.
type fake struct {
	addr string

	mu          sync.Mutex
	incarnation string
	index       int64 // of the last entry
	stamp       int64
	keys        map[string]fakeKey
	flushed     int64 // index before that of the last flush
	gap         int64 // cursors below it have fallen out
	snapshots   int   // pages given
	reads       int
}

type fakeKey struct {
	kind     string
	value    any // int64, string, nil
	deadline int64
	changed  int64
}

func newFake(t *testing.T, incarnation string) *fake {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &fake{addr: l.Addr().String(), incarnation: incarnation, keys: map[string]fakeKey{}, stamp: 1}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	}()
	return f
}

// do changes the node's state in one entry.
func (f *fake) do(change func(f *fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	f.stamp++
	change(f)
}

func (f *fake) set(key string, value int64) {
	f.do(func(f *fake) { f.keys[key] = fakeKey{"counter", value, 0, f.index} })
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		words, err := readCommand(in)
		if err != nil {
			return
		}
		f.mu.Lock()
		reply := f.answer(words)
		f.mu.Unlock()
		if _, err := io.WriteString(c, reply); err != nil {
			return
		}
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	words := make([]string, n)
	for i := range words {
		if line, err = in.ReadString('\n'); err != nil {
			return nil, err
		}
		size, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		words[i] = string(b[:size])
	}
	return words, nil
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func (f *fake) cursor(index int64) string { return fmt.Sprintf("%s:%d", f.incarnation, index) }

// answer ignores pattern, and BLOCK: the caller asks again.
func (f *fake) answer(words []string) string {
	if strings.ToUpper(words[0]) != "FEED" {
		return "-ERR unknown command\r\n"
	}
	switch words[1] {
	case "INFO":
		return "*6\r\n" + bulk("incarnation") + bulk(f.incarnation) + bulk("index") + fmt.Sprintf(":%d\r\n", f.index) + bulk("stamp") + fmt.Sprintf(":%d\r\n", f.stamp)
	case "SNAPSHOT":
		f.snapshots++
		place, _ := strconv.Atoi(words[2])
		return f.snapshot(place)
	}
	f.reads++
	incarnation, rest, _ := strings.Cut(words[2], ":")
	from, _ := strconv.ParseInt(rest, 10, 64)
	switch {
	case incarnation != f.incarnation:
		return "-INCARNATION other data\r\n"
	case from < f.gap:
		return "-GAP it has fallen out\r\n"
	case from > f.index:
		return "*3\r\n" + bulk(words[2]) + fmt.Sprintf(":%d\r\n*0\r\n", f.stamp)
	}
	var rows []string
	if f.flushed >= from && f.flushed > 0 {
		rows = append(rows, "*5\r\n$0\r\n\r\n"+bulk("flush")+fmt.Sprintf("$-1\r\n:0\r\n:%d\r\n", f.flushed))
	}
	for key, k := range f.keys {
		if k.changed > from {
			rows = append(rows, f.row(key, k))
		}
	}
	return "*3\r\n" + bulk(f.cursor(f.index)) + fmt.Sprintf(":%d\r\n*%d\r\n", f.stamp, len(rows)) + strings.Join(rows, "")
}

// snapshot gives pages of two keys, in the order of their names.
func (f *fake) snapshot(place int) string {
	var rows []string
	next := "0"
	names := sortedKeys(f.keys)
	for i := place; i < len(names); i++ {
		if len(rows) == 2 {
			next = strconv.Itoa(i)
			break
		}
		if k := f.keys[names[i]]; k.kind != "none" {
			rows = append(rows, f.row(names[i], k))
		}
	}
	return "*4\r\n" + bulk(next) + bulk(f.cursor(f.index)) + fmt.Sprintf(":%d\r\n*%d\r\n", f.stamp, len(rows)) + strings.Join(rows, "")
}

func (f *fake) row(key string, k fakeKey) string {
	value := "$-1\r\n"
	switch v := k.value.(type) {
	case int64:
		value = fmt.Sprintf(":%d\r\n", v)
	case string:
		value = bulk(v)
	}
	return "*5\r\n" + bulk(key) + bulk(k.kind) + value + fmt.Sprintf(":%d\r\n:%d\r\n", k.deadline, f.index)
}
