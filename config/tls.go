package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TLS is the settings of redis.conf's section TLS, and ours beside them. The files are PEM.
type TLS struct {
	Port           int // 0: no TCP listener for TLS
	CertFile       string
	KeyFile        string
	CAFile         string
	CADir          string // its files are authorities as well
	AuthClients    string // whether clients show a certificate: yes, no or optional
	Protocols      string // as redis.conf writes them; empty: the default
	SessionCaching bool   // whether clients may resume sessions
	Cluster        bool   // whether other clients are told of Port and not of Config.Port

	HandshakeTimeout time.Duration
	Handshakes       int  // that may be under way at a time
	HTTP             bool // whether HTTPAddr is https
}

// Used reports whether a node with these settings needs a certificate for clients.
func (t *TLS) Used() bool { return t.Port != 0 || t.HTTP }

// Versions is the lowest and the highest version of TLS to be spoken.
func (t *TLS) Versions() (low, high uint16) {
	words := strings.Fields(strings.ToLower(t.Protocols))
	low, high = tls.VersionTLS12, tls.VersionTLS13
	if len(words) > 0 && !slices.Contains(words, "tlsv1.2") {
		low = tls.VersionTLS13
	}
	if len(words) > 0 && !slices.Contains(words, "tlsv1.3") {
		high = tls.VersionTLS12
	}
	return low, high
}

func setTLSProtocols(c *Config, v string) error {
	for _, word := range strings.Fields(v) {
		switch strings.ToLower(word) {
		case "tlsv1.2", "tlsv1.3":
		case "tlsv1", "tlsv1.1":
			return fmt.Errorf("%s is not safe any more; there are TLSv1.2 and TLSv1.3", word)
		default:
			return fmt.Errorf("%q is not one of TLSv1.2, TLSv1.3", word)
		}
	}
	c.TLS.Protocols = strings.Join(strings.Fields(v), " ")
	return nil
}

// refusedSetting is a setting of Redis that has one possible value here, and why.
func refusedSetting(name, only, why string) Setting {
	return Setting{name, only, false, why,
		func(_ *Config, v string) error {
			if strings.EqualFold(v, only) {
				return nil
			}
			return &ValueError{fmt.Sprintf("only %q is supported: %s", only, why), why}
		},
		func(*Config) string { return only }}
}

// ValidateTLS is the part of Validate about TLS for clients; what is in the files is seen when they are loaded.
func (c *Config) ValidateTLS() error {
	t := &c.TLS
	switch {
	case !t.Used():
		return nil
	case t.Port != 0 && t.Port == c.Port:
		return fmt.Errorf("port and tls-port are both %d", t.Port)
	case t.CertFile == "" || t.KeyFile == "":
		return errors.New("tls-port and http-tls need tls-cert-file and tls-key-file (quipu tls init makes the files)")
	case t.AuthClients != "no" && t.CAFile == "" && t.CADir == "":
		return errors.New("tls-auth-clients needs tls-ca-cert-file or tls-ca-cert-dir, the authorities that sign clients' certificates; or set it to no")
	}
	return nil
}
