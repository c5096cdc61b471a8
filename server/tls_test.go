package server

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/certs"
)

// withCertificates makes certificates and has a node use them.
func withCertificates(t *testing.T, change func(*config.Config)) (dir string, with func(*config.Config)) {
	t.Helper()
	dir = t.TempDir()
	if err := certs.Init(dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir, func(c *config.Config) {
		c.TLS.CertFile, c.TLS.KeyFile, c.TLS.CAFile = filepath.Join(dir, certs.ServerCert), filepath.Join(dir, certs.ServerKey), filepath.Join(dir, certs.AuthorityCert)
		change(c)
	}
}

// TestHTTPTLS: with http-tls, http-addr has the certificates and the demands of tls-port.
func TestHTTPTLS(t *testing.T) {
	dir, with := withCertificates(t, withHTTP(func(c *config.Config) { c.TLS.HTTP = true }))
	n := startNode(t, with)
	pool, err := loadAuthorities(filepath.Join(dir, certs.AuthorityCert), "")
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, certs.ClientCert), filepath.Join(dir, certs.ClientKey))
	if err != nil {
		t.Fatal(err)
	}
	path := "/nothing"
	status := func(scheme string, shown ...tls.Certificate) (int, error) {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: shown}}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get(scheme + "://" + n.srv.http.addr.String() + path)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	if code, err := status("https", own); code != http.StatusNotFound {
		t.Errorf("with a certificate: %d, %v", code, err)
	}
	if code, err := status("https"); err == nil {
		t.Errorf("without a certificate: %d", code)
	}
	for _, path = range []string{"/metrics", "/healthz", "/readyz"} {
		if code, err := status("https", own); code != http.StatusOK {
			t.Errorf("%s with a certificate: %d, %v", path, code, err)
		}
		if code, err := status("https"); err == nil {
			t.Errorf("%s without a certificate: %d", path, code)
		}
	}
	path = "/nothing"
	if code, err := status("http"); code != http.StatusBadRequest {
		t.Errorf("without TLS: %d, %v", code, err)
	}
	expect(t, n.dial(), "CONFIG SET tls-auth-clients no", "+OK\r\n")
	if code, err := status("https"); code != http.StatusNotFound {
		t.Errorf("tls-auth-clients no: %d, %v", code, err)
	}
}

// TestAuthorities: what tls-ca-cert-file and tls-ca-cert-dir name.
func TestAuthorities(t *testing.T) {
	dir, _ := withCertificates(t, nil)
	authorities := t.TempDir()
	if _, err := loadAuthorities("", authorities); err == nil || !strings.Contains(err.Error(), "has no file with a certificate") {
		t.Errorf("an empty directory: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, certs.AuthorityCert))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"a.crt": text, "README": []byte("no certificate")} {
		if err := os.WriteFile(filepath.Join(authorities, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/nowhere", filepath.Join(authorities, "0.0")); err != nil {
		t.Fatal(err)
	}
	pool, err := loadAuthorities("", authorities)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, certs.ClientCert), filepath.Join(dir, certs.ClientKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]string{"/nowhere": "no such file", filepath.Join(authorities, "README"): "no certificate in PEM"} {
		if _, err := loadAuthorities(file, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestHandshakeFiles: handshakes have their share of the file descriptors, and clients the rest.
func TestHandshakeFiles(t *testing.T) {
	files := clientFiles()
	for _, c := range []struct{ port, handshakes, want int }{{0, 1024, 0}, {1, 3, min(3, max(1, files/4))}, {1, 1 << 20, min(1<<20, files/4)}} {
		cfg := config.Default()
		cfg.MaxClients, cfg.TLS.Port, cfg.TLS.Handshakes = 1<<24, c.port, c.handshakes
		srv := &Server{}
		if got := srv.maxHandshakes(&cfg); got != c.want {
			t.Errorf("%+v: %d handshakes", c, got)
		}
		if got := srv.maxClients(&cfg); got+c.want > max(files, 2) {
			t.Errorf("%+v: %d clients, %d files", c, got, files)
		}
	}
}

// TestProtectedModeTLS: as in Redis, a certificate does not stand for a password.
func TestProtectedModeTLS(t *testing.T) {
	_, with := withCertificates(t, withHTTP(func(c *config.Config) { c.TLS.HTTP = true }))
	n := startNode(t, with)
	if refusal := (host{n.srv}).Admit(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, false); !strings.HasPrefix(string(refusal), "-DENIED") {
		t.Errorf("a client of another machine: %q", refusal)
	}
}
