package server

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quipu/config"
	"quipu/internal/redistest"
)

// A model of clients with caches: each reads keys at random, keeps what it is answered, and drops what it is told of. While others
// write, their caches may be behind. When nobody writes any more, every value that is still in a cache must be that of the server,
// though its client does nothing any more.

// cachingClient is such a client. Replies and messages come in the order in which the server sends them.
type cachingClient struct {
	conn  *redistest.Conn
	optin bool

	mu     sync.Mutex
	cache  map[string]string
	asked  [][]string // of each reply that is to come: the keys whose values it has, nil: of no interest
	hits   int
	drops  int
	failed error
}

// answer takes one reply or message.
func (c *cachingClient) answer(r redistest.Reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Type == '>' {
		switch list := r.Elems[1]; {
		case list.IsNull():
			clear(c.cache)
		default:
			for _, key := range list.Elems {
				delete(c.cache, key.Text)
				c.drops++
			}
		}
		return
	}
	keys := c.asked[0]
	c.asked = c.asked[1:]
	if keys == nil {
		return
	}
	if r.IsError() {
		c.failed = fmt.Errorf("%v: %s", keys, r)
		return
	}
	values := []redistest.Reply{r}
	if r.Type == '*' {
		values = r.Elems
	}
	for i, key := range keys {
		c.cache[key] = values[i].String()
		c.hits++
	}
}

func (c *cachingClient) send(keys []string, args ...string) error {
	c.mu.Lock()
	c.asked = append(c.asked, keys)
	c.mu.Unlock()
	return c.conn.SendCommand(args...)
}

// read reads some keys, in one of several ways.
func (c *cachingClient) read(rng *rand.Rand, keys []string) (err error) {
	if c.optin {
		err = c.send(nil, "CLIENT", "CACHING", "YES")
	}
	if err != nil {
		return err
	}
	switch rng.IntN(3) {
	case 0:
		return c.send(keys, append([]string{"MGET"}, keys...)...)
	case 1:
		if err = c.send(nil, "MULTI"); err != nil {
			return err
		}
		for _, key := range keys {
			if err = c.send(nil, "GET", key); err != nil {
				return err
			}
		}
		return c.send(keys, "EXEC")
	default:
		return c.send(keys[:1], "GET", keys[0])
	}
}

// listen reads until the connection ends.
func (c *cachingClient) listen() {
	for {
		r, err := c.conn.Read()
		if err != nil {
			return
		}
		c.answer(r)
	}
}

func (c *cachingClient) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.asked) == 0
}

// cacheModel runs caching clients and writers on nodes, and compares the caches at rest.
func cacheModel(t *testing.T, nodes []*testNode, rounds int) {
	const keys = 24
	var clients []*cachingClient
	for _, n := range nodes {
		for _, options := range []string{"", "OPTIN", "NOLOOP"} {
			for _, level := range []string{"default", "local"} {
				c := &cachingClient{conn: n.dial(), optin: options == "OPTIN", cache: map[string]string{}}
				expect(t, c.conn, "HELLO 3", "%", "CLIENT READ "+level, "+OK\r\n")
				expect(t, c.conn, strings.TrimSpace("CLIENT TRACKING ON "+options), "+OK\r\n")
				clients = append(clients, c)
				go c.listen()
			}
		}
	}
	name := func(rng *rand.Rand) string { return fmt.Sprint("k", rng.IntN(keys)) }
	for round := range rounds {
		var busy sync.WaitGroup
		var stop atomic.Bool
		for i, n := range nodes {
			for j, ack := range []string{"quorum", "local"} {
				w := n.dial()
				expect(t, w, "CLIENT ACK "+ack, "+OK\r\n")
				rng := rand.New(rand.NewPCG(uint64(round), uint64(10*i+j)))
				busy.Go(func() {
					for !stop.Load() {
						if _, err := w.Do(randomChange(rng, name)...); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		for i, c := range clients {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(1000+i)))
			busy.Go(func() {
				for !stop.Load() {
					if err := c.read(rng, []string{name(rng), name(rng), name(rng)}); err != nil {
						t.Error(err)
						return
					}
					for deep := rng.IntN(8); !c.idle() && deep > 0 && !stop.Load(); deep-- {
						time.Sleep(100 * time.Microsecond)
					}
				}
			})
		}
		time.Sleep(time.Duration(redistest.Size(150, 400, 2000)) * time.Millisecond)
		stop.Store(true)
		busy.Wait()
		compareCaches(t, nodes[0], clients, keys)
	}
	total, drops := 0, 0
	for _, c := range clients {
		c.mu.Lock()
		if total, drops = total+c.hits, drops+c.drops; c.failed != nil {
			t.Error(c.failed)
		}
		c.mu.Unlock()
		c.conn.Close()
	}
	t.Logf("%d values were read, %d were dropped", total, drops)
	if drops == 0 {
		t.Error("nobody was told of anything")
	}
}

// randomChange is a write of any kind that changes a key, or several.
func randomChange(rng *rand.Rand, name func(*rand.Rand) string) []string {
	switch rng.IntN(14) {
	case 0:
		return []string{"SET", name(rng), fmt.Sprint(rng.IntN(1000))}
	case 1:
		return []string{"DEL", name(rng), name(rng)}
	case 2:
		return []string{"SET", name(rng), "7", "PX", fmt.Sprint(1 + rng.IntN(60))}
	case 3:
		return []string{"PEXPIRE", name(rng), fmt.Sprint(rng.IntN(60))}
	case 4:
		return []string{"RENAME", name(rng), name(rng)}
	case 5:
		return []string{"COPY", name(rng), name(rng), "REPLACE"}
	case 6:
		if rng.IntN(20) == 0 {
			return []string{"FLUSHALL"}
		}
		return []string{"MSET", name(rng), "1", name(rng), "2"}
	case 7:
		return []string{"GETDEL", name(rng)}
	default:
		return []string{"INCRBY", name(rng), fmt.Sprint(1 + rng.IntN(9))}
	}
}

// compareCaches waits until all that is in the caches is what the server has.
func compareCaches(t *testing.T, n *testNode, clients []*cachingClient, keys int) {
	t.Helper()
	for _, c := range clients {
		eventually(t, "all replies", c.idle)
	}
	asks := n.dial()
	expect(t, asks, "HELLO 3", "%")
	different := ""
	deadline := time.Now().Add(20 * time.Second)
	for {
		different = ""
		for i := range keys {
			key := fmt.Sprint("k", i)
			r, err := asks.Do("GET", key)
			if err != nil || r.IsError() {
				t.Fatal(r, err)
			}
			for j, c := range clients {
				c.mu.Lock()
				if got, has := c.cache[key]; has && got != r.String() {
					different = fmt.Sprintf("client %d has %s of %s, which is %s", j, got, key, r)
				}
				c.mu.Unlock()
			}
		}
		if different == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("at rest: %s", different)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestCaches: one node.
func TestCaches(t *testing.T) {
	bothTransports(t, func(t *testing.T, transport func(*config.Config)) {
		n := startNode(t, func(c *config.Config) {
			transport(c)
			c.AckRules = nil
			c.TrackingKeys = 20
		})
		cacheModel(t, []*testNode{n}, redistest.Size(1, 4, 15))
	})
}

// TestCachesOfNodes: three, of which each client uses one.
func TestCachesOfNodes(t *testing.T) {
	c := startNodes(t, 3, nil)
	cacheModel(t, c.nodes, redistest.Size(1, 4, 15))
	c.agree()
}
