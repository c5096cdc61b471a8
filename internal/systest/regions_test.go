package systest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quipu/internal/netfault"
	"quipu/internal/redistest"
)

// regions are clusters of one node each that count the same keys, with a slow network between them.
type regions struct {
	t     *testing.T
	net   *netfault.Network
	names []string
	nodes []redistest.Quipu
	list  []*redistest.Server
}

const regionDelay = 40 * time.Millisecond // one way

// startRegions starts one region for each name, each linked with all others.
func startRegions(t *testing.T, names ...string) *regions {
	dirs := make([]string, len(names))
	for i := range dirs {
		dirs[i] = t.TempDir()
	}
	g := startRegionsIn(t, dirs, names...)
	for i := range names {
		g.settle(i)
	}
	return g
}

// startRegionsIn starts regions in data directories, and does not wait until they have links.
func startRegionsIn(t *testing.T, dirs []string, names ...string) *regions {
	g := &regions{t: t, net: netfault.New(), names: names}
	t.Cleanup(g.net.Close)
	g.net.Delay(regionDelay)
	for i := range names {
		g.nodes = append(g.nodes, redistest.Quipu{Dir: dirs[i], Port: redistest.FreePort(t)})
	}
	for i, name := range names {
		var peers []string
		for j, other := range names {
			if i == j {
				continue
			}
			address, err := g.net.OpenFor(i, j, "127.0.0.1:"+strconv.Itoa(g.nodes[j].Port))
			if err != nil {
				t.Fatal(err)
			}
			peers = append(peers, other+"="+address)
		}
		g.nodes[i].Flags = append([]string{"--region", name, "--region-peers", strings.Join(peers, ",")}, smallFiles...)
		g.list = append(g.list, g.nodes[i].Start(t))
	}
	return g
}

// settle waits until all other regions have what one has counted.
func (g *regions) settle(i int, except ...string) {
	g.t.Helper()
	wanted := strconv.Itoa(len(g.names) - 1 - len(except))
	c := g.list[i].Dial(g.t)
	defer c.Close()
	for end := time.Now().Add(20 * time.Second); ; {
		if r, err := c.Do("REGION", "WAIT", wanted, "1000"); err != nil {
			g.t.Fatal(err)
		} else if r.Text == wanted {
			return
		}
		if time.Now().After(end) {
			r, _ := c.Do("REGION", "STATUS")
			g.t.Fatalf("%s has not told the others: %v", g.names[i], elementsOf(r))
		}
	}
}

func elementsOf(r redistest.Reply) (list []string) {
	if len(r.Elems) == 0 {
		return []string{r.Text}
	}
	for _, e := range r.Elems {
		list = append(list, elementsOf(e)...)
	}
	return list
}

// link returns a field of REGION STATUS about the link from one region to another.
func (g *regions) link(from int, to, field string) string {
	c := g.list[from].Dial(g.t)
	defer c.Close()
	status, err := c.Do("REGION", "STATUS") // an error while the cluster is no region yet
	if err != nil {
		g.t.Fatal(err)
	}
	words := elementsOf(status)
	about := ""
	for i := 0; i+1 < len(words); i++ {
		if words[i] == "region" {
			about = words[i+1]
		}
		if words[i] == field && about == to && i > 2 {
			return words[i+1]
		}
	}
	return ""
}

// regionCounts is what clients know of the keys that are only incremented.
type regionCounts struct {
	answered, unknown [regionKeys + 1]atomic.Int64
	mixed             atomic.Int64
}

const (
	regionKeys = 40
	mixedKeys  = 10
)

// regionKey is one of so many counters; the next one is a Count-Min sketch, in which one item is counted, if the test has made it.
func regionKey(i int) string {
	if i == regionKeys {
		return "views"
	}
	return "count:" + strconv.Itoa(i)
}

// regionCommand is one whose outcome is known to package shared's model, and to the engine's of sketches: here all have to come to the same.
func regionCommand(rng *rand.Rand) []string {
	n := strconv.Itoa(rng.IntN(mixedKeys))
	key, fans, item := "mixed:"+n, "mixedfans:"+n, strconv.Itoa(rng.IntN(100_000))
	return [][]string{
		{"DEL", key}, {"SET", key, "5"}, {"INCRBY", key, "3"}, {"EXPIRE", key, "1"}, {"PERSIST", key}, {"INCR", key}, {"TOPK.ADD", "top", n}, {"PFADD", "fans", item},
		{"PFADD", fans, item}, {"PFADD", fans, item, n}, {"PFADD", fans, item}, {"DEL", fans}, {"EXPIRE", fans, "1"}, {"PERSIST", fans},
	}[rng.IntN(14)]
}

// load has a client count until stop is closed; a connection that breaks is made anew.
func (n *regionCounts) load(addr string, rng *rand.Rand, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		c, err := redistest.Dial(addr)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		c.Timeout = 3 * time.Second
		for n.batch(c, rng, stop) {
		}
		c.Close()
	}
}

// batch sends some commands and reads their replies; false: no more on this connection.
func (n *regionCounts) batch(c *redistest.Conn, rng *rand.Rand, stop chan struct{}) bool {
	select {
	case <-stop:
		return false
	default:
	}
	const depth = 16
	var keys [depth]int
	var commands [][]string
	for i := range keys {
		keys[i] = rng.IntN(regionKeys)
		commands = append(commands, []string{"INCR", regionKey(keys[i])})
		switch rng.IntN(16) {
		case 0, 1:
			keys[i] = -1
			commands[i] = regionCommand(rng)
			n.mixed.Add(1)
		case 2:
			keys[i] = regionKeys
			commands[i] = []string{"CMS.INCRBY", regionKey(regionKeys), "x", "1"}
		}
	}
	replies, err := c.Pipeline(commands...)
	for i, key := range keys {
		switch {
		case key < 0:
		case i < len(replies) && !replies[i].IsError():
			n.answered[key].Add(1)
		case i < len(replies) && !strings.HasPrefix(replies[i].Text, "UNKNOWN"):
		default:
			n.unknown[key].Add(1)
		}
	}
	return err == nil
}

// sum is how many increments were answered.
func (n *regionCounts) sum() (sum int64) {
	for i := range n.answered {
		sum += n.answered[i].Load()
	}
	return sum
}

// plus adds what other clients know.
func (n *regionCounts) plus(m *regionCounts) {
	for i := range n.answered {
		n.answered[i].Add(m.answered[i].Load())
		n.unknown[i].Add(m.unknown[i].Load())
	}
	n.mixed.Add(m.mixed.Load())
}

// verify demands that the keys that are only incremented are what clients were told.
func (n *regionCounts) verify(t *testing.T, values map[string]string) {
	t.Helper()
	for i := range n.answered {
		got, _ := strconv.ParseInt(values[regionKey(i)], 10, 64)
		answered, unknown := n.answered[i].Load(), n.unknown[i].Load()
		if got < answered || got > answered+unknown {
			t.Errorf("%s is %d; %d were answered, and of %d it is not known", regionKey(i), got, answered, unknown)
		}
	}
	if t.Logf("%d increments answered, %d other commands", n.sum(), n.mixed.Load()); n.sum() == 0 {
		t.Error("nothing was counted")
	}
}

// values are all keys of a region with their values, of a sketch with what it says.
func (g *regions) values(i int) map[string]string {
	c := g.list[i].Dial(g.t)
	defer c.Close()
	values := map[string]string{}
	for _, key := range elementsOf(do(g.t, c, "KEYS", "*")) {
		switch {
		case key == "":
		case key == "views":
			values[key] = elementsOf(do(g.t, c, "CMS.QUERY", key, "x"))[0]
		case key == "top":
			values[key] = fmt.Sprint(elementsOf(do(g.t, c, "TOPK.LIST", key, "WITHCOUNT")))
		case strings.HasSuffix(strings.TrimRight(key, "0123456789:"), "fans"):
			values[key] = do(g.t, c, "PFCOUNT", key).Text
		default:
			values[key] = do(g.t, c, "GET", key).Text
		}
	}
	return values
}

// converge demands that all regions come to the same within a limit.
func (g *regions) converge(limit time.Duration) map[string]string {
	g.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		first, same := g.values(0), true
		for i := 1; i < len(g.list); i++ {
			same = same && fmt.Sprint(g.values(i)) == fmt.Sprint(first)
		}
		if same {
			return first
		}
		if time.Now().After(end) {
			for i, name := range g.names {
				g.t.Errorf("%s: %v", name, g.values(i))
			}
			g.t.Fatal("the regions have not come to the same")
		}
	}
}

// tombstones demands that no region keeps anything of keys that do not exist once they have been deleted. Before that, a PERSIST may be kept: one
// of a key that then died elsewhere, before it was heard of there.
func (g *regions) tombstones() {
	g.t.Helper()
	c := g.list[0].Dial(g.t)
	for n := range mixedKeys {
		do(g.t, c, "DEL", "mixed:"+strconv.Itoa(n))
	}
	c.Close()
	for i, name := range g.names {
		c := g.list[i].Dial(g.t)
		left := func() string {
			_, text, _ := strings.Cut(do(g.t, c, "INFO", "regions").Text, "region_tombstones:")
			n, _, _ := strings.Cut(text, "\r\n")
			return n
		}
		eventuallyTrue(g.t, "no tombstone in "+name, func() bool { return left() == "0" })
		c.Close()
	}
}

// TestRegionsUnderFaults: three regions count while nodes are killed and frozen and links cut, in one direction or both, and one in a
// hundred of what they tell is held for a moment. In the end all have the same, and of what is only incremented no answered increment is
// lost, and none is counted twice, nor in a sketch. Then nothing is kept of counters that were deleted.
func TestRegionsUnderFaults(t *testing.T) {
	g := startRegions(t, "eu", "us", "asia")
	c := g.list[0].Dial(t)
	do(t, c, "CMS.INITBYDIM", "views", "1000", "4")
	do(t, c, "TOPK.RESERVE", "top", "5")
	c.Close()
	g.settle(0)
	rng := newRand(t)
	var n regionCounts
	stop := make(chan struct{})
	g.net.Stall(0.01, 300*time.Millisecond)
	var clients sync.WaitGroup
	for _, s := range g.list {
		for range 2 {
			r := rand.New(rand.NewPCG(rng.Uint64(), 0))
			clients.Go(func() { n.load(s.Addr, r, stop) })
		}
	}
	for range redistest.Size(6, 12, 30) {
		i, j := rng.IntN(3), rng.IntN(3)
		switch rng.IntN(4) {
		case 0:
			g.list[i].Kill9()
			g.list[i] = g.nodes[i].Start(t)
		case 1:
			_ = syscall.Kill(g.list[i].Pid(), syscall.SIGSTOP)
			time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
			_ = syscall.Kill(g.list[i].Pid(), syscall.SIGCONT)
		case 2:
			g.net.Cut(i, j, true)
		default:
			g.net.Heal()
		}
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
	}
	close(stop)
	clients.Wait()
	g.net.Heal()
	g.net.Stall(0, 0)
	healed := time.Now()
	for i := range g.list {
		g.settle(i)
	}
	t.Logf("each has told the others %v after healing", time.Since(healed).Round(time.Millisecond))
	time.Sleep(1100 * time.Millisecond) // what was to die has died
	values := g.converge(10 * time.Second)
	g.tombstones()
	n.verify(t, values)
}

// TestRegionOldCopy: a region whose data directory is replaced by an older copy is noticed, and can go on as another incarnation, with
// nothing of what others know lost.
func TestRegionOldCopy(t *testing.T) {
	g := startRegions(t, "eu", "us")
	count := func(i int, by string) {
		c := g.list[i].Dial(t)
		defer c.Close()
		do(t, c, "INCRBY", "n", by)
	}
	count(0, "10")
	g.settle(0)
	if status, ok := g.list[0].Terminate(20 * time.Second); !ok || status != 0 {
		t.Fatalf("status %d", status)
	}
	old := filepath.Join(t.TempDir(), "old")
	if out, err := exec.Command("cp", "-a", g.nodes[0].Dir, old).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g.list[0] = g.nodes[0].Start(t)
	count(0, "5")
	g.settle(0)
	g.list[0].Kill9()
	if err := os.RemoveAll(g.nodes[0].Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, g.nodes[0].Dir); err != nil {
		t.Fatal(err)
	}
	g.list[0] = g.nodes[0].Start(t)
	eventuallyTrue(t, "the link to say that the data are older", func() bool {
		return strings.Contains(g.link(0, "us", "error"), "older copy")
	})
	count(0, "1") // it is at a position again where it was before: one of the two cannot count
	c := g.list[0].Dial(t)
	defer c.Close()
	do(t, c, "REGION", "RENEW")
	count(0, "2")
	g.settle(0)
	g.settle(1)
	if values := g.converge(5 * time.Second); values["n"] != "17" {
		t.Errorf("n is %s, and not 10 + 5 + 2", values["n"])
	}
}

// TestRegionOldCopyOvertakes: an older copy that has counted past what the others know before the link is up is noticed as well.
func TestRegionOldCopyOvertakes(t *testing.T) {
	g := startRegions(t, "eu", "us")
	count := func(by int) {
		c := g.list[0].Dial(t)
		defer c.Close()
		for range by {
			do(t, c, "INCR", "n")
		}
	}
	count(10)
	g.settle(0)
	if status, ok := g.list[0].Terminate(20 * time.Second); !ok || status != 0 {
		t.Fatalf("status %d", status)
	}
	old := filepath.Join(t.TempDir(), "old")
	if out, err := exec.Command("cp", "-a", g.nodes[0].Dir, old).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g.list[0] = g.nodes[0].Start(t)
	count(5)
	g.settle(0)
	g.list[0].Kill9()
	if err := os.RemoveAll(g.nodes[0].Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, g.nodes[0].Dir); err != nil {
		t.Fatal(err)
	}
	g.net.Cut(0, 1, true)
	g.list[0] = g.nodes[0].Start(t)
	count(20) // other ones than the 5 that us has
	g.net.Heal()
	eventuallyTrue(t, "the link to say that the data are older", func() bool {
		return strings.Contains(g.link(0, "us", "error"), "another history")
	})
	c := g.list[0].Dial(t)
	defer c.Close()
	if lag := g.lag(0, "us"); lag["positions"] != -1 || lag["frames"] != 0 {
		t.Errorf("something was told: %v", lag)
	}
	if got := g.values(1)["n"]; got != "15" {
		t.Errorf("us has %s, and was told 15", got)
	}
	do(t, c, "REGION", "RENEW")
	count(2)
	g.settle(0)
	g.settle(1)
	if values := g.converge(5 * time.Second); values["n"] != "32" {
		t.Errorf("n is %s, and not 10 + 20 + 2: of the copy's old incarnation, the larger history counts", values["n"])
	}
}

// TestRegionLost: what a region counted before it was lost is known to all that are left, and it cannot come back.
func TestRegionLost(t *testing.T) {
	g := startRegions(t, "eu", "us", "asia")
	for i := range g.list {
		c := g.list[i].Dial(t)
		do(t, c, "INCRBY", "n", []string{"1", "10", "100"}[i])
		c.Close()
	}
	g.settle(2)
	g.net.Cut(2, 1, true) // only eu hears of what comes
	c := g.list[2].Dial(t)
	do(t, c, "INCRBY", "n", "1000")
	c.Close()
	eventuallyTrue(t, "eu to have it", func() bool { return g.values(0)["n"] == "1111" })
	g.list[2].Kill9()
	c = g.list[0].Dial(t)
	defer c.Close()
	do(t, c, "REGION", "LOST", "asia")
	lost := g.list[2]
	g.list, g.names = g.list[:2], g.names[:2]
	eventuallyTrue(t, "us to have it from eu", func() bool { return g.values(1)["n"] == "1111" })
	do(t, c, "DEL", "n")
	eventuallyTrue(t, "us to have the DEL", func() bool { return g.values(1)["n"] == "" })
	g.net.Heal()
	_ = lost
	g.list = append(g.list, g.nodes[2].Start(t))
	eventuallyTrue(t, "asia to be refused", func() bool { return strings.HasPrefix(g.link(2, "us", "error"), "REGIONLOST") })
	if got := g.values(1)["n"]; got != "" {
		t.Errorf("what was lost has come back: %s", got)
	}
}

func eventuallyTrue(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no sign of: %s", what)
		}
	}
}

// TestRegionOfThreeNodes: a region of three nodes whose leader is killed again and again goes on to tell the other one what it counts, from
// what the next leader knows itself.
func TestRegionOfThreeNodes(t *testing.T) {
	us := redistest.Quipu{Dir: t.TempDir(), Port: redistest.FreePort(t)}
	usAddr := "us=127.0.0.1:" + strconv.Itoa(us.Port)
	eu := redistest.LaunchCluster(t, 3, func(int) []string { return append([]string{"--region", "eu", "--region-peers", usAddr}, smallFiles...) })
	var peers []string
	for _, s := range eu {
		peers = append(peers, "eu="+s.Addr)
	}
	us.Flags = []string{"--region", "us", "--region-peers", strings.Join(peers, ",")}
	other := us.Start(t)
	g := &regions{t: t, names: []string{"eu", "us"}, list: []*redistest.Server{eu[0], other}}
	settle := func() { // whoever leads by then: on a busy machine that changes by itself
		eventuallyTrue(t, "us to have all", func() bool {
			g.list[0] = eu[redistest.WaitLeader(t, eu)]
			c := g.list[0].Dial(t)
			defer c.Close()
			r, err := c.Do("REGION", "WAIT", "1", "500")
			return err == nil && r.Text == "1"
		})
	}
	settle()
	g.settle(1)
	rng := newRand(t)
	var n regionCounts
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for _, s := range append(eu[:3:3], other) {
		r := rand.New(rand.NewPCG(rng.Uint64(), 0))
		clients.Go(func() { n.load(s.Addr, r, stop) })
	}
	for range redistest.Size(2, 3, 8) {
		time.Sleep(time.Duration(200+rng.IntN(400)) * time.Millisecond)
		redistest.KillLeader(t, eu)
		settle() // a node that was started again has what changed since, and may lead next
		if whole := g.link(0, "us", "whole-parts"); whole != "0" {
			t.Errorf("the next leader has sent %s whole parts", whole)
		}
	}
	close(stop)
	clients.Wait()
	settle()
	g.settle(1)
	time.Sleep(1100 * time.Millisecond) // what was to die has died
	g.checkThree(eu)
	g.names, g.list = []string{"eu", "eu", "eu", "us"}, append(eu[:3:3], other)
	values := g.converge(10 * time.Second)
	n.verify(t, values)
}

// about is what a reply of maps, as text, has of one region.
func about(words []string, region string) map[string]string {
	all := map[string]string{}
	for i, at := 0, ""; i+1 < len(words); i += 2 {
		if words[i] == "region" {
			at = words[i+1]
		}
		if at == region {
			all[words[i]] = words[i+1]
		}
	}
	return all
}

// lag is what REGION LAG of a region says about another one, as numbers; what is no number is 0.
func (g *regions) lag(from int, to string) map[string]int64 {
	c := g.list[from].Dial(g.t)
	defer c.Close()
	numbers := map[string]int64{}
	for name, text := range about(elementsOf(do(g.t, c, "REGION", "LAG")), to) {
		numbers[name], _ = strconv.ParseInt(text, 10, 64)
	}
	return numbers
}

// checkThree demands of the first region's nodes that the one that leads finds no difference, and that the others say that it is to be asked.
func (g *regions) checkThree(nodes []*redistest.Server) {
	g.t.Helper()
	eventuallyTrue(g.t, "one node to lead", func() bool {
		led, refused := 0, 0
		for _, s := range nodes {
			c := s.Dial(g.t)
			r, err := c.Do("REGION", "CHECK")
			c.Close()
			switch found := about(elementsOf(r), "us"); {
			case err != nil:
			case found["parts-compared"] == "256" && found["parts-differing"] == "0":
				led++
			case strings.HasPrefix(r.Text, "REGION another node leads"):
				refused++
			default:
				g.t.Logf("not yet: %v", elementsOf(r))
			}
		}
		return led == 1 && refused == len(nodes)-1
	})
}
