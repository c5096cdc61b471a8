// Package ports gives loopback ports to tests and measurements: a port to one process at a time. It does what
// quipu/internal/ports of the server's module does, whose text says why, in a range of its own.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
)

const (
	first = 30100 // above the server's tests, below the range of outgoing connections
	count = 2600
)

// Port is a number that is the caller's until Close, on 127.0.0.1 and ::1.
type Port struct {
	Number int
	lock   net.PacketConn // its UDP port
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
	for network, host := range map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"} {
		l, err := net.Listen(network, loopback(host, port))
		if err == nil {
			err = l.Close()
		}
		if err != nil && (network == "tcp4" || errors.Is(err, syscall.EADDRINUSE)) { // else this machine has no IPv6
			lock.Close()
			return nil
		}
	}
	return &Port{Number: port, lock: lock}
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
