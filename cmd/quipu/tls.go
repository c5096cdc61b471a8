package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"quipu/internal/certs"
)

// runTLS makes the certificates of a cluster: quipu tls init.
func runTLS(args []string) int {
	if len(args) == 0 || args[0] != "init" {
		fmt.Fprintln(os.Stderr, "quipu: try quipu tls init --dir DIRECTORY --hosts NAME,ADDRESS,…")
		return 2
	}
	f := flag.NewFlagSet("quipu tls init", flag.ContinueOnError)
	dir := f.String("dir", "quipu-tls", "`directory` that the files are written into")
	hosts := f.String("hosts", "", "`names` and addresses under which clients reach the servers, separated by commas; localhost is always one of them")
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
	for _, h := range strings.Split(*hosts, ",") {
		if h = strings.TrimSpace(h); h != "" {
			list = append(list, h)
		}
	}
	if err := certs.Init(*dir, list); err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 1
	}
	fmt.Printf(`Written into %s:
  %s, %s   certificate authority; keep the key in a safe place, nodes do not need it
  %s, %s         of the peer port; copy them and %s to each node
  %s, %s     of a server, for its clients
  %s, %s     of a client
`, *dir, certs.AuthorityCert, certs.AuthorityKey, certs.PeerCert, certs.PeerKey, certs.AuthorityCert,
		certs.ServerCert, certs.ServerKey, certs.ClientCert, certs.ClientKey)
	return 0
}
