package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	der, err := readPEM(filepath.Join(dir, name), "CERTIFICATE")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "tls")
	if err := Init(dir, []string{"counts.example", "10.1.2.3"}); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(load(t, dir, AuthorityCert))
	verify := func(file, host string, usage x509.ExtKeyUsage) error {
		_, err := load(t, dir, file).Verify(x509.VerifyOptions{
			Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: time.Now().AddDate(4, 0, 0),
		})
		return err
	}
	for _, c := range []struct {
		file, host string
		usage      x509.ExtKeyUsage
		good       bool
	}{
		{PeerCert, PeerName, x509.ExtKeyUsageServerAuth, true},
		{PeerCert, PeerName, x509.ExtKeyUsageClientAuth, true},
		{ServerCert, "localhost", x509.ExtKeyUsageServerAuth, true},
		{ServerCert, "::1", x509.ExtKeyUsageServerAuth, true},
		{ServerCert, "counts.example", x509.ExtKeyUsageServerAuth, true},
		{ServerCert, "10.1.2.3", x509.ExtKeyUsageServerAuth, true},
		{ServerCert, "other.example", x509.ExtKeyUsageServerAuth, false},
		{ServerCert, PeerName, x509.ExtKeyUsageServerAuth, false},
		{ServerCert, "", x509.ExtKeyUsageClientAuth, false},
		{ClientCert, "", x509.ExtKeyUsageClientAuth, true},
		{ClientCert, PeerName, x509.ExtKeyUsageClientAuth, false},
		{ClientCert, "", x509.ExtKeyUsageServerAuth, false},
	} {
		if err := verify(c.file, c.host, c.usage); (err == nil) != c.good {
			t.Errorf("%s as %q for usage %v: %v", c.file, c.host, c.usage, err)
		}
	}
	for _, key := range []string{AuthorityKey, PeerKey, ServerKey, ClientKey} {
		if info, err := os.Stat(filepath.Join(dir, key)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, info.Mode(), err)
		}
	}
}

// Nothing is ever overwritten, and an authority that is there signs for new nodes.
func TestInitAgain(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir, nil); err != nil {
		t.Fatal(err)
	}
	old, authority := load(t, dir, PeerCert), load(t, dir, AuthorityCert)
	if err := Init(dir, nil); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second time: %v", err)
	}
	other := t.TempDir()
	for _, name := range []string{AuthorityCert, AuthorityKey} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(other, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := Init(other, nil); err != nil {
		t.Fatal(err)
	}
	renewed := load(t, other, PeerCert)
	if renewed.Equal(old) || renewed.CheckSignatureFrom(authority) != nil || !load(t, other, AuthorityCert).Equal(authority) {
		t.Error("the authority that was there did not sign the new certificate")
	}

	// A crash came between the key and the certificate of the authority.
	half := t.TempDir()
	b, err := os.ReadFile(filepath.Join(dir, AuthorityKey))
	if err == nil {
		err = os.WriteFile(filepath.Join(half, AuthorityKey), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := Init(half, nil); err != nil || load(t, half, PeerCert).CheckSignatureFrom(load(t, half, AuthorityCert)) != nil {
		t.Errorf("with a key alone: %v", err)
	}

	// An authority without its key, or with another one's, is not replaced.
	for _, key := range []string{"", AuthorityKey} {
		broken := t.TempDir()
		b, err := os.ReadFile(filepath.Join(dir, AuthorityCert))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(broken, AuthorityCert), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if key != "" {
			third := t.TempDir()
			if err := Init(third, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(third, key), filepath.Join(broken, key)); err != nil {
				t.Fatal(err)
			}
		}
		if err := Init(broken, nil); err == nil {
			t.Errorf("key %q: accepted", key)
		}
		if _, err := os.Stat(filepath.Join(broken, PeerCert)); err == nil {
			t.Errorf("key %q: something was written", key)
		}
	}
}
