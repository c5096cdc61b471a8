// Package certs makes the certificates of a cluster: a certificate authority of its own, and what that signs for nodes and
// clients (quipu tls init). A private authority is enough here, and safer than a public one: whoever has a certificate that
// it signed belongs to the cluster.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// PeerName is the DNS name in the certificates of nodes. Other certificates of the same authority, those of clients, do not
// have it, and so cannot stand for nodes.
const PeerName = "quipu-peer"

// How long certificates are valid. Making new ones of an authority that exists is one command (Init), so those of nodes and
// clients need not last for ever.
const (
	authorityYears = 20
	leafYears      = 5
	clockSkew      = time.Hour // valid that long before they were made: clocks of nodes differ
)

// The files that Init writes: PEM, keys readable by the owner alone.
const (
	AuthorityCert = "ca.crt"
	AuthorityKey  = "ca.key"
	PeerCert      = "peer.crt"
	PeerKey       = "peer.key"
	ServerCert    = "server.crt"
	ServerKey     = "server.key"
	ClientCert    = "client.crt"
	ClientKey     = "client.key"
)

// Init writes a certificate authority and certificates of a node's peer port, of a server for clients, and of a client into
// a directory, which is made if it is missing. hosts are the names and addresses under which clients reach the server;
// localhost and the loopback addresses are always among them. If the directory has an authority, that signs the new
// certificates. No file is ever overwritten: Init fails before it writes anything if one of the others exists.
func Init(dir string, hosts []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{PeerCert, PeerKey, ServerCert, ServerKey, ClientCert, ClientKey} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s exists already: move it away, or name another directory", filepath.Join(dir, name))
		}
	}
	a, err := loadAuthority(dir)
	if errors.Is(err, os.ErrNotExist) {
		a, err = newAuthority(dir)
	}
	if err != nil {
		return err
	}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return errors.Join(
		a.sign(dir, PeerCert, PeerKey, "Quipu node", []string{PeerName}, both),
		a.sign(dir, ServerCert, ServerKey, "Quipu server", append([]string{"localhost", "127.0.0.1", "::1"}, hosts...), both[:1]),
		a.sign(dir, ClientCert, ClientKey, "Quipu client", nil, both[1:]),
	)
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(dir string) (*authority, error) {
	cert, err := template("Quipu certificate authority", authorityYears)
	if err != nil {
		return nil, err
	}
	cert.IsCA, cert.BasicConstraintsValid, cert.MaxPathLenZero = true, true, true
	cert.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	// The key first, and one that is there is used: a directory with a certificate and no key could not be completed.
	path := filepath.Join(dir, AuthorityKey)
	key, err := readKey(path)
	if errors.Is(err, os.ErrNotExist) {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
			err = writeKey(path, key)
		}
	}
	if err != nil {
		return nil, err
	}
	a := &authority{cert, key}
	return a, a.write(filepath.Join(dir, AuthorityCert), cert, &key.PublicKey)
}

func loadAuthority(dir string) (*authority, error) {
	certFile, keyFile := filepath.Join(dir, AuthorityCert), filepath.Join(dir, AuthorityKey)
	der, err := readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := readKey(keyFile)
	switch {
	case errors.Is(err, os.ErrNotExist): // not to be taken for an empty directory
		return nil, fmt.Errorf("%s is there, but not its key: put %s beside it, or name another directory", certFile, AuthorityKey)
	case err != nil:
		return nil, err
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, fmt.Errorf("%s is not the key of %s", keyFile, certFile)
	}
	return &authority{cert, key}, nil
}

// sign writes a new key and its certificate.
func (a *authority) sign(dir, certFile, keyFile, subject string, hosts []string, usage []x509.ExtKeyUsage) error {
	cert, err := template(subject, leafYears)
	if err != nil {
		return err
	}
	cert.KeyUsage, cert.ExtKeyUsage = x509.KeyUsageDigitalSignature, usage
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, h)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, keyFile), key); err != nil {
		return err
	}
	return a.write(filepath.Join(dir, certFile), cert, &key.PublicKey)
}

func (a *authority) write(path string, cert *x509.Certificate, public *ecdsa.PublicKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, public, a.key)
	if err != nil {
		return err
	}
	return writePEM(path, "CERTIFICATE", der, 0o644)
}

func template(subject string, years int) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: subject, Organization: []string{"Quipu"}},
		NotBefore: now.Add(-clockSkew), NotAfter: now.AddDate(years, 0, 0),
	}, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		return k, nil
	}
	return nil, fmt.Errorf("%s has a key of another kind than Quipu makes", path)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	return errors.Join(err, f.Close())
}

func readPEM(path, kind string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s has no %s in PEM", path, kind)
	}
	return block.Bytes, nil
}
