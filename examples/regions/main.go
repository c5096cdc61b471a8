// Command regions runs three regions on this machine, with a network of 80 ms between them that can be cut: `make regions`. It prints what
// to try and, whenever they change, the values of some keys in each region and how far the links are behind. Ctrl-C stops all.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"quipu/internal/netfault"
)

const (
	oneWay     = 40 * time.Millisecond
	readyLimit = 30 * time.Second
	look       = 500 * time.Millisecond
	shownKeys  = 12
)

var names = []string{"eu", "us", "asia"}

func main() {
	server := flag.String("server", "bin/quipu", "the `program` to run")
	dir := flag.String("dir", "./quipu-regions", "data `directory`; each region has a folder and a log in it")
	port := flag.Int("port", 7101, "`port` of the first region; the others have the next ones")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *server, *dir, *port, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "regions:", err)
		os.Exit(1)
	}
}

// region is one region: a process, and a client of it.
type region struct {
	name   string
	port   int
	client *redis.Client
	cmd    *exec.Cmd
}

func run(ctx context.Context, server, dir string, port int, input io.Reader, out io.Writer) error {
	net := netfault.New()
	defer net.Close()
	net.Delay(oneWay)
	var list []*region
	defer func() {
		for _, r := range list {
			r.stop()
		}
	}()
	for i, name := range names {
		r := &region{name: name, port: port + i}
		if err := r.start(net, i, server, dir, port); err != nil {
			return err
		}
		list = append(list, r)
	}
	for _, r := range list {
		if err := r.awaitReady(ctx); err != nil {
			return err
		}
	}
	describe(out, list)
	lines := make(chan string)
	go func() {
		for s := bufio.NewScanner(input); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return watch(ctx, net, list, lines, out)
}

// start starts a region whose links go through the network.
func (r *region) start(net *netfault.Network, number int, server, dir string, port int) error {
	var peers []string
	for i, name := range names {
		if i == number {
			continue
		}
		address, err := net.OpenFor(number, i, "127.0.0.1:"+strconv.Itoa(port+i))
		if err != nil {
			return err
		}
		peers = append(peers, name+"="+address)
	}
	folder := filepath.Join(dir, r.name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(folder+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r.cmd = exec.Command(server, "server", "--port", strconv.Itoa(r.port), "--dir", folder, "--region", r.name, "--region-peers", strings.Join(peers, ","))
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which then stops the regions
	if err := r.cmd.Start(); err != nil {
		return err
	}
	r.client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(r.port), DisableIdentity: true})
	return nil
}

// stop stops the region as an operator would.
func (r *region) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	_ = r.cmd.Wait()
	r.client.Close()
}

// awaitReady waits until all links of the region are connected.
func (r *region) awaitReady(ctx context.Context) error {
	for end := time.Now().Add(readyLimit); ; {
		info, err := r.client.Info(ctx, "regions").Result()
		if err == nil && strings.Count(info, "state=connected") == len(names)-1 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s has no link to the others (%w); its log is beside its folder", r.name, errors.Join(err, errors.New(info)))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func describe(out io.Writer, list []*region) {
	fmt.Fprintln(out, "Three regions count the same keys, with 80 ms between them:")
	for _, r := range list {
		fmt.Fprintf(out, "  %-5s 127.0.0.1:%d\n", r.name, r.port)
	}
	eu, us := list[0].port, list[1].port
	fmt.Fprintf(out, `Try, in another terminal:
  redis-cli -p %d INCRBY likes 5       and look how it comes to the others
  redis-cli -p %d REGION VALUE likes   who has counted what
Type here: cut eu us     then count on both sides, DEL on one while the other counts; reads go on everywhere
           heal          and all come to the same
Ctrl-C stops all three.
`, eu, us)
}

// watch carries out what is typed, and shows the values when they change.
func watch(ctx context.Context, net *netfault.Network, list []*region, lines chan string, out io.Writer) error {
	shown := ""
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			obey(net, strings.Fields(line), out)
		case <-tick.C:
			if table := values(ctx, list); table != shown && ctx.Err() == nil {
				fmt.Fprint(out, table)
				shown = table
			}
		}
	}
}

// obey cuts what two regions say to each other, or heals all.
func obey(net *netfault.Network, words []string, out io.Writer) {
	number := func(i int) int { return slices.Index(names, words[i]) }
	switch {
	case len(words) == 1 && words[0] == "heal":
		net.Heal()
		fmt.Fprintln(out, "all links work again")
	case len(words) == 3 && words[0] == "cut" && number(1) >= 0 && number(2) >= 0:
		net.Cut(number(1), number(2), true)
		net.Cut(number(2), number(1), true)
		fmt.Fprintf(out, "%s and %s do not hear of each other any more\n", words[1], words[2])
	case len(words) > 0:
		fmt.Fprintln(out, "cut REGION REGION, or heal")
	}
}

// values is a table of keys, with their value in each region, and of what each link is behind.
func values(ctx context.Context, list []*region) string {
	keys := map[string]bool{}
	for _, r := range list {
		for _, key := range r.client.Keys(ctx, "*").Val() {
			keys[key] = true
		}
	}
	var sorted []string
	for key := range keys {
		sorted = append(sorted, key)
	}
	slices.Sort(sorted)
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-20s", "")
	for _, r := range list {
		fmt.Fprintf(&b, "%12s", r.name)
	}
	for _, key := range sorted[:min(len(sorted), shownKeys)] {
		fmt.Fprintf(&b, "\n%-20s", key)
		for _, r := range list {
			value := r.client.Get(ctx, key).Val()
			if value == "" {
				value = "-"
			}
			fmt.Fprintf(&b, "%12s", value)
		}
	}
	fmt.Fprintf(&b, "\n%-20s", "not told yet")
	for _, r := range list {
		fmt.Fprintf(&b, "%12s", behind(r.client.Info(ctx, "regions").Val()))
	}
	return b.String() + "\n"
}

// behind is what the links of a region are behind, of INFO.
func behind(info string) string {
	var list []string
	for line := range strings.Lines(info) {
		if _, rest, ok := strings.Cut(line, ",behind="); ok && strings.HasPrefix(line, "region_link_") {
			n, _, _ := strings.Cut(rest, ",")
			list = append(list, n)
		}
	}
	return strings.Join(list, "/")
}
