package server

import (
	"sync/atomic"

	"quipu/internal/throttle"
)

// limit is a kind of limit on clients that ends something: a connection, or the attempt to make one. What only refuses a
// command is answered with an error and counted by that (INFO errorstats).
type limit uint8

const (
	limitConnections limit = iota // maxclients, protected mode
	limitHandshake                // TLS handshakes that failed, for whatever reason
	limitProtocol                 // lengths, counts, and all else that is not the Redis protocol
	limitAuth                     // wrong passwords
	limitOutput                   // client-output-bytes, and what somebody without authentication may leave unread
	limitTime                     // auth-timeout, client-output-timeout, command-timeout, timeout
	limitMemory                   // maxmemory-clients
	limitPush                     // client-push-bytes
	limits
)

// limitsMet counts, for each kind, how often clients have met it since the start or the last CONFIG RESETSTAT, and writes at
// most one line of each kind a second to the log: a stranger must not be able to fill the disk.
type limitsMet [limits]struct {
	count atomic.Int64
	log   throttle.Log
}

// limitTexts are the lines in the log.
var limitTexts = [limits]string{
	limitConnections: "a connection was refused",
	limitHandshake:   "TLS handshake failed",
	limitProtocol:    "a client was closed: it does not speak the Redis protocol, or its command is beyond the limits",
	limitAuth:        "wrong password",
	limitOutput:      "a client was closed: too many unsent replies",
	limitTime:        "a client was closed: it is too slow",
	limitMemory:      "a client was closed: maxmemory-clients",
	limitPush:        "a client was closed: it reads too slowly what it is sent",
}

// met is called when the client at addr has met a limit. args are slog's.
func (m *limitsMet) met(kind limit, addr string, args ...any) {
	m[kind].count.Add(1)
	m.logged(kind, addr, args...)
}

// logged is the part of met that writes to the log.
func (m *limitsMet) logged(kind limit, addr string, args ...any) {
	m[kind].log.Warn(limitTexts[kind], append([]any{"addr", addr}, args...)...)
}

// logged is something that a client has said, for the log.
func logged(b []byte) string {
	const most = 64 // bytes
	return string(b[:min(len(b), most)])
}

func (m *limitsMet) reset() {
	for i := range m {
		m[i].count.Store(0)
	}
}

// times is how often a limit was met.
func (m *limitsMet) times(kind limit) int64 { return m[kind].count.Load() }

// pauseReason is why a client's input is left in its socket for the time being; the client feels TCP's backpressure.
type pauseReason uint8

const (
	notPaused      pauseReason = iota
	pausedByInput              // client-input-bytes
	pausedByWrites             // client-outstanding-bytes, outstanding-bytes
	pausedByOutput             // client-output-pause-bytes
	pauseReasons
)

// pauses is told whether a limit keeps the client's socket from being read now, and counts each time that begins.
func (s *Session) pauses(why pauseReason) {
	if why != s.paused {
		if s.paused = why; why != notPaused {
			s.srv.stats.pauses[why].Add(1)
		}
	}
}
