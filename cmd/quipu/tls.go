package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"quipu/config"
	"quipu/internal/certs"
)

// tlsOptions is what the flags of quipu tls init say.
type tlsOptions struct{ dir, hosts *string }

func tlsFlags() (*flag.FlagSet, tlsOptions) {
	f := flag.NewFlagSet("quipu tls init", flag.ContinueOnError)
	return f, tlsOptions{
		dir:   f.String("dir", "quipu-tls", "`directory` that the files are written into"),
		hosts: f.String("hosts", "", "`names` and addresses under which clients reach the servers, separated by commas; localhost is always one of them"),
	}
}

// runTLS makes the certificates of a cluster: quipu tls init.
func runTLS(args []string) int {
	if len(args) == 0 || args[0] != "init" {
		fmt.Fprintln(os.Stderr, "quipu: try quipu tls init --dir DIRECTORY --hosts NAME,ADDRESS,…")
		return 2
	}
	f, o := tlsFlags()
	if err := f.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if f.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "quipu: unexpected argument %q\n", f.Arg(0))
		return 2
	}
	var list []string
	for _, h := range strings.Split(*o.hosts, ",") {
		if h = strings.TrimSpace(h); h != "" {
			list = append(list, h)
		}
	}
	if err := certs.Init(*o.dir, list); err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 1
	}
	path, err := filepath.Abs(*o.dir)
	if err != nil {
		path = *o.dir
	}
	printUse(path)
	return 0
}

// printUse says what certs.Init has written into dir, and how it is used: lines of a configuration file, and a command.
func printUse(dir string) {
	file := func(name string) string { return filepath.Join(dir, name) }
	fmt.Printf(`Written into %s:
  %s, %s           certificate authority; keep the key in a safe place, nodes do not need it
  %s, %s   of a server, for its clients
  %s, %s   of a client
  %s, %s       of the port for other nodes
`, dir, certs.AuthorityCert, certs.AuthorityKey, certs.ServerCert, certs.ServerKey, certs.ClientCert, certs.ClientKey, certs.PeerCert, certs.PeerKey)
	line := func(name string) string { return config.Quote(file(name)) }
	fmt.Printf(`
Lines for the configuration file of a node (or flags, with -- in front). Clients must then show a certificate on the
port for TLS; with "tls-auth-clients no" they need none. With "port 0" there is no other port.

tls-port 6380
tls-cert-file %s
tls-key-file %s
tls-ca-cert-file %s

For each node of a cluster these as well:

peer-tls-cert-file %s
peer-tls-key-file %s
peer-tls-ca-cert-file %s

A client connects with:

redis-cli --tls -p 6380 --cacert %s --cert %s --key %s

New certificates in place of these files are used once the node gets SIGHUP.
`, line(certs.ServerCert), line(certs.ServerKey), line(certs.AuthorityCert),
		line(certs.PeerCert), line(certs.PeerKey), line(certs.AuthorityCert),
		quote(file(certs.AuthorityCert)), quote(file(certs.ClientCert)), quote(file(certs.ClientKey)))
}

// clientTLS is what a client of a node uses; any of the files may be empty.
func clientTLS(authority, cert, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in PEM", authority)
		}
	}
	if cert != "" || key != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// quote is a word as a shell reads it.
func quote(word string) string {
	if !strings.ContainsAny(word, " \t\n'\"\\$&|;<>()*?[]#~`") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
