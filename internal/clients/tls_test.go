package clients

import (
	"crypto/tls"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"quipu/internal/certs"
	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// TestTLS has clients connect over TLS to a server that demands a certificate. What they do then does not depend on TLS, so
// it is little.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, port := redistest.NewAuthority(t), redistest.FreePort(t)
	redistest.Quipu{Flags: ca.Settings(port)}.Start(t)
	addr := "localhost:" + strconv.Itoa(port)
	files := []string{ca.File(certs.AuthorityCert), ca.File(certs.ClientCert), ca.File(certs.ClientKey)}
	for name, config := range map[string]*tls.Config{"certificate": ca.Good(t), "none": ca.Trusting(t)} {
		good := name == "certificate"
		t.Run("go-redis "+name, func(t *testing.T) {
			c := redis.NewClient(&redis.Options{Addr: addr, TLSConfig: config, MaxRetries: -1})
			defer c.Close()
			if n, err := c.IncrBy(t.Context(), "go-redis", 42).Result(); (err == nil) != good || good && n != 42 {
				t.Error(n, err)
			}
		})
		t.Run("rueidis "+name, func(t *testing.T) {
			c, err := openRueidis(addr, func(o *rueidis.ClientOption) { o.TLSConfig = config })
			if !good {
				if err == nil {
					c.Close()
					t.Error("let in")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			want(t, 42)(c.Do(t.Context(), c.B().Incrby().Key("rueidis").Increment(42).Build()).AsInt64())
		})
	}
	t.Run("redis-cli", func(t *testing.T) {
		cli := []string{"--tls", "-p", strconv.Itoa(port), "--cacert", files[0]}
		certificate := append(cli, "--cert", files[1], "--key", files[2])
		out, err := exec.Command(redistest.Tool(t, "redis-cli"), append(certificate, "INCRBY", "redis-cli", "42")...).CombinedOutput()
		if strings.TrimSpace(string(out)) != "42" {
			t.Errorf("%s, %v", out, err)
		}
		if out, err := exec.Command(redistest.Tool(t, "redis-cli"), append(cli, "PING")...).CombinedOutput(); err == nil || strings.Contains(string(out), "PONG") {
			t.Errorf("let in without a certificate: %s", out)
		}
	})
	for script, with := range map[string]func(t *testing.T) toolbox.Interpreter{
		"redis-py/tls.py":   func(t *testing.T) toolbox.Interpreter { return toolbox.Python(t, "redis") },
		"node-redis/tls.js": func(t *testing.T) toolbox.Interpreter { return toolbox.Node(t, "redis") },
	} {
		t.Run(script, func(t *testing.T) {
			out, err := with(t).Command(t.Context(), append([]string{script, strconv.Itoa(port)}, files...)...).CombinedOutput()
			if wanted := "ok certificate\nok none\ndone 2\n"; err != nil || string(out) != wanted {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
