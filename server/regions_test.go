package server

import (
	"strconv"
	"strings"
	"testing"

	"quipu/config"
	"quipu/internal/redistest"
)

// regionNode starts a region on a port, with links to others.
func regionNode(t *testing.T, name string, port int, change func(c *config.Config), peers ...config.RegionPeer) *testNode {
	return startNode(t, func(c *config.Config) {
		c.Port, c.AnyPort = port, false
		c.Regions.Name, c.Regions.Peers = name, peers
		if change != nil {
			change(c)
		}
	})
}

func peerAt(name string, ports ...int) config.RegionPeer {
	p := config.RegionPeer{Name: name}
	for _, port := range ports {
		p.Addresses = append(p.Addresses, "127.0.0.1:"+strconv.Itoa(port))
	}
	return p
}

// TestRegionLinks: a link goes to the first address that answers, as the user that the settings name, who need not have other rights.
func TestRegionLinks(t *testing.T) {
	euPort, usPort, nobody := redistest.FreePort(t), redistest.FreePort(t), redistest.FreePort(t)
	auth := func(c *config.Config) { c.Regions.Auth = "link secret" }
	guest := "ACL SETUSER link on >secret ~* +region|hello +region|merge +region|whole +region|mark +region|digest +ping"
	eu := regionNode(t, "eu", euPort, auth, peerAt("us", nobody, usPort))
	us := regionNode(t, "us", usPort, auth, peerAt("eu", euPort))
	a, b := eu.dial(), us.dial()
	eventually(t, "a refusal", func() bool { return strings.Contains(call(t, a, "INFO regions"), "state=refused") })
	expect(t, a, guest, "+OK\r\n")
	expect(t, b, guest, "+OK\r\n")
	expect(t, a, "INCRBY n 5", ":5\r\n", "REGION WAIT 1 20000", ":1\r\n")
	expect(t, b, "INCRBY n 7", ":12\r\n", "REGION WAIT 1 20000", ":1\r\n", "REGION WAIT 2 1", ":1\r\n")
	expect(t, a, "GET n", bulk("12"), "REGION KEYS", "*1\r\n$1\r\n*\r\n", "REGION VALUE n", "*4\r\n$2\r\neu\r\n:5\r\n$2\r\nus\r\n:7\r\n")
	status := call(t, a, "REGION STATUS")
	for _, want := range []string{"connected", "127.0.0.1:" + strconv.Itoa(usPort), "behind\r\n:0\r\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("%q is missing in %q", want, status)
		}
	}
	if info := call(t, a, "INFO"); !strings.Contains(info, "# Regions\r\nregion:eu\r\nregion_incarnations:2\r\nregion_incarnations_lost:0\r\n") || !strings.Contains(info, "\r\nregion_link_us:state=connected,behind=0") {
		t.Errorf("INFO: %q", info)
	}
	// Others may not say what they do not have the right for.
	expect(t, b, "AUTH link secret", "+OK\r\n", "GET n", "-NOPERM this user has no permissions to run the 'get' command\r\n", "REGION LOST eu", "-NOPERM this user has no permissions to run the 'region|lost' command\r\n")
}

// TestRegionOfAnotherName: a peer is the region that the settings say, or there is no link.
func TestRegionOfAnotherName(t *testing.T) {
	euPort, usPort := redistest.FreePort(t), redistest.FreePort(t)
	eu := regionNode(t, "eu", euPort, nil, peerAt("asia", usPort))
	regionNode(t, "us", usPort, nil)
	c := eu.dial()
	eventually(t, "an error", func() bool {
		return strings.Contains(call(t, c, "REGION STATUS"), "that is the region us, and not asia")
	})
	expect(t, c, "INCR n", ":1\r\n", "REGION WAIT 1 20", ":0\r\n")
}

// TestNoRegionYet: a cluster that has what cannot be shared stays as it is, and says so.
func TestNoRegionYet(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, func(c *config.Config) { c.Dir = dir })
	expect(t, n.dial(), "SET a text", "+OK\r\n", "SET n 5", "+OK\r\n")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	region := func(c *config.Config) { c.Dir, c.Regions.Name = dir, "eu" }
	again := startNode(t, region)
	c := again.dial()
	expect(t, c, "REGION STATUS", "-NOREGION this cluster is no region: start its nodes with the setting region\r\n", "APPEND a s", ":5\r\n", "DEL a", ":1\r\n")
	eventually(t, "a region, as nothing is in its way any more", func() bool { return strings.HasPrefix(call(t, c, "REGION STATUS"), "*8") })
	expect(t, c, "REGION VALUE n", "*2\r\n$2\r\neu\r\n:5\r\n", "INCR n", ":6\r\n", "SET b text", "-SHARED 'set' sets keys that match region-keys to integers only: take a key that does not match\r\n")
	if err := again.stop(); err != nil {
		t.Fatal(err)
	}
	third := startNode(t, region)
	expect(t, third.dial(), "GET n", bulk("6"), "REGION VALUE n", "*2\r\n$2\r\neu\r\n:6\r\n")
}

// TestRegionSketches: sketches come to the same in all regions over links, new ones, those that change, and those from before there was a region.
func TestRegionSketches(t *testing.T) {
	euPort, usPort := redistest.FreePort(t), redistest.FreePort(t)
	dir := t.TempDir()
	before := startNode(t, func(c *config.Config) { c.Dir = dir })
	expect(t, before.dial(), "PFADD fans a b c", ":1\r\n", "EXPIRE fans 1000", ":1\r\n")
	if err := before.stop(); err != nil {
		t.Fatal(err)
	}
	eu := regionNode(t, "eu", euPort, func(c *config.Config) { c.Dir = dir }, peerAt("us", usPort))
	us := regionNode(t, "us", usPort, nil, peerAt("eu", euPort))
	a, b := eu.dial(), us.dial()
	eventually(t, "what eu had counted", func() bool { return call(t, b, "PFCOUNT fans") == ":3\r\n" && call(t, b, "TTL fans") != ":-1\r\n" })
	expect(t, b, "PFADD fans c d", ":1\r\n", "CMS.INITBYDIM views 2000 5", "+OK\r\n", "CMS.INCRBY views x 3", "*1\r\n:3\r\n", "TOPK.RESERVE top 10", "+OK\r\n",
		"TOPK.INCRBY top x 7", "*1\r\n$-1\r\n", "REGION WAIT 1 20000", ":1\r\n")
	expect(t, a, "PFCOUNT fans", ":4\r\n", "CMS.INCRBY views x 4", "*1\r\n:7\r\n", "TOPK.INCRBY top x 2 y 8", "*2\r\n$-1\r\n$-1\r\n", "REGION WAIT 1 20000", ":1\r\n")
	for _, c := range []*redistest.Conn{a, b} {
		expect(t, c, "CMS.QUERY views x", "*1\r\n:7\r\n", "TOPK.LIST top WITHCOUNT", "*4\r\n$1\r\nx\r\n:9\r\n$1\r\ny\r\n:8\r\n")
	}
	expect(t, b, "DEL fans views top", ":3\r\n", "REGION WAIT 1 20000", ":1\r\n")
	expect(t, a, "EXISTS fans views top", ":0\r\n")
}
