package redistest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"quipu/internal/certs"
)

// Authority is a directory with a certificate authority of a test, and what `quipu tls init` makes beside it.
type Authority struct{ Dir string }

// NewAuthority makes one.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb.TempDir()}
	if err := certs.Init(a.Dir, nil); err != nil {
		tb.Fatal(err)
	}
	return a
}

// File is the path of one of its files.
func (a *Authority) File(name string) string { return filepath.Join(a.Dir, name) }

// Settings have a server, Quipu or Redis, serve TLS on a port.
func (a *Authority) Settings(port int) []string {
	return []string{"--tls-port", strconv.Itoa(port), "--tls-cert-file", a.File(certs.ServerCert), "--tls-key-file", a.File(certs.ServerKey),
		"--tls-ca-cert-file", a.File(certs.AuthorityCert)}
}

// Trusting is a client's configuration without a certificate.
func (a *Authority) Trusting(tb testing.TB) *tls.Config {
	tb.Helper()
	text, err := os.ReadFile(a.File(certs.AuthorityCert))
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// Client is a client's configuration with the certificate in certFile and keyFile of the authority by.
func (a *Authority) Client(tb testing.TB, by *Authority, certFile, keyFile string) *tls.Config {
	tb.Helper()
	cert, err := tls.LoadX509KeyPair(by.File(certFile), by.File(keyFile))
	if err != nil {
		tb.Fatal(err)
	}
	c := a.Trusting(tb)
	c.Certificates = []tls.Certificate{cert}
	return c
}

// Good is a client's configuration with the certificate of a client.
func (a *Authority) Good(tb testing.TB) *tls.Config {
	tb.Helper()
	return a.Client(tb, a, certs.ClientCert, certs.ClientKey)
}

// Sign writes a certificate, of a client unless change says otherwise, into name.crt and its key into name.key.
func (a *Authority) Sign(tb testing.TB, name string, change func(*x509.Certificate)) {
	tb.Helper()
	signer, err := tls.LoadX509KeyPair(a.File(certs.AuthorityCert), a.File(certs.AuthorityKey))
	if err != nil {
		tb.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(cert)
	der, err := x509.CreateCertificate(rand.Reader, cert, signer.Leaf, &key.PublicKey, signer.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.File(file), pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

// DialTLS connects and does the handshake. A server of TLS 1.3 judges the client's certificate after that: the first read
// tells of it.
func DialTLS(addr string, config *tls.Config) (*Conn, error) {
	raw, err := net.DialTimeout("tcp", addr, DefaultTimeout)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, config)
	if err := c.SetDeadline(time.Now().Add(DefaultTimeout)); err != nil {
		return nil, err
	}
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return &Conn{Conn: c, Timeout: DefaultTimeout, r: bufio.NewReaderSize(c, 4<<10)}, nil
}
