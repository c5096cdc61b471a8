package transport

import (
	"errors"
	"net"
	"syscall"
	"time"
)

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = 500 * time.Millisecond
)

// accepted is a connection that the host has admitted.
type accepted struct {
	sock     net.Conn
	tls      *secured // nil: plain
	sameHost bool
}

// accept takes connections from one listener until it is closed. When the process is out of file descriptors or
// memory it pauses instead of spinning; the clients wait in the kernel's queue.
func (t *Transport) accept(ln listener, serve func(accepted)) {
	pause := time.Duration(0)
	for {
		c, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			t.host.AcceptFailed()
			pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
			if !errors.Is(err, syscall.ECONNABORTED) {
				t.log.Warn("cannot accept a connection", "error", err, "retry in", pause)
			}
			time.Sleep(pause)
			continue
		}
		pause = 0
		keepalive := t.host.Settings().Keepalive
		if ln.tls {
			setKeepalive(c, keepalive)
			set := t.host.TLS()
			if h := t.handshakes.begin(c, set.Handshakes); h != nil {
				t.serving.Go(func() { t.shakeHands(h, set, serve) })
			} else {
				c.Close()
			}
			continue
		}
		sameHost := isSameHost(c.RemoteAddr())
		if refusal := t.host.Admit(c.RemoteAddr(), sameHost); refusal != nil {
			refuse(c, refusal)
			continue
		}
		setKeepalive(c, keepalive)
		serve(accepted{c, nil, sameHost})
	}
}

// setKeepalive is best effort: a connection without probes works too. TCP_NODELAY is Go's default already.
func setKeepalive(c net.Conn, every time.Duration) {
	tcp, ok := c.(*net.TCPConn)
	if !ok || every <= 0 {
		return
	}
	probe := max(time.Second, every/3)
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: every, Interval: probe, Count: 3})
}

// refuse says why and closes, without waiting for a client that does not read.
func refuse(c net.Conn, why []byte) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, _ = c.Write(why) // the client may be gone already
	c.Close()
}

// isSameHost reports whether a client is on this machine.
func isSameHost(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
