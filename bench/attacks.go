package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"quipu/internal/ports"
	"quipu/internal/redistest"
)

// attacks are what clients do that do harm. One that would only be load (connecting as fast as one can) is paced: what is
// looked for is harm beyond the attackers' own work.
func attacks(cfg config) []attack {
	small := []string{"--maxmemory-clients", "32mb"}
	return []attack{
		{name: "as many idle connections as may be", attackers: cfg.scaled(10_000) - 2*attackClients, run: hold("")},
		{name: "2,000 connections a second, made and closed", attackers: 20, run: again(10*time.Millisecond, "", false)},
		{name: "half a command each, dripped by 1,000 clients", settings: small, attackers: 1000,
			run: drip("*2\r\n$4\r\nECHO\r\n$1048576\r\n", strings.Repeat("x", 1<<10), 50*time.Millisecond)},
		{name: "MULTI without an end, 200 clients", settings: small, attackers: 200,
			run: drip(bulks("MULTI"), bulks("SET", "q", strings.Repeat("x", 4<<10)), 50*time.Millisecond)},
		{name: "a million commands at once and no reply read, 50 clients", settings: small, attackers: 50, ramp: 6, run: hold(strings.Repeat(bulks("ECHO", strings.Repeat("x", 100)), 1_000_000))},
		{name: "replies of 1 MiB that are not read, 50 clients", settings: small, attackers: 50, ramp: 4,
			fill: bulks("SET", "large", strings.Repeat("x", 1<<20)), run: hold(strings.Repeat(bulks("GET", "large"), 500_000))},
		{name: "lengths beyond all limits, 1,000 a second", attackers: 10, run: again(10*time.Millisecond, "*1\r\n$9223372036854775807\r\n", true)},
		{name: "passwords guessed, 1,000 a second", attackers: 10, run: again(10*time.Millisecond, bulks("AUTH", "nobody", "guess"), true)},
		{name: "KEYS with a pattern that is slow to match", attackers: 2, run: ask(bulks("KEYS", strings.Repeat("*a", 500)+"b"), 100*time.Millisecond)},
		{name: "PFCOUNT of 50,000 keys", attackers: 1, fill: manySketches(), run: ask(countMany(), 500*time.Millisecond)},
		{name: "sketches of 64 MiB merged", attackers: 1, fill: bulks("CMS.INITBYDIM", "cms", "1000000", "8"),
			run: ask(bulks("CMS.MERGE", "cms", "2", "cms", "cms", "WEIGHTS", "0", "0"), 500*time.Millisecond)},
		{name: "a forged sketch, asked 200 times a second", attackers: 2, fill: bulks("SET", "forged", "HYLL\x01"+strings.Repeat("\x00", 10)+"\x80"+strings.Repeat("\x7f\xff", 5000)),
			run: ask(bulks("PFCOUNT", "forged"), 10*time.Millisecond)},
		{name: "TLS handshakes begun and left, by 1,000 clients", at: tlsPort, prepare: withTLS, attackers: 1000,
			run: again(2*time.Second, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", false)},
		{name: "TLS without a certificate, 200 handshakes a second", at: tlsPort, prepare: withTLS, attackers: 4, run: strangers(20 * time.Millisecond)},
		{name: "garbage on the port for nodes, 500 times a second", at: peerPort, prepare: withPeers, attackers: 10,
			run: again(20*time.Millisecond, strings.Repeat("\xff\x00garbage", 100), true)},
		{name: "HTTP requests dripped by 1,000 clients", at: httpPort, prepare: withHTTP, attackers: 1000, run: drip("GET /feed HTTP/1.1\r\n", "x", 100*time.Millisecond)},
		{name: "the feed followed and not read, 200 clients", at: httpPort, ramp: 16, prepare: withHTTP, attackers: 200, run: hold("GET /feed HTTP/1.1\r\nHost: localhost\r\n\r\n")},
	}
}

// attack is one kind of harm.
type attack struct {
	name      string
	settings  []string
	prepare   func(v *attacked, cfg config) (settings []string, err error) // nil: nothing
	fill      string                                                       // commands that come before
	at        func(v *attacked) string                                     // the address; nil: that of clients
	attackers int
	ramp      int // so many times as long as others until it is measured: it begins with work that it may ask for; 0: 1
	run       harm
}

// harm is what an attacker does until the context ends. connect makes a connection that is closed then; nil: there is none.
type harm func(ctx context.Context, connect func() net.Conn)

func tlsPort(v *attacked) string  { return v.tls }
func peerPort(v *attacked) string { return v.peer }
func httpPort(v *attacked) string { return v.http }

// hold connects, says something, reads nothing and stays. If the server ends that while it speaks, it begins anew.
func hold(say string) harm {
	words := []byte(say) // once: with a copy for each of many attackers, this process would slow the load down, and not the server
	return func(ctx context.Context, connect func() net.Conn) {
		for ctx.Err() == nil {
			c := connect()
			if c == nil {
				pause(ctx, 100*time.Millisecond)
				continue
			}
			if _, err := c.Write(words); err == nil { // it waits where the server does not read
				<-ctx.Done()
			}
			c.Close()
			pause(ctx, time.Second)
		}
	}
}

// again connects anew each time, says something and waits for an answer if it is asked to.
func again(every time.Duration, say string, listen bool) harm {
	return func(ctx context.Context, connect func() net.Conn) {
		for ctx.Err() == nil {
			if c := connect(); c != nil {
				io.WriteString(c, say)
				if listen {
					c.SetReadDeadline(time.Now().Add(time.Second))
					c.Read(make([]byte, 512))
				} else if len(say) > 0 {
					pause(ctx, every)
				}
				c.Close()
			}
			pause(ctx, every)
		}
	}
}

// drip says first, and then a piece again and again, and never reads.
func drip(first, piece string, every time.Duration) harm {
	return func(ctx context.Context, connect func() net.Conn) {
		for ctx.Err() == nil {
			c := connect()
			if c == nil {
				pause(ctx, every)
				continue
			}
			for _, err := io.WriteString(c, first); err == nil && ctx.Err() == nil; _, err = io.WriteString(c, piece) {
				pause(ctx, every)
			}
			c.Close()
		}
	}
}

// ask sends a command, waits for the whole reply, and rests.
func ask(command string, rest time.Duration) harm {
	return func(ctx context.Context, connect func() net.Conn) {
		c := connect()
		if c == nil {
			return
		}
		replies := bufio.NewReaderSize(c, 64<<10)
		for ctx.Err() == nil {
			if _, err := io.WriteString(c, command); err != nil {
				return
			}
			line, err := replies.ReadString('\n')
			var n int
			if _, scan := fmt.Sscanf(line, "*%d", &n); err == nil && scan == nil {
				err = expectBulks(replies, n)
			}
			if err != nil {
				return
			}
			pause(ctx, rest)
		}
	}
}

// expectBulks reads n strings.
func expectBulks(r *bufio.Reader, n int) error {
	for range n {
		line, err := r.ReadString('\n')
		var size int
		if _, scan := fmt.Sscanf(line, "$%d", &size); err == nil {
			err = scan
		}
		if err == nil {
			_, err = r.Discard(size + 2)
		}
		if err != nil {
			return noEOF(err)
		}
	}
	return nil
}

// strangers begin TLS and show no certificate.
func strangers(every time.Duration) harm {
	return func(ctx context.Context, connect func() net.Conn) {
		for ctx.Err() == nil {
			if c := connect(); c != nil {
				t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				if t.Handshake() == nil {
					t.Read(make([]byte, 1)) // with TLS 1.3 the refusal comes after the client's side is done
				}
				c.Close()
			}
			pause(ctx, every)
		}
	}
}

// sketchNames are 50,000 sketches.
func sketchNames() []string {
	names := make([]string, 50_000)
	for i := range names {
		names[i] = fmt.Sprint("pf:", i)
	}
	return names
}

func manySketches() string {
	var b strings.Builder
	for i, name := range sketchNames() {
		b.WriteString(bulks("PFADD", name, fmt.Sprint(i), fmt.Sprint(i+1)))
	}
	return b.String()
}

func countMany() string { return bulks(append([]string{"PFCOUNT"}, sketchNames()...)...) }

// withTLS has the server listen for TLS with certificates of its own, which clients must have too.
func withTLS(v *attacked, cfg config) ([]string, error) {
	if out, err := exec.Command(cfg.quipu, "tls", "init", "--dir", v.dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("quipu tls init: %w: %s", err, out)
	}
	port, err := ports.Keep()
	v.tls = fmt.Sprint("127.0.0.1:", port)
	file := func(name string) string { return filepath.Join(v.dir, name) }
	return []string{"--tls-port", fmt.Sprint(port), "--tls-cert-file", file("server.crt"), "--tls-key-file", file("server.key"), "--tls-ca-cert-file", file("ca.crt")}, err
}

func withPeers(v *attacked, _ config) ([]string, error) {
	port, err := ports.Keep()
	v.peer = fmt.Sprint("127.0.0.1:", port)
	return []string{"--peer-addr", v.peer}, err
}

func withHTTP(v *attacked, _ config) ([]string, error) {
	port, err := ports.Keep()
	v.http = fmt.Sprint("127.0.0.1:", port)
	return []string{"--http-addr", v.http}, err
}

// sendAll sends commands and reads as many replies.
func (v *attacked) sendAll(commands string) error {
	c, err := redistest.Dial(v.addr())
	if err != nil {
		return err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() { sent <- c.Send([]byte(commands)) }()
	for range strings.Count("\r\n"+commands, "\r\n*") {
		if r, err := c.Read(); err != nil || r.IsError() {
			return fmt.Errorf("filling: %v, %w", r, err)
		}
	}
	return <-sent
}
