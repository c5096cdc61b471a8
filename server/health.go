package server

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// Load balancers and supervisors ask, often without a way to give a password, whether to restart a node (/healthz) and whether to send it
// clients (/readyz). So anybody who reaches http-addr gets an answer, and it says nothing else: no key, no figure, no address.

// serveHealth says that the process lives. It says so while a log is read, which may take long, and while the cluster has no leader: to
// restart the node would make either worse.
func serveHealth(w http.ResponseWriter, _ *http.Request) { probed(w, "") }

// serveReady says whether the node serves clients, else why it does not.
func (srv *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	probed(w, srv.readiness.look(time.Now(), srv.unready))
}

func probed(w http.ResponseWriter, mistake string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if mistake != "" {
		h.Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, mistake+"\n") // who asked has gone: nobody cares
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// unready is why the node does not serve clients, or "". A node whose disk is full serves reads, one that is doubtful
// has the leader answer: both are ready.
func (srv *Server) unready() string {
	switch {
	case srv.draining.Load():
		return "the node stops"
	case srv.loading.Load() > 0:
		return "the node loads the state that the leader has sent"
	case !srv.isReady():
		return "the node reads its log, or waits for a leader for the first time"
	}
	for _, r := range srv.replicas {
		st := r.Group.Status()
		switch {
		case st.Err != nil:
			return "the log has failed"
		case !st.Leader && (st.LeaderID == "" || st.LeaderID == st.NodeID):
			return "the cluster has no leader that this node knows"
		}
	}
	return ""
}

// readyKept is for how long an answer of /readyz is given again, so that strangers who ask all the time cost hardly anything.
const readyKept = 100 * time.Millisecond

// readiness is the last answer of /readyz.
type readiness struct {
	mu      sync.Mutex
	at      time.Time
	mistake string
}

func (r *readiness) look(now time.Time, fresh func() string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() || now.Sub(r.at) > readyKept {
		r.at, r.mistake = now, fresh()
	}
	return r.mistake
}
