// Package netfault is a network between Quipu nodes that can be cut or made slow.
package netfault

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Network carries what Quipu nodes say to each other, and can be cut or made slow. Each node has a proxy in front of its peer
// port, whose address it gives to the others. Who calls stands in the first message of a connection (the sender of the
// hello, replication/peer/hello.go), which travels in plain text here.
//
// A cut direction loses nothing, as TCP does not: bytes wait until the cut is healed, or an end gives up.
type Network struct {
	mu      sync.Mutex
	changed *sync.Cond
	cut     map[[2]int]bool // from one node to another
	delay   time.Duration   // one way
	stall   stall
	callers map[string]int // nodes by their ID
	ended   bool
	conns   map[net.Conn]bool
	proxies []net.Listener
}

// New returns a network without faults.
func New() *Network {
	n := &Network{cut: map[[2]int]bool{}, callers: map[string]int{}, conns: map[net.Conn]bool{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// Close ends all proxies and connections.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
	for _, l := range n.proxies {
		l.Close()
	}
	for c := range n.conns {
		c.Close()
	}
	n.changed.Broadcast()
}

// Open makes the proxy of a node whose peer port is target, and returns the proxy's address.
func (n *Network) Open(node int, target string) (address string, err error) {
	return n.open(func(c net.Conn) {
		if hello, caller := n.readHello(c); hello != nil {
			n.carry(c, hello, caller, node, target)
		}
	})
}

// OpenFor makes a proxy that caller alone uses, to reach a port of node that speaks whatever it likes: regions reach each other at their
// ports for clients.
func (n *Network) OpenFor(caller, node int, target string) (address string, err error) {
	return n.open(func(c net.Conn) { n.carry(c, nil, caller, node, target) })
}

// open makes a proxy, which serves each connection.
func (n *Network) open(serve func(c net.Conn)) (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	n.proxies = append(n.proxies, l)
	n.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				n.note(c, true)
				defer n.note(c, false)
				serve(c)
			}()
		}
	}()
	return l.Addr().String(), nil
}

// Knows tells the network the ID of a node; until then nothing that it says is cut.
func (n *Network) Knows(node int, id string) {
	n.mu.Lock()
	n.callers[id] = node
	n.mu.Unlock()
}

// Cut cuts or heals what one node says to another, on connections of either.
func (n *Network) Cut(from, to int, cut bool) {
	n.mu.Lock()
	n.cut[[2]int{from, to}] = cut
	n.changed.Broadcast()
	n.mu.Unlock()
}

// Heal heals all cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	clear(n.cut)
	n.changed.Broadcast()
	n.mu.Unlock()
}

// Delay makes everything that is sent from now on arrive so much later.
func (n *Network) Delay(d time.Duration) {
	n.mu.Lock()
	n.delay = d
	n.mu.Unlock()
}

// stall holds some of what is sent.
type stall struct {
	share float64
	hold  time.Duration
}

// Stall has a share of what is sent from now on, a read from a connection at a time, wait so much longer; what follows on the
// connection waits behind it, as behind a packet that TCP sends again.
func (n *Network) Stall(share float64, hold time.Duration) {
	n.mu.Lock()
	n.stall = stall{share, hold}
	n.mu.Unlock()
}

// way is how long what is sent now is on its way.
func (n *Network) way() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stall.share > 0 && rand.Float64() < n.stall.share {
		return n.delay + n.stall.hold
	}
	return n.delay
}

func (n *Network) note(c net.Conn, open bool) {
	n.mu.Lock()
	if open && !n.ended {
		n.conns[c] = true
	} else {
		c.Close()
		delete(n.conns, c)
	}
	n.mu.Unlock()
}

// carry serves one connection to a node, of which hello was read already.
func (n *Network) carry(from net.Conn, hello []byte, caller, node int, target string) {
	if !n.await(caller, node) {
		return
	}
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	n.note(to, true)
	defer n.note(to, false)
	if _, err := to.Write(hello); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	go func() { n.copy(to, from, caller, node); done <- struct{}{} }()
	go func() { n.copy(from, to, node, caller); done <- struct{}{} }()
	<-done
}

// readHello reads the first message of a connection and says which node sent it; -1: one that is not known.
func (n *Network) readHello(c net.Conn) (hello []byte, caller int) {
	b := make([]byte, 8, 512)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, -1
	}
	size := int(binary.LittleEndian.Uint16(b[6:]))
	if size < 36 || size > 512 {
		return nil, -1
	}
	b = b[:size]
	if _, err := io.ReadFull(c, b[8:]); err != nil {
		return nil, -1
	}
	rest := b[32:]
	for range 2 { // the names of the cluster and of its incarnation
		if len(rest) == 0 || len(rest) <= int(rest[0]) {
			return nil, -1
		}
		rest = rest[1+int(rest[0]):]
	}
	if len(rest) == 0 || len(rest) <= int(rest[0]) {
		return nil, -1
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	caller, known := n.callers[string(rest[1:1+int(rest[0])])]
	if !known {
		caller = -1
	}
	return b, caller
}

// await waits while a direction is cut; false: the test has ended.
func (n *Network) await(from, to int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.cut[[2]int{from, to}] && !n.ended {
		n.changed.Wait()
	}
	return !n.ended
}

// chunk is bytes on their way.
type chunk struct {
	b   []byte
	due time.Time
}

// copy returns when all that src has said has arrived: who answers and closes the connection at once is heard.
func (n *Network) copy(dst, src net.Conn, from, to int) {
	way, arrived := make(chan chunk, 1024), make(chan struct{})
	defer func() {
		close(way)
		<-arrived
	}()
	go func() {
		defer close(arrived)
		for c := range way {
			time.Sleep(time.Until(c.due))
			if !n.await(from, to) {
				return
			}
			if _, err := dst.Write(c.b); err != nil {
				break
			}
		}
		dst.Close()
		for range way { // what is left
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		k, err := src.Read(buf)
		if k > 0 {
			way <- chunk{append([]byte(nil), buf[:k]...), time.Now().Add(n.way())}
		}
		if err != nil {
			return
		}
	}
}
