package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"quipu/internal/glob"
)

// Regions are the settings about clusters that count the same keys.
type Regions struct {
	Name     string // empty: this cluster is no region
	Peers    []RegionPeer
	Keys     []string      // patterns of keys that are shared
	Interval time.Duration // between two frames
	Ring     int64         // bytes
	TLS      bool          // to other regions
	Auth     string        // "password" or "user password" for the other regions; empty: none
}

// RegionPeer is another region, by the addresses for clients of its nodes.
type RegionPeer struct {
	Name      string
	Addresses []string // tried in this order
}

const maxRegionName = 64 // bytes

func regionSettings() []Setting {
	return []Setting{
		textSetting("region", "", fixed, "name of the region that this cluster is; empty: none", func(c *Config) *string { return &c.Regions.Name }),
		{"region-peers", "", true, "other regions, as name=host:port of a node's port for clients, separated by commas; a name may be there for each of its nodes", setRegionPeers, func(c *Config) string {
			var list []string
			for _, p := range c.Regions.Peers {
				for _, a := range p.Addresses {
					list = append(list, p.Name+"="+a)
				}
			}
			return strings.Join(list, ",")
		}},
		listSetting("region-keys", "*", fixed, "patterns of the keys of database 0 that regions share, the same in all; fixed when the region begins", func(c *Config) *[]string { return &c.Regions.Keys }),
		durationSetting("region-interval", "20ms", fixed, "how long what changes is gathered before other regions are told", func(c *Config) *time.Duration { return &c.Regions.Interval }, time.Millisecond, time.Minute),
		bytesSetting("region-ring", "64mb", fixed, "memory for what of shared keys changed lately; a region that is further behind is told of all keys", func(c *Config) *int64 { return &c.Regions.Ring }, 1<<20, 4<<30),
		boolSetting("region-tls", "no", fixed, "links to other regions are TLS, with the certificates for clients", func(c *Config) *bool { return &c.Regions.TLS }),
		textSetting("region-auth", "", fixed, "password, or user and password separated by a blank, for the other regions", func(c *Config) *string { return &c.Regions.Auth }),
	}
}

func setRegionPeers(c *Config, v string) error {
	var peers []RegionPeer
	for _, word := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		name, address, ok := strings.Cut(word, "=")
		if _, port, good := splitAddress(address); !ok || !good || port == "" || name == "" || len(name) > maxRegionName {
			return fmt.Errorf("%q is not name=host:port", word)
		}
		i := slices.IndexFunc(peers, func(p RegionPeer) bool { return p.Name == name })
		if i < 0 {
			i = len(peers)
			peers = append(peers, RegionPeer{Name: name})
		}
		peers[i].Addresses = append(peers[i].Addresses, address)
	}
	c.Regions.Peers = peers
	return nil
}

// validateRegions checks the settings about regions.
func (c *Config) validateRegions() error {
	r := &c.Regions
	switch {
	case r.Name == "" && len(r.Peers) > 0:
		return fmt.Errorf("region-peers is set and region is not: other regions know each other by name")
	case r.Name == "":
		return nil
	case len(r.Name) > maxRegionName || strings.ContainsAny(r.Name, "= ,\t\n"):
		return fmt.Errorf("region %q: a name has up to %d bytes, and none of these: = , blank", r.Name, maxRegionName)
	case slices.ContainsFunc(r.Peers, func(p RegionPeer) bool { return p.Name == r.Name }):
		return fmt.Errorf("region-peers has the region %q itself", r.Name)
	case len(r.Peers) > 7:
		return fmt.Errorf("region-peers has %d regions: there may be 8 with this one", len(r.Peers))
	case len(r.Keys) == 0:
		return fmt.Errorf("region-keys is empty: * is all keys of database 0")
	case r.TLS && c.TLS.CAFile == "" && c.TLS.CADir == "":
		return fmt.Errorf("region-tls needs tls-ca-cert-file: the authority that signs the certificates of other regions")
	case len(strings.Fields(r.Auth)) > 2:
		return fmt.Errorf("region-auth has more than a user and a password")
	}
	for _, k := range r.Keys {
		if len(k) > glob.MaxPattern {
			return fmt.Errorf("region-keys has a pattern of more than %d bytes", glob.MaxPattern)
		}
	}
	return nil
}
