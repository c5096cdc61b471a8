package server

import (
	"net"
	"time"
)

// startNet serves every connection with a goroutine of its own.
func (srv *Server) startNet() {
	for _, ln := range srv.listeners {
		srv.serving.Go(func() {
			srv.accept(ln, func(c net.Conn, trusts bool) {
				srv.serving.Go(func() { serveNet(srv, c, trusts) })
			})
		})
	}
}

// lingerTime is how long a stopping node goes on sending the replies that clients have not taken.
const lingerTime = time.Second

// stopNet closes the connections that goroutines serve, as soon as their replies are sent.
func (srv *Server) stopNet() {
	for _, s := range srv.clients.all() {
		if c, ok := s.conn.(*netConn); ok {
			c.stop()
		}
	}
}
