package replication

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// Transport is what a transport to other nodes has to be. Pre-vote and Close are required here because Raft looks for them by
// a type assertion: a transport without them would compile, and be used without them.
type Transport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// gatedTransport wraps a transport:
//
//   - It ignores SetHeartbeatHandler. Raft's fast path for heartbeats changes term and state outside its main goroutine;
//     without it heartbeats pass through the main loop like everything else.
//   - It has no pipeline (AppendEntriesPipeline).
//   - It stays open when Raft closes it: Raft may be started again (restart.go). The group closes what is inside.
//   - It does not send heartbeats while a write of the log stands still. They are sent by a goroutine that knows nothing of
//     the disk, and would keep a leader in office that can commit nothing.
type gatedTransport struct {
	Transport
	stalled func() time.Duration
	limit   time.Duration
}

var errStalled = errors.New("heartbeat withheld: this leader's disk stands still")

// newSoleTransport is the transport of a node that has no peers: it opens no port, and reaches only this node (for TimeoutNow).
func newSoleTransport(self string) Transport {
	addr := raft.ServerAddress(self)
	_, t := raft.NewInmemTransport(addr)
	t.Connect(addr, t)
	return t
}

// AppendEntriesPipeline implements raft.Transport: there is none. A pipeline can come to a standstill after one refused
// message while heartbeats look well, and hides nothing here, where one entry is in flight.
func (t *gatedTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// Close implements raft.WithClose.
func (t *gatedTransport) Close() error { return nil }

// SetHeartbeatHandler implements raft.Transport.
func (t *gatedTransport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries implements raft.Transport.
func (t *gatedTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isHeartbeat(args) && t.stalled() > t.limit {
		return errStalled
	}
	return t.Transport.AppendEntries(id, target, args, resp)
}

// isHeartbeat tells a heartbeat from other messages in the same way as Raft does.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.Term != 0 && a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// electSelf makes this node stand for election at once instead of waiting for a heartbeat that nobody will send.
func (t *gatedTransport) electSelf(id raft.ServerID) error {
	addr := t.LocalAddr()
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: t.EncodePeer(id, addr),
	}}
	return t.TimeoutNow(id, addr, req, &raft.TimeoutNowResponse{})
}
