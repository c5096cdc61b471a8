// Package ports gives loopback ports to tests, measurements and examples: a port to one process at a time.
//
// Listening on port 0, closing and starting a server on the number the system had chosen fails in two ways when programs run
// side by side: another program that looks for a port finds the same one free before the server binds it, or the system gives
// it to an outgoing connection. So ports come from below the range of outgoing connections, and whoever took one holds the
// *UDP* port of that number until it is done: the lock of it, which needs no file and ends with the process.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// PeerOffset is from a taken port to another one that is taken with it: there a Quipu node talks to other nodes.
const PeerOffset = 10000

// Ports for clients are first to first + PeerOffset - 1, so that none is the peer port of another; the connector's tests, a
// module of its own, take theirs above both.
const (
	first = 10100
	count = PeerOffset - 100
)

// Port is a number that is the caller's until Close: the port Number and the port Number + PeerOffset, on 127.0.0.1 and ::1.
type Port struct {
	Number int
	lock   net.PacketConn
}

// Close gives the port to others. Whatever listens there should have ended.
func (p *Port) Close() error { return p.lock.Close() }

// Take finds a port.
func Take() (*Port, error) {
	for range 1000 {
		if p := try(first + rand.IntN(count)); p != nil {
			return p, nil
		}
	}
	return nil, errors.New("no free port found")
}

// try returns nil if somebody else has the port, for whatever.
func try(port int) *Port {
	lock, err := net.ListenPacket("udp4", loopback("127.0.0.1", port))
	if err != nil {
		return nil
	}
	if !isFree(port) || !isFree(port+PeerOffset) {
		lock.Close()
		return nil
	}
	return &Port{Number: port, lock: lock}
}

// isFree looks at both addresses that a Quipu node listens on by default.
func isFree(port int) bool {
	for network, host := range map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"} {
		l, err := net.Listen(network, loopback(host, port))
		if err == nil {
			err = l.Close()
		}
		if err != nil && (network == "tcp4" || errors.Is(err, syscall.EADDRINUSE)) { // else this machine has no IPv6
			return false
		}
	}
	return true
}

func loopback(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

var kept struct {
	sync.Mutex
	list []*Port
}

// Keep is Take for the rest of the process's life.
func Keep() (number int, err error) {
	p, err := Take()
	if err != nil {
		return 0, err
	}
	kept.Lock()
	defer kept.Unlock()
	kept.list = append(kept.list, p) // a socket nobody refers to would be closed
	return p.Number, nil
}
