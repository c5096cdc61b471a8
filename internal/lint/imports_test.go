package lint

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "quipu"

// layer says what a folder (and what is below it, unless listed itself) may import.
type layer struct {
	dir    string
	ours   []string // packages of this module; "x/..." includes everything below x
	banned []string // packages that must not appear; "x/..." includes everything below x
	why    string   // the reason for banned
}

// layers are the import arrows of docs/ARCHITECTURE.md. The longest matching
// dir holds. Test files may import, besides, anything below internal.
var layers = []layer{
	{dir: "cmd", ours: []string{"server", "config", "internal/admin", "internal/certs", "internal/manual"}},
	{dir: "server", ours: []string{"acl", "transport", "config", "commands", "engine", "engine/shared", "exec", "protocol", "replica", "replication", "server/console", "internal/glob", "internal/histogram", "internal/regionlink", "internal/sdnotify", "internal/throttle"}},
	{dir: "server/console", banned: []string{"os", "os/...", "github.com/..."}, why: "the console shows what the node answers, as any client could"},
	{dir: "replica", ours: []string{"commands", "engine", "exec", "protocol", "replication", "internal/histogram"}},
	{
		dir: "exec", ours: []string{"commands", "engine", "protocol"},
		banned: []string{"crypto/rand", "math/rand", "math/rand/v2", "net", "net/...", "os", "os/...", "log", "log/slog", "github.com/hashicorp/..."},
		why:    "entries are executed on every node and must give the same result everywhere",
	},
	{
		dir:    "transport",
		banned: []string{"github.com/hashicorp/...", "github.com/tidwall/..."},
		why:    "a transport carries bytes, whatever they mean",
	},
	{
		dir: "config", ours: []string{"protocol", "internal/glob"},
		banned: []string{"net", "net/http", "github.com/hashicorp/..."},
		why:    "settings are values: reading them starts nothing",
	},
	{
		dir: "acl", ours: []string{"protocol", "internal/glob"},
		banned: []string{"crypto/rand", "math/rand", "math/rand/v2", "net", "net/...", "os", "os/...", "log", "log/slog", "github.com/hashicorp/..."},
		why:    "rules make the same user on every node",
	},
	{
		dir: "commands", ours: []string{"acl", "engine", "engine/...", "protocol", "internal/glob"},
		banned: []string{"crypto/rand", "math/rand", "math/rand/v2", "net", "net/...", "os", "os/...", "log", "log/slog", "github.com/hashicorp/..."},
		why:    "commands run on every node from the log and must give the same result everywhere",
	},
	{
		dir: "engine", ours: []string{"engine/...", "internal/glob"},
		banned: []string{"crypto/rand", "math/rand", "math/rand/v2", "net", "net/...", "os", "os/...", "log", "log/slog", "github.com/hashicorp/..."},
		why:    "the state must not depend on anything but the log",
	},
	{
		dir:    "protocol",
		banned: []string{"net", "net/...", "os", "os/...", "log", "log/slog"},
		why:    "protocol works on bytes, without sockets and state",
	},
	{
		dir: "replication", ours: []string{"replication/storage", "replication/peer", "internal/histogram"},
		banned: []string{"github.com/tidwall/redcon"},
		why:    "replication carries payloads and knows no RESP",
	},
	{
		dir: "replication/peer", ours: []string{"replication/storage", "internal/certs", "internal/throttle"},
		banned: []string{"github.com/tidwall/redcon", "os/exec"},
		why:    "a peer port carries messages between nodes and knows none of them but the hello",
	},
	{
		dir: "replication/storage", ours: []string{"internal/histogram"},
		banned: []string{"github.com/tidwall/redcon", "net", "net/..."},
		why:    "storage keeps bytes on disk and knows neither their meaning nor other nodes",
	},
	{dir: "bench", ours: []string{"bench/...", "internal/..."}},
	{dir: "bench/accuracy", ours: []string{"bench/...", "engine/...", "internal/..."}},
	{dir: "examples", ours: []string{"internal/..."}},
	// quipu-connect is a module of its own: a client of the server like any other.
	{dir: "connect/config"},
	{dir: "connect/quipu"},
	{dir: "connect/target"},
	{dir: "connect/sink", ours: []string{"connect/config", "connect/quipu", "connect/target"}},
	{dir: "connect/mapping", ours: []string{"connect/config"}},
	{dir: "connect/count", ours: []string{"connect/config", "connect/mapping", "connect/quipu"}},
	{dir: "connect/kafka", ours: []string{"connect/config", "connect/count", "connect/mapping", "connect/quipu"}},
	{dir: "connect/pulsar", ours: []string{"connect/config", "connect/count", "connect/mapping", "connect/quipu"}},
	{dir: "connect/files", ours: []string{"connect/config", "connect/count", "connect/mapping", "connect/quipu"}},
	{dir: "connect/recount", ours: []string{"connect/config", "connect/count", "connect/mapping", "connect/quipu"}},
	{dir: "connect/app", ours: []string{"connect/config", "connect/count", "connect/mapping", "connect/quipu", "connect/recount", "connect/sink", "connect/target"}},
	{dir: "connect/cmd", ours: []string{"connect/app", "connect/config", "connect/count", "connect/files", "connect/kafka", "connect/pulsar"}},
	{dir: "connect/likes", ours: []string{"connect/likes/...", "connect/quipu"}},
	{dir: "connect/likes/parts", ours: []string{"connect/internal/ports"}},
	{dir: "connect/likes/produce"},
	{dir: "connect/likes/watch", ours: []string{"connect/quipu"}},
	{dir: "connect/likes/web", banned: []string{"os", "os/...", "github.com/..."}, why: "the page shows what it is told, and asks the demo for the rest"},
	{dir: "connect/internal", ours: []string{"connect/internal/ports"}},
	{dir: "connect/bench", ours: []string{"connect/internal/..."}},
	{dir: "connect/testbed"},
	{dir: "internal/glob"},
	{dir: "internal/certs"},
	{dir: "internal/histogram"},
	{dir: "internal/sdnotify"},
	{dir: "internal/throttle"},
	{dir: "internal", ours: []string{"acl", "server", "config", "commands", "exec", "engine", "engine/...", "protocol", "replica", "replication", "replication/...", "internal/..."}},
}

// bannedExceptions are justified imports of something banned, by file and
// package, with their reasons.
var bannedExceptions = map[string]string{
	"exec/runner.go math/rand/v2": "RANDOMKEY and other reads without keys get a random number; writes never do",
}

// importers says for modules which folders, besides test code, may import them,
// so that replacing a module is a change in one place.
var importers = map[string][]string{
	"github.com/hashicorp/...":      {"replication"},
	"go.etcd.io/bbolt":              {"replication"},
	"go.etcd.io/etcd/...":           {"bench/etcd"},
	"github.com/tidwall/redcon":     {"protocol"},
	"github.com/tidwall/gjson":      {"connect/mapping", "connect/bench"},
	"github.com/redis/go-redis/...": {"bench", "connect", "examples", "internal"},
	"github.com/twmb/...":           {"bench", "connect/bench", "connect/kafka", "connect/likes", "connect/testbed", "connect/internal"},
	"github.com/apache/...":         {"connect/pulsar"},
	"github.com/jackc/...":          {"connect/target", "connect/bench", "connect/internal"},
	"modernc.org/...":               {"connect/target", "connect/bench", "connect/likes/watch"},
	"github.com/prometheus/...":     {"connect/app", "server"},
	"cel.dev/...":                   {"connect/mapping"},
	"github.com/chromedp/...":       {}, // test code only
	"github.com/redis/rueidis":      {"internal"},
	"pgregory.net/...":              {"internal"},
	"github.com/puzpuzpuz/...":      {"internal"},
	"go.uber.org/goleak":            {"internal"},
	"github.com/axiomhq/...":        {"engine/uc"},
}

func TestImportArrows(t *testing.T) {
	tr := mustLoad(t)
	needed := map[string]bool{}
	for _, f := range tr.files {
		l, ok := layerOf(f.dir)
		if !ok {
			t.Errorf("%s: folder %q is in no layer; add it to layers in this test and to docs/ARCHITECTURE.md", f.path, f.dir)
			continue
		}
		for _, spec := range f.syntax.Imports {
			checkImport(t, tr, f, l, spec, needed)
		}
	}
	checkStale(t, bannedExceptions, needed)
}

// checkImport checks one import and marks in needed the exception it uses.
func checkImport(t *testing.T, tr *tree, f *goFile, l layer, spec *ast.ImportSpec, needed map[string]bool) {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		t.Fatal(err)
	}
	if name == "C" {
		t.Errorf("%s: imports C; the binary is built without a C compiler", tr.at(spec))
	}
	if ours, ok := strings.CutPrefix(name, module+"/"); ok {
		tests := "internal/..."
		if inDir(f.dir, "connect") {
			tests = "connect/internal/..."
		}
		if ours == f.dir || matchAny(l.ours, ours) || (f.test && matchAny([]string{tests}, ours)) {
			return
		}
		t.Errorf("%s: %s must not import %s (allowed: %s)", tr.at(spec), f.dir, ours, strings.Join(l.ours, " "))
		return
	}
	if f.test {
		return
	}
	if key := f.path + " " + name; matchAny(l.banned, name) && bannedExceptions[key] != "" {
		needed[key] = true
	} else if matchAny(l.banned, name) {
		t.Errorf("%s: %s must not import %s: %s", tr.at(spec), f.dir, name, l.why)
	}
	for pattern, dirs := range importers {
		if matchAny([]string{pattern}, name) && !slices.ContainsFunc(dirs, func(d string) bool { return inDir(f.dir, d) }) {
			t.Errorf("%s: %s must not import %s (only %v)", tr.at(spec), f.dir, name, dirs)
		}
	}
}

func layerOf(dir string) (layer, bool) {
	best, ok := layer{}, false
	for _, l := range layers {
		if inDir(dir, l.dir) && len(l.dir) > len(best.dir) {
			best, ok = l, true
		}
	}
	return best, ok
}

// matchAny reports whether name is one of patterns, or below one that ends in "/...".
func matchAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if p == name {
			return true
		}
		if root, ok := strings.CutSuffix(p, "/..."); ok && inDir(name, root) {
			return true
		}
	}
	return false
}
