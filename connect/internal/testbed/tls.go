package testbed

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Authority is a folder with what `quipu tls init` makes: a certificate authority, and certificates of a server on this machine and of
// a client.
type Authority struct{ Dir string }

// NewAuthority makes one.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb.TempDir()}
	if out, err := exec.CommandContext(tb.Context(), ServerProgram(tb), "tls", "init", "--dir", a.Dir).CombinedOutput(); err != nil {
		tb.Fatalf("quipu tls init: %v\n%s", err, out)
	}
	return a
}

// File is the path of one of its files: ca.crt, server.crt, server.key, client.crt, client.key.
func (a *Authority) File(name string) string { return filepath.Join(a.Dir, name) }

// Settings have a server serve TLS on a port, and demand a certificate of its clients.
func (a *Authority) Settings(port int) []string {
	return []string{
		"--tls-port", strconv.Itoa(port), "--tls-ca-cert-file", a.File("ca.crt"), "--tls-cert-file", a.File("server.crt"), "--tls-key-file", a.File("server.key"),
	}
}
