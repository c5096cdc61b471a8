package server

import (
	"maps"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quipu/acl"
	"quipu/commands"
	"quipu/engine"
)

// statistics are the node's counters since its start or the last CONFIG RESETSTAT. Bytes and commands are also counted
// per session and per worker. What many cores count all the time is striped: by event loop, or by connection of the net
// transport.
type statistics struct {
	connections  atomic.Int64
	acceptErrors atomic.Int64
	handshakes   atomic.Int64 // of TLS, that were good
	refused      atomic.Int64 // commands
	expiredKeys  atomic.Int64
	blocked      atomic.Int64 // clients in WAIT, WAITAOF and FEED READ
	reads        commands.ReadStats
	errors       errorCounts
	denied       [acl.Reasons]atomic.Int64
	pauses       [pauseReasons]atomic.Int64
	bytesIn      *engine.Striped
	bytesOut     *engine.Striped

	loadTime   atomic.Int64 // ns from start to ready
	peakMemory atomic.Int64

	startMemory int64 // bytes in use when the keyspace was empty

	sampled   atomic.Int64 // unix ns of the last sample of the rates below
	lastCalls atomic.Int64
	lastIn    atomic.Int64
	lastOut   atomic.Int64
	opsPerSec atomic.Int64
	inPerSec  atomic.Int64
	outPerSec atomic.Int64
}

func (st *statistics) reset() {
	for _, c := range []*atomic.Int64{
		&st.connections, &st.acceptErrors, &st.handshakes, &st.refused, &st.expiredKeys, &st.lastIn, &st.lastOut, &st.lastCalls,
	} {
		c.Store(0)
	}
	for i := range st.pauses {
		st.pauses[i].Store(0)
	}
	for i := range st.denied {
		st.denied[i].Store(0)
	}
	for _, c := range []*engine.Striped{st.bytesIn, st.bytesOut, st.reads.Hits, st.reads.Misses} {
		c.Take()
	}
	st.errors.reset()
}

// errorCounts counts error replies by their code, the first word. The codes are those of our own texts, so there are few.
type errorCounts struct {
	mu     sync.RWMutex
	byCode map[string]*atomic.Int64
}

func (e *errorCounts) count(text string) {
	code, _, _ := strings.Cut(text, " ")
	e.mu.RLock()
	n := e.byCode[code]
	e.mu.RUnlock()
	if n == nil {
		e.mu.Lock()
		if e.byCode == nil {
			e.byCode = map[string]*atomic.Int64{}
		}
		if n = e.byCode[code]; n == nil {
			n = new(atomic.Int64)
			e.byCode[code] = n
		}
		e.mu.Unlock()
	}
	n.Add(1)
}

func (e *errorCounts) reset() {
	e.mu.Lock()
	e.byCode = nil
	e.mu.Unlock()
}

// codes are those counted so far, in order.
func (e *errorCounts) codes() (codes []string, counts []int64, total int64) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	codes = slices.Sorted(maps.Keys(e.byCode))
	for _, code := range codes {
		n := e.byCode[code].Load()
		counts = append(counts, n)
		total += n
	}
	return codes, counts, total
}

// sample updates the rates about once a second, and reports whether it has done so.
func (st *statistics) sample(srv *Server) bool {
	now := time.Now().UnixNano()
	last := st.sampled.Load()
	if now-last < int64(time.Second) {
		return false
	}
	st.sampled.Store(now)
	calls, in, out := srv.totalCalls(), st.bytesIn.Sum(), st.bytesOut.Sum()
	seconds := float64(now-last) / 1e9
	st.opsPerSec.Store(rate(calls-st.lastCalls.Swap(calls), seconds))
	st.inPerSec.Store(rate(in-st.lastIn.Swap(in), seconds))
	st.outPerSec.Store(rate(out-st.lastOut.Swap(out), seconds))
	st.peakMemory.Store(max(st.peakMemory.Load(), srv.usedMemory()))
	return true
}

func rate(n int64, seconds float64) int64 {
	if n <= 0 || seconds <= 0 {
		return 0
	}
	return int64(float64(n) / seconds)
}

// commandCalls sums what all workers have counted, by Command.ID.
func (srv *Server) commandCalls() []int64 {
	sums := make([]int64, len(srv.table.All()))
	add := func(counts []atomic.Int64) {
		for i := range counts {
			sums[i] += counts[i].Load()
		}
	}
	add(srv.netCalls)
	for _, w := range srv.loops.all() {
		add(w.calls)
	}
	return sums
}

// commandFailed counts a call that has replied with an error. A call that was refused before it ran is not among them.
func (srv *Server) commandFailed(cmd *commands.Command) {
	srv.failed[srv.namedAs(cmd).ID()].Add(1)
}

func (srv *Server) totalCalls() int64 {
	var total int64
	for _, n := range srv.commandCalls() {
		total += n
	}
	return total
}

// resetCalls sets all counts of commands to 0. Their times go by them, see resetTimes.
func (srv *Server) resetCalls() {
	clearCounts := func(counts []atomic.Int64) {
		for i := range counts {
			counts[i].Store(0)
		}
	}
	clearCounts(srv.netCalls)
	clearCounts(srv.rejected)
	clearCounts(srv.failed)
	for _, w := range srv.loops.all() {
		clearCounts(w.calls)
	}
}

// residentMemory is the process's resident set in bytes, 0 where /proc does not tell.
func residentMemory() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// systemMemory is the machine's memory in bytes, 0 where /proc does not tell.
func systemMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return 0
	}
	kib, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// usedMemory is what the keys and everything else in use take, in bytes.
func (srv *Server) usedMemory() int64 { return srv.dataMemory().Used + heapBytes() }

// heapBytes is what the objects on the Go heap take.
func heapBytes() int64 {
	heap, _ := goMemory()
	return heap
}

// goMemory is what the objects on the Go heap take, and what the Go runtime holds from the system, its heap included. Unlike
// runtime.ReadMemStats it does not stop the event loops to count.
func goMemory() (heap, system int64) {
	s := [...]metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s[:])
	return int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64() - s[2].Value.Uint64())
}
