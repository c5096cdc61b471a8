package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"quipu/config"
	"quipu/transport"
)

// loadTLS reads the certificates that the settings name. Each call makes a tls.Config with new keys for session tickets:
// who has a ticket of an earlier one shows the certificate again.
func loadTLS(cfg *config.Config) (*tls.Config, error) {
	t := &cfg.TLS
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls-cert-file %s, tls-key-file %s: %w", t.CertFile, t.KeyFile, err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: !t.SessionCaching,
		DynamicRecordSizingDisabled: true, // replies are sent as a whole, and programs read them as a whole
	}
	c.MinVersion, c.MaxVersion = t.Versions()
	switch t.AuthClients {
	case "yes":
		c.ClientAuth = tls.RequireAndVerifyClientCert
	case "optional":
		c.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		return c, nil
	}
	c.ClientCAs, err = loadAuthorities(t.CAFile, t.CADir)
	return c, err
}

// loadAuthorities reads certificates from a file and from all files of a directory; either may be empty.
func loadAuthorities(file, dir string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tls-ca-cert-file: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls-ca-cert-file %s has no certificate in PEM", file)
		}
	}
	if dir == "" {
		return pool, nil
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("tls-ca-cert-dir: %w", err)
	}
	found := false
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue // links by hash, as OpenSSL wants them, may lead nowhere
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("tls-ca-cert-dir: %w", err)
		}
		found = pool.AppendCertsFromPEM(pem) || found
	}
	if !found {
		return nil, fmt.Errorf("tls-ca-cert-dir %s has no file with a certificate in PEM", dir)
	}
	return pool, nil
}

// useTLS has connections from now on use what the settings name. After an error they go on with what there was.
func (srv *Server) useTLS(cfg *config.Config) error {
	if !cfg.TLS.Used() {
		return nil
	}
	c, err := loadTLS(cfg)
	if err != nil {
		return err
	}
	srv.tls.Store(c)
	until := c.Certificates[0].Leaf.NotAfter
	srv.log.Info("certificate for clients loaded", "file", cfg.TLS.CertFile, "valid until", until)
	if time.Now().After(until) {
		srv.log.Warn("the certificate for clients has expired: they will refuse it", "file", cfg.TLS.CertFile, "valid until", until)
	}
	return nil
}

// ReloadTLS reads all certificates again, those for other nodes included, for connections from now on; those that are there
// stay. What cannot be read is logged and changes nothing.
func (srv *Server) ReloadTLS() {
	srv.cfgMu.Lock()
	defer srv.cfgMu.Unlock()
	if err := srv.useTLS(srv.config()); err != nil {
		srv.log.Error("certificates for clients were not loaded again, the old ones stay", "error", err)
	}
	if srv.peers == nil {
		return
	}
	if err := srv.peers.ReloadTLS(); err != nil {
		srv.log.Error("certificates for other nodes were not loaded again, the old ones stay", "error", err)
	}
}

// TLS implements transport.Host.
func (h host) TLS() transport.TLSSettings {
	cfg := h.srv.config()
	return transport.TLSSettings{Config: h.srv.tls.Load(), HandshakeTimeout: cfg.TLS.HandshakeTimeout, Handshakes: h.srv.maxHandshakes(cfg)}
}

// ShookHands implements transport.Host.
func (h host) ShookHands(client net.Addr, err error) {
	switch {
	case err == nil:
		h.srv.stats.handshakes.Add(1)
	case errors.Is(err, io.EOF): // as those do who only look whether the port is open
		h.srv.limits[limitHandshake].count.Add(1)
		h.srv.log.Debug("a client left before its TLS handshake", "addr", client.String())
	default:
		h.srv.limits.met(limitHandshake, client.String(), "error", err)
	}
}

// tlsListener has each connection use the certificates of the time it comes.
type tlsListener struct {
	net.Listener
	srv *Server
}

// Accept implements net.Listener. The handshake is http.Server's, in its time limits.
func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(c, l.srv.tls.Load()), nil
}
