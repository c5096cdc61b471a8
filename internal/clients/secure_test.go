package clients

import (
	"crypto/x509"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quipu/internal/certs"
	"quipu/internal/redistest"
	"quipu/internal/toolbox"
)

// secureChecks are what each client is checked for where a server speaks TLS, demands a certificate of its clients, and
// knows them as users.
var secureChecks = []string{
	"connect",            // with the authority's certificate, one of its own, and user and password: ACL WHOAMI
	"count",              // INCR, INCRBY, GET
	"pipeline",           // 1,000 INCR without waiting, every reply in its place
	"transaction",        // MULTI and EXEC
	"big-value",          // 1,000,000 bytes there and back: many TLS records
	"noperm-command",     // a command that the user may not run: the library's error; the connection goes on
	"noperm-key",         // a key that the user may not touch: the same
	"noperm-pipeline",    // one command within is denied, the others take effect
	"noperm-transaction", // one command within is denied, none takes effect
	"no-certificate",     // the server demands one. With TLS 1.3 it says so late: some clients only see their connection lost
	"unknown-authority",  // the server's certificate is not of the authority that the client trusts
	"other-name",         // the server's certificate does not have the address that the client connects to
	"wrong-password",     // the library's error
}

// The user that clients are. INFO is dangerous in the words of ACL; ioredis asks for it before it is ready.
const (
	secureUser     = "app"
	securePassword = "app-secret"
	secureRules    = "~app:* +@all -@dangerous +info"
)

// secured is a server for one client: each has its own, because Quipu counts wrong passwords by address.
type secured struct {
	port    int // for TLS
	ca      *redistest.Authority
	unknown *redistest.Authority // has signed nothing here
}

// eachSecured runs fn against Quipu and redis-server, as eachTarget does.
func eachSecured(t *testing.T, fn func(t *testing.T, to *secured)) {
	t.Run("quipu", func(t *testing.T) {
		t.Parallel()
		fn(t, newSecured(t, func(flags []string) *redistest.Server { return redistest.Quipu{Flags: flags}.Start(t) }))
	})
	t.Run("redis", func(t *testing.T) {
		if testing.Short() {
			t.Skip("redis-server is not what -short tests")
		}
		t.Parallel()
		fn(t, newSecured(t, func(flags []string) *redistest.Server { return redistest.StartRedis(t, flags...) }))
	})
}

// newSecured starts a server whose certificate is for localhost, and not for 127.0.0.1.
func newSecured(t *testing.T, start func(flags []string) *redistest.Server) *secured {
	to := &secured{port: redistest.FreePort(t), ca: redistest.NewAuthority(t), unknown: redistest.NewAuthority(t)}
	to.ca.Sign(t, "named", func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"localhost"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	admin := start([]string{
		"--tls-port", strconv.Itoa(to.port), "--tls-ca-cert-file", to.ca.File(certs.AuthorityCert),
		"--tls-cert-file", to.ca.File("named.crt"), "--tls-key-file", to.ca.File("named.key"),
	}).Dial(t)
	for _, words := range [][]string{
		append([]string{"ACL", "SETUSER", secureUser, "on", ">" + securePassword}, strings.Fields(secureRules)...),
		{"ACL", "SETUSER", "default", "off"},
	} {
		if r, err := admin.Do(words...); err != nil || r.IsError() {
			t.Fatal(words, r, err)
		}
	}
	return to
}

// args are what the programs get: port, the authority's certificate, the client's and its key, and the unknown authority's certificate.
func (to *secured) args() []string {
	return []string{
		strconv.Itoa(to.port), to.ca.File(certs.AuthorityCert), to.ca.File(certs.ClientCert), to.ca.File(certs.ClientKey),
		to.unknown.File(certs.AuthorityCert),
	}
}

func TestSecureRedisPy(t *testing.T) {
	t.Parallel()
	runSecure(t, toolbox.Python(t, "redis"), "redis-py/secure.py")
}

func TestSecureNodeRedis(t *testing.T) {
	t.Parallel()
	runSecure(t, toolbox.Node(t, "redis"), "node-redis/secure.js")
}

func TestSecureIoredis(t *testing.T) {
	t.Parallel()
	runSecure(t, toolbox.Node(t, "ioredis"), "ioredis/secure.js")
}

func TestSecurePhpredis(t *testing.T) {
	t.Parallel()
	runSecure(t, toolbox.PHP(t, "redis", "openssl"), "phpredis/secure.php")
}

func runSecure(t *testing.T, with toolbox.Interpreter, script string) {
	eachSecured(t, func(t *testing.T, to *secured) {
		converse(t, with, append([]string{script}, to.args()...), secureChecks, nil)
	})
}

// TestSecureRedisCli: what it does behind the handshake is known from elsewhere.
func TestSecureRedisCli(t *testing.T) {
	t.Parallel()
	cli := redistest.Tool(t, "redis-cli")
	eachSecured(t, func(t *testing.T, to *secured) {
		a := to.args()
		login := []string{"--tls", "-h", "localhost", "-p", a[0], "--user", secureUser, "--pass", securePassword, "--no-auth-warning"}
		trusting, certificate := slices.Concat(login, []string{"--cacert", a[1]}), []string{"--cert", a[2], "--key", a[3]}
		good := slices.Concat(trusting, certificate)
		for _, c := range []struct {
			name, want   string
			flags, words []string
		}{
			{"connect", "app", good, []string{"ACL", "WHOAMI"}},
			{"count", "42", good, []string{"INCRBY", "app:redis-cli", "42"}},
			{"noperm-command", "NOPERM ", good, []string{"FLUSHALL"}},
			{"noperm-key", "NOPERM ", good, []string{"INCR", "other"}},
			{"no-certificate", "Error: ", trusting, []string{"PING"}},
			{"other-name", "app", slices.Concat(good, []string{"-h", "127.0.0.1"}), []string{"ACL", "WHOAMI"}}, // it does not compare names
			{"unknown-authority", "certificate verify failed", slices.Concat(login, certificate, []string{"--cacert", a[4]}), []string{"PING"}},
		} {
			out, _ := exec.CommandContext(t.Context(), cli, slices.Concat(c.flags, c.words)...).CombinedOutput()
			if !strings.Contains(string(out), c.want) || strings.Contains(string(out), "PONG") {
				t.Errorf("%s: %s", c.name, out)
			}
		}
	})
}
