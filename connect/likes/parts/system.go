package parts

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"quipu/connect/internal/ports"
)

// The system's names and sizes.
const (
	Topic      = "likes"
	Source     = "likes" // of the configuration
	Partitions = 4
	Nodes      = 3
	Connectors = 2
	Database   = "likes.db"
	TopPosts   = "top" // key of the Top-K sketch
)

// configuration is the only one: both connectors run it, and so may a third that somebody starts by hand.
const configuration = `quipu %s

source likes
  kafka %s
  topic likes
  group quipu-likes
  when event == "like"
  INCR     likes:{post_id}
  INCR     likes:at:{ts|minute}:{second} expire 1h
  PFADD    fans:{post_id} {user_id}
  TOPK.ADD top {post_id}

sink totals
  match likes:*
  sql sqlite:likes.db
  every 500ms
`

// System is which processes there are, and where they listen.
type System struct {
	Dir     string // of all data, logs and the configuration
	Kafka   bool   // the broker is Apache Kafka; else kfake
	Nodes   []string
	Feeds   []string // HTTP addresses of the nodes' feeds
	Broker  string
	Config  string // path
	SQLPath string
	Specs   []Spec
}

// NewSystem chooses ports, writes the configuration into dir and says how each part is started. programs is the folder of quipu,
// quipu-connect and kfake; kafka, if it is not empty, the path of the script that starts Apache Kafka.
func NewSystem(dir, programs, kafka string) (*System, error) {
	s := &System{Dir: dir, Kafka: kafka != "", Config: filepath.Join(dir, "likes.conf"), SQLPath: filepath.Join(dir, Database)}
	programs, err := filepath.Abs(programs)
	if err != nil {
		return nil, err
	}
	addrs, err := addresses(3*Nodes + 2)
	if err != nil {
		return nil, err
	}
	s.Nodes, s.Feeds, s.Broker = addrs[:Nodes], addrs[Nodes:2*Nodes], addrs[3*Nodes]
	peers := addrs[2*Nodes : 3*Nodes]
	for i, addr := range s.Nodes {
		s.Specs = append(s.Specs, Spec{
			Name: fmt.Sprint("node ", i+1), Kind: Node, Addr: addr, Path: filepath.Join(programs, "quipu"), Args: []string{
				"server", "--port", port(addr), "--dir", filepath.Join(dir, fmt.Sprint("node", i+1)), "--http-addr", s.Feeds[i],
				"--peer-addr", peers[i], "--join", strings.Join(peers, ","), "--bootstrap-expect", strconv.Itoa(Nodes),
			}, Ready: nodeReady(addr),
		})
	}
	broker := Spec{Name: "broker", Kind: Broker, Addr: s.Broker, Ready: brokerReady(s.Broker)}
	data := filepath.Join(dir, "broker")
	if s.Kafka {
		broker.Path, broker.Args = kafka, []string{"--port", port(s.Broker), "--controller-port", port(addrs[3*Nodes+1]), "--dir", data}
	} else {
		broker.Path, broker.Args = filepath.Join(programs, "kfake"), []string{"-addr", s.Broker, "-dir", data}
	}
	s.Specs = append(s.Specs, broker)
	for i := range Connectors {
		name := fmt.Sprint("connector ", i+1)
		s.Specs = append(s.Specs, Spec{
			Name: name, Kind: Connector, Path: filepath.Join(programs, "quipu-connect"), Ready: alive,
			Args: []string{"run", "-no-progress", "-instance", strings.ReplaceAll(name, " ", ""), s.Config},
		})
	}
	text := fmt.Sprintf(configuration, strings.Join(s.Nodes, " "), s.Broker)
	return s, os.WriteFile(s.Config, []byte(text), 0o600)
}

func addresses(n int) (list []string, err error) {
	for range n {
		number, err := ports.Keep()
		if err != nil {
			return nil, err
		}
		list = append(list, net.JoinHostPort("127.0.0.1", strconv.Itoa(number)))
	}
	return list, nil
}

func port(addr string) string {
	_, digits, _ := net.SplitHostPort(addr)
	return digits
}

// nodeReady: the node answers a read, for which one has to lead.
func nodeReady(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true})
		defer c.Close()
		return c.Exists(ctx, "nothing").Err()
	}
}

// brokerReady: the broker answers.
func brokerReady(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr) // the client would wait for somebody to listen
		if err != nil {
			return err
		}
		conn.Close()
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
		if err != nil {
			return err
		}
		defer cl.Close()
		return cl.Ping(ctx)
	}
}

// aliveTime is longer than a connector lives that cannot use its configuration.
const aliveTime = 500 * time.Millisecond

// alive is true of a process that has not ended at once: a connector has no port to ask.
func alive(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(aliveTime):
		return nil
	}
}

// Leader is the name of the node that leads, as it says itself.
func (s *System) Leader(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found := make(chan string, Nodes)
	for i, addr := range s.Nodes {
		go func() {
			if leads(ctx, addr) {
				found <- s.Specs[i].Name
			} else {
				found <- ""
			}
		}()
	}
	for range s.Nodes {
		if name := <-found; name != "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("no node leads at the moment")
}

func leads(ctx context.Context, addr string) bool {
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true})
	defer c.Close()
	text, err := c.Info(ctx, "replication").Result()
	return err == nil && strings.Contains(text, "\nraft_leader:1\r")
}
