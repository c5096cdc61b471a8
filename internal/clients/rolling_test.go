package clients

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/internal/admin"
	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// TestRollingUpgrade stops each of three nodes under load and starts it with a version that knows a semantics level more. No client
// of another node sees an error, by go-redis or redis-py, neither of which tries again. (Those of the node itself are taken
// away before, as a load balancer does.) What only the new version knows is refused until the operator says that all have it.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another binary")
	}
	t.Parallel()
	next := redistest.Variant(t, "nextlevel")
	nodes := redistest.StartCluster(t, 3)
	loads := make([]*nodeLoad, len(nodes))
	var addresses []string
	for i, n := range nodes {
		loads[i] = startLoad(t, n)
		addresses = append(addresses, n.Addr)
	}
	cluster := &admin.Cluster{Addresses: addresses, Out: io.Discard}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	level := func() int64 {
		st, err := cluster.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return st.Level
	}
	time.Sleep(500 * time.Millisecond)
	backUp(t, nodes[0])
	before := ""
	for i, n := range nodes {
		time.Sleep(500 * time.Millisecond)
		loads[i].rest()
		if status, ok := n.Terminate(30 * time.Second); !ok || status != 0 {
			t.Fatalf("node %d ended with %d, %v: %s", i, status, ok, n.Output())
		}
		old := n.Binary()
		n.Use(next)
		if err := n.Relaunch(); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		loads[i].goOn()
		refusesLevel(t, nodes, i)
		if got := level(); got != 3 {
			t.Fatalf("level %d before the upgrade", got)
		}
		before = old
	}
	if err := cluster.Upgrade(ctx); err != nil || level() != 4 {
		t.Fatalf("the cluster is at level %d, %v", level(), err)
	}
	for i, n := range nodes {
		conn := n.Dial(t)
		if r, err := conn.Do("INCREX", "new"); err != nil || r.IsError() {
			t.Errorf("INCREX through node %d: %v, %v", i, r, err)
		}
	}
	answered := int64(0)
	for i, l := range loads {
		answered += l.end(i)
	}
	if r, err := nodes[0].Dial(t).Do("GET", "rolling"); err != nil || r.Text != strconv.FormatInt(answered, 10) {
		t.Errorf("%v are counted, %d were answered; %v", r, answered, err)
	}
	t.Logf("%d writes, none failed", answered)
	stopsAtLevel(t, nodes[0], before) // the others go on, and it gets their entries
}

// backUp takes a backup under load: what was answered before is in it, and nothing that nobody sent.
func backUp(t *testing.T, n *redistest.Server) {
	t.Helper()
	conn := n.Dial(t)
	count := func(c *redistest.Conn) int64 {
		r, err := c.Do("GET", "rolling")
		if err != nil || r.IsError() {
			t.Fatal(r, err)
		}
		v, _ := r.Int()
		return v
	}
	file, dir := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	before := count(conn)
	if out, err := exec.CommandContext(t.Context(), n.Binary(), "backup", file, "--addr", n.Addr).CombinedOutput(); err != nil {
		t.Fatalf("backup: %v, %s", err, out)
	}
	after := count(conn)
	if out, err := exec.CommandContext(t.Context(), n.Binary(), "restore", file, "--dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("restore: %v, %s", err, out)
	}
	if got := count(redistest.Quipu{Dir: dir}.Start(t).Dial(t)); got < before || got > after || before == 0 {
		t.Errorf("%d are restored, %d were counted before the backup and %d after it", got, before, after)
	}
}

// refusesLevel: before the upgrade INCREX is refused where the new version runs, also inside ONCE, which old nodes would record
// another reply to.
func refusesLevel(t *testing.T, nodes []*redistest.Server, upgraded int) {
	t.Helper()
	conn := nodes[upgraded].Dial(t)
	epoch, err := conn.Do("ONCE", "OPEN", "upgrade")
	if err != nil || epoch.IsError() {
		t.Fatal(epoch, err)
	}
	for _, command := range [][]string{{"INCREX", "new"}, {"ONCE", "upgrade", epoch.Text, "1", "INCREX", "new"}} {
		if r, err := conn.Do(command...); err != nil || !strings.Contains(r.Text, "needs semantics level 4") {
			t.Errorf("%v before the upgrade: %v, %v", command, r, err)
		}
	}
}

// stopsAtLevel: the old version does not execute what it does not know.
func stopsAtLevel(t *testing.T, n *redistest.Server, old string) {
	if t.Failed() {
		return
	}
	n.Terminate(30 * time.Second)
	n.Use(old)
	if err := n.Relaunch(); err != nil {
		t.Error(err)
		return
	}
	if status, ended := n.Wait(20 * time.Second); !ended || status == 0 || !strings.Contains(n.Output(), "semantics level") {
		t.Errorf("the old version does not stop at the new level: %d, %v: %s", status, ended, n.Output())
	}
}

// nodeLoad is a client of each library on one node.
type nodeLoad struct {
	t     *testing.T
	goes  atomic.Bool
	turn  sync.Mutex // held while the Go client counts
	ended chan struct{}

	client   *redis.Client
	answered int64
	errs     []error

	python *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
}

func startLoad(t *testing.T, n *redistest.Server) *nodeLoad {
	l := &nodeLoad{t: t, ended: make(chan struct{})}
	l.client = redis.NewClient(&redis.Options{Addr: n.Addr, MaxRetries: -1, PoolSize: 1, ReadTimeout: 30 * time.Second})
	l.python = toolbox.Python(t, "redis").Command(t.Context(), "redis-py/rolling.py", strconv.Itoa(n.Port))
	var err error
	if l.in, err = l.python.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := l.python.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	l.out = bufio.NewScanner(out)
	if err := l.python.Start(); err != nil {
		t.Fatal(err)
	}
	go l.count(t.Context())
	l.goOn()
	return l
}

func (l *nodeLoad) count(ctx context.Context) {
	defer close(l.ended)
	for ctx.Err() == nil {
		l.turn.Lock()
		if l.goes.Load() {
			if err := l.client.Incr(ctx, "rolling").Err(); err == nil {
				l.answered++
			} else if ctx.Err() == nil {
				l.errs = append(l.errs, err)
			}
		}
		l.turn.Unlock()
		if !l.goes.Load() {
			time.Sleep(time.Millisecond)
		}
	}
}

// say tells the other program, and waits until it has done so.
func (l *nodeLoad) say(word string) {
	fmt.Fprintln(l.in, word)
	if !l.out.Scan() || l.out.Text() != word {
		l.t.Fatalf("redis-py answers %q, %v", l.out.Text(), l.out.Err())
	}
}

func (l *nodeLoad) goOn() {
	l.goes.Store(true)
	l.say("go")
}

// rest returns when nothing is under way and no connection is left.
func (l *nodeLoad) rest() {
	l.goes.Store(false)
	l.turn.Lock()
	l.turn.Unlock()
	l.client.Conn().Close()
	l.say("rest")
}

// end returns how many writes were answered, and fails the test if one was not.
func (l *nodeLoad) end(node int) (answered int64) {
	l.rest()
	l.in.Close()
	var python, failed int64
	rest := ""
	if l.out.Scan() {
		fmt.Sscan(l.out.Text(), &python, &failed)
		rest = l.out.Text()
	}
	l.python.Wait()
	if failed != 0 || python == 0 || len(l.errs) > 0 || l.answered == 0 {
		l.t.Errorf("node %d: redis-py says %q, go-redis has %d answers and the errors %v", node, rest, l.answered, l.errs)
	}
	l.client.Close()
	return l.answered + python
}
