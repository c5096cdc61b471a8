// Command once counts with go-redis so that each call counts exactly once, although nodes fail: it sends a command again, with
// the same number and through the next node, until there is an answer.
//
//	go run ./examples/once me visits 1000 127.0.0.1:7001 127.0.0.1:7002 127.0.0.1:7003
//
// once.py and once.cjs do the same with redis-py and node-redis.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// producer numbers its commands. Only one process uses its name at a time: who opens it later shuts the others out.
type producer struct {
	name   string
	nodes  []*redis.Client
	at     int // the node to ask next
	epoch  int64
	number int64
}

func open(ctx context.Context, name string, addresses []string) (*producer, error) {
	p := &producer{name: name}
	for _, a := range addresses {
		p.nodes = append(p.nodes, redis.NewClient(&redis.Options{Addr: a, MaxRetries: -1}))
	}
	var err error
	p.epoch, err = p.ask(ctx, "ONCE", "OPEN", name)
	return p, err
}

// do carries out a command that replies with an integer, once.
func (p *producer) do(ctx context.Context, command ...any) (int64, error) {
	p.number++
	return p.ask(ctx, append([]any{"ONCE", p.name, p.epoch, p.number}, command...)...)
}

// ask sends a command until there is an answer.
func (p *producer) ask(ctx context.Context, command ...any) (int64, error) {
	for {
		n, err := p.nodes[p.at].Do(ctx, command...).Int64()
		if err == nil || isAnswer(err) || ctx.Err() != nil {
			return n, err
		}
		p.at = (p.at + 1) % len(p.nodes)
		time.Sleep(20 * time.Millisecond)
	}
}

// isAnswer tells an error of the command itself from one after which it is to be sent again: no connection, no answer, or what
// these words say.
func isAnswer(err error) bool {
	_, fromServer := err.(redis.Error)
	for _, word := range []string{"UNKNOWN", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MISCONF"} {
		if strings.HasPrefix(err.Error(), word+" ") {
			return false
		}
	}
	return fromServer
}

func main() {
	if len(os.Args) < 5 {
		log.Fatal("usage: once producer key count address …")
	}
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	last, err := run(context.Background(), os.Args[1], os.Args[2], count, os.Args[4:])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(last)
}

// run increments a key count times and returns the last answer.
func run(ctx context.Context, name, key string, count int, addresses []string) (last int64, err error) {
	p, err := open(ctx, name, addresses)
	for i := 0; i < count && err == nil; i++ {
		last, err = p.do(ctx, "INCR", key)
	}
	return last, err
}
