package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// tcpAddress is one address of Addresses.Hosts. It opens sockets of one family only: an IPv4 address must not be
// reachable over IPv6, which a firewall may treat otherwise, and the two wildcards must be able to share a port. Go's
// plain "tcp" opens both families for either wildcard.
type tcpAddress struct {
	network  string // "tcp4", or "tcp6", for which Go sets IPV6_V6ONLY
	host     string // as Go writes it
	optional bool   // the node goes on where this machine does not have the address
}

// parseAddress reads an address as redis.conf writes it: "*" is all of IPv4, "::*" all of IPv6, "-" in front means that
// the address may be missing. What has a colon is an IPv6 address; anything else is an IPv4 address, or a name, of which
// the first IPv4 address counts.
func parseAddress(text string) (tcpAddress, error) {
	host, optional := strings.CutPrefix(text, "-")
	switch {
	case host == "":
		return tcpAddress{}, fmt.Errorf("setting bind: %q names no address", text) // Go would take it for all addresses
	case host == "*":
		return tcpAddress{"tcp4", "0.0.0.0", optional}, nil
	case host == "::*":
		return tcpAddress{"tcp6", "::", optional}, nil
	case !strings.Contains(host, ":"):
		return tcpAddress{"tcp4", host, optional}, nil
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return tcpAddress{}, fmt.Errorf("setting bind: %q is not an IPv6 address; write it without brackets, and the port in the setting port", text)
	case ip.Is4In6():
		return tcpAddress{}, fmt.Errorf("setting bind: %q is an IPv4 address in the form of an IPv6 one; write %s", text, ip.Unmap())
	case ip.IsLinkLocalUnicast() && ip.Zone() == "":
		return tcpAddress{}, fmt.Errorf("setting bind: %q needs the name of its network interface, as in %s%%eth0", text, ip)
	}
	return tcpAddress{"tcp6", host, optional}, nil
}

// mayLack reports whether the node goes on without the address after err. As in Redis, only what the machine lacks
// counts: an address in use is an error even if it is optional, and no address needs the "-" where the system has
// nothing of its family, IPv6 as a rule.
func (a tcpAddress) mayLack(err error) bool {
	if a.optional && errors.Is(err, syscall.EADDRNOTAVAIL) {
		return true
	}
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EPROTONOSUPPORT)
}

// explain says which address could not be opened, why, and what to do about it.
func (a tcpAddress) explain(port int, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the rest says again what is said here
	}
	advice := ""
	var unknown *net.DNSError
	var noIPv4 *net.AddrError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = ": another process, or another address of the setting bind, has it; stop that process or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = fmt.Sprintf(": this machine does not have the address; correct the setting bind, or write -%s where it may be missing", a.host)
	case errors.Is(err, syscall.EACCES):
		advice = ": ports below 1024 need a privilege; choose another port"
	case errors.As(err, &unknown), errors.As(err, &noIPv4):
		advice = ": the setting bind takes addresses, and names that have an IPv4 address"
	}
	return fmt.Errorf("cannot listen on %s port %d: %w%s", a.host, port, err, advice)
}

// peerOf describes the client of an accepted connection.
func peerOf(c net.Conn, sameHost bool) Peer {
	return Peer{Remote: addressText(c.RemoteAddr()), Local: addressText(c.LocalAddr()), Trusted: sameHost}
}

// addressText is an address as CLIENT LIST shows it: as Redis, without the network interface of a link-local one.
func addressText(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.Zone != "" {
		return (&net.TCPAddr{IP: tcp.IP, Port: tcp.Port}).String()
	}
	return addr.String()
}
