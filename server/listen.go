package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quipu/config"
	"quipu/protocol"
)

// listen opens the TCP and unix sockets of the configuration.
func (srv *Server) listen() error {
	cfg := srv.config()
	if cfg.Port != 0 || cfg.AnyPort {
		for _, host := range cfg.Bind {
			host, optional := strings.CutPrefix(host, "-") // redis.conf's mark of an address that may be missing
			lc := net.ListenConfig{KeepAlive: -1}          // accept sets what tcp-keepalive says
			ln, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(bindHost(host), strconv.Itoa(cfg.Port)))
			if err != nil && optional {
				srv.log.Warn("cannot listen on an optional address", "address", host, "error", err)
				continue
			}
			if err != nil {
				return fmt.Errorf("cannot listen on %s port %d: %w", host, cfg.Port, err)
			}
			srv.addListener(ln)
		}
	}
	if cfg.UnixSocket != "" {
		ln, err := listenUnix(cfg.UnixSocket, os.FileMode(cfg.UnixPerm))
		if err != nil {
			return err
		}
		srv.addListener(ln)
	}
	if len(srv.listeners) == 0 {
		return errors.New("no address to listen on")
	}
	return nil
}

func (srv *Server) addListener(ln net.Listener) {
	srv.listeners = append(srv.listeners, ln)
	srv.log.Info("listening", "address", ln.Addr().String())
}

// bindHost turns redis.conf's notation of an address into Go's: "*" is every IPv4 address, "::*" every one.
func bindHost(host string) string {
	switch host {
	case "*":
		return "0.0.0.0"
	case "::*":
		return "::"
	}
	return host
}

// listenUnix replaces a socket file that a dead process left behind, but never one that is in use or another file.
func listenUnix(path string, perm os.FileMode) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("unixsocket %s exists and is no socket", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("unixsocket %s is in use by another process", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("unixsocket: %w", err)
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on unix socket: %w", err)
	}
	if err := os.Chmod(path, perm); err != nil {
		ln.Close()
		return nil, fmt.Errorf("unixsocketperm: %w", err)
	}
	return ln, nil
}

// Serving is closed when Run accepts clients.
func (srv *Server) Serving() <-chan struct{} { return srv.accepting }

// Addr is the address of the first listener, for tests that bind to any port. Valid from Serving on.
func (srv *Server) Addr() net.Addr { return srv.listeners[0].Addr() }

const (
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = 500 * time.Millisecond
)

// accept takes connections from one listener until it is closed. When the process is out of file descriptors or
// memory it pauses instead of spinning; the clients wait in the kernel's queue.
func (srv *Server) accept(ln net.Listener, serve func(c net.Conn, trusts bool)) {
	pause := time.Duration(0)
	for {
		c, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			srv.stats.acceptErrors.Add(1)
			pause = min(max(2*pause, acceptPauseMin), acceptPauseMax)
			if !errors.Is(err, syscall.ECONNABORTED) {
				srv.log.Warn("cannot accept a connection", "error", err, "retry in", pause)
			}
			time.Sleep(pause)
			continue
		}
		pause = 0
		srv.stats.connections.Add(1)
		cfg, trusts := srv.config(), isLocal(c.RemoteAddr())
		switch {
		case protects(cfg, trusts):
			srv.stats.rejected.Add(1)
			refuse(c, protocol.ErrDenied)
		case !srv.clients.admit(srv.maxClients(cfg)):
			srv.stats.rejected.Add(1)
			refuse(c, protocol.ErrMaxClients)
		default:
			setKeepalive(c, cfg.TCPKeepalive)
			serve(c, trusts)
		}
	}
}

// protects reports whether protected mode turns a connection away; trusts says that it comes from this machine.
func protects(cfg *config.Config, trusts bool) bool {
	return cfg.ProtectedMode && cfg.RequirePass == "" && !trusts
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
func refuse(c net.Conn, text string) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
	_, _ = c.Write([]byte("-" + text + "\r\n")) // the client may be gone already
	c.Close()
}

const reservedFiles = 64 // file descriptors kept for the log, snapshots and listeners

// maxClients is the limit in force: never more than the process has file descriptors for.
func (srv *Server) maxClients(cfg *config.Config) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return cfg.MaxClients
	}
	return min(cfg.MaxClients, max(1, int(min(limit.Cur, 1<<30))-reservedFiles))
}

func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
