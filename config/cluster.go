package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ClientAddress is the host:port under which clients reach this node, as other nodes tell them.
func (c *Config) ClientAddress() string {
	host, _, _ := splitAddress(c.PeerAddr)
	if c.AnnounceIP != "" {
		host = c.AnnounceIP
	}
	port := c.Port
	if c.TLS.Port != 0 && (c.TLS.Cluster || c.Port == 0 && !c.AnyPort) {
		port = c.TLS.Port
	}
	if c.AnnouncePort != 0 {
		port = c.AnnouncePort
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}

// splitAddress takes host:port apart; an IPv6 address as host stands in brackets.
func splitAddress(address string) (host, port string, ok bool) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return "", "", false
	}
	host, port = address[:i], address[i+1:]
	if inner, brackets := strings.CutPrefix(host, "["); brackets {
		return strings.TrimSuffix(inner, "]"), port, strings.HasSuffix(inner, "]")
	}
	return host, port, !strings.Contains(host, ":")
}

// validateCluster checks the settings about other nodes.
func (c *Config) validateCluster() error {
	if c.PeerAddr == "" {
		for name, set := range map[string]bool{"join": len(c.Join) > 0, "bootstrap-expect": c.BootstrapExpect > 1, "peer-bind": c.PeerBind != "", "peer-tls-cert-file": c.PeerCert != "", "cluster-enabled": c.ClusterEnabled} {
			if set {
				return fmt.Errorf("%s is set and peer-addr is not: other nodes could not reach this one", name)
			}
		}
		return nil
	}
	for _, address := range append([]string{c.PeerAddr}, c.Join...) {
		if err := checkPeerAddress(address); err != nil {
			return err
		}
	}
	if (c.PeerCert != "") != (c.PeerKey != "") || (c.PeerCert != "") != (c.PeerCA != "") {
		return fmt.Errorf("peer-tls-cert-file, peer-tls-key-file and peer-tls-ca-cert-file go together")
	}
	for _, address := range []string{c.PeerAddr, c.PeerBind} {
		host, _, ok := splitAddress(address)
		if address != "" && !ok {
			return fmt.Errorf("peer-bind %q is not host:port", address)
		}
		if address != "" && c.PeerCert == "" && !isLoopback(host) {
			return fmt.Errorf("the address for other nodes, %s, is not on loopback: set peer-tls-cert-file, peer-tls-key-file and peer-tls-ca-cert-file (quipu tls init makes the files)", address)
		}
	}
	list := append([]string{c.PeerAddr}, c.Join...)
	slices.Sort(list)
	if n := len(slices.Compact(list)); c.BootstrapExpect > 1 && n != c.BootstrapExpect {
		return fmt.Errorf("bootstrap-expect is %d, and peer-addr and join name %d nodes: name all nodes that found the cluster", c.BootstrapExpect, n)
	}
	return nil
}

// maxPeerAddress is the longest peer address, in bytes: three of them, and the names of nodes, go into a hello of 512 bytes.
const maxPeerAddress = 80

func checkPeerAddress(address string) error {
	host, port, ok := splitAddress(address)
	if !ok {
		return fmt.Errorf("peer address %q is not host:port", address)
	}
	n, err := strconv.Atoi(port)
	switch ip, _ := netip.ParseAddr(host); {
	case err != nil || n < 1 || n > 65535:
		return fmt.Errorf("peer address %q has no port from 1 to 65535", address)
	case host == "" || ip.IsUnspecified():
		return fmt.Errorf("peer address %q is not one under which other nodes reach this one: name an address of this machine", address)
	case len(address) > maxPeerAddress:
		return fmt.Errorf("peer address %q has more than %d bytes", address, maxPeerAddress)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, _ := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || ip.IsLoopback()
}
