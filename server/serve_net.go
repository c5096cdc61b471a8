package server

import "net"

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

// stopNet closes the connections that goroutines serve.
func (srv *Server) stopNet() {
	for _, s := range srv.clients.all() {
		if c, ok := s.conn.(*netConn); ok {
			c.sock.Close()
		}
	}
}
