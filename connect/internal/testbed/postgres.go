package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const postgresUser = "postgres" // of the system, where root runs the tests, and of the databases

// Postgres is a server of PostgreSQL of a test, with a disk that is memory, as far as there is one. Its data survives Kill.
type Postgres struct {
	*Process
	Addr string // host:port

	bin  string // folder of initdb and pg_dump
	data string
	as   *syscall.Credential
}

// StartPostgres starts PostgreSQL with empty data, and waits until it serves. Everybody on the loopback interface may do everything.
func StartPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	p := &Postgres{bin: postgresBin(tb), as: postgresCredential(tb)}
	data := filepath.Join(fastDir(tb), "data")
	p.data = data
	p.give(tb, p.Dir())
	p.Run(tb, "initdb", "-A", "trust", "-U", postgresUser, "-E", "UTF8", "--locale", "C", "--no-sync", "-D", data)
	port := freePorts(tb, 1)[0]
	p.Addr = loopback(port)
	p.Process = NewProcess(tb, filepath.Join(p.bin, "postgres"), "-D", data, "-c", "listen_addresses=127.0.0.1", "-p", strconv.Itoa(port),
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=30", "-c", "shared_buffers=16MB")
	p.Process.as = p.as
	p.name = "postgres"
	p.Start()
	return p
}

// postgresBin is the folder of the newest PostgreSQL; Debian has it out of the way.
func postgresBin(tb testing.TB) string {
	tb.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if path, err := exec.LookPath("initdb"); err == nil && len(found) == 0 {
		found = append(found, path)
	}
	if len(found) == 0 {
		lack(tb, "there is no initdb, in PATH or below /usr/lib/postgresql; `make tools` installs it")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1])
}

// postgresCredential is whom to run PostgreSQL as, since it refuses root; nil: as ourselves.
func postgresCredential(tb testing.TB) *syscall.Credential {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(postgresUser)
	if err != nil {
		lack(tb, "root may not run PostgreSQL, and there is no user for it: %v", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		tb.Fatal(err1, err2)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// give makes a folder PostgreSQL's.
func (p *Postgres) give(tb testing.TB, dir string) {
	tb.Helper()
	if p.as == nil {
		return
	}
	if err := os.Chown(dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
		tb.Fatal(err)
	}
}

// Dir is a folder that PostgreSQL's programs may write into.
func (p *Postgres) Dir() string { return filepath.Dir(p.data) }

// Run runs one of PostgreSQL's programs to its end.
func (p *Postgres) Run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), filepath.Join(p.bin, name), args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = sysProcAttr(p.as)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Start starts the server again on its data and port, and waits until it serves.
func (p *Postgres) Start() {
	p.tb.Helper()
	p.Process.Start()
	p.await(brokerLimit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, p.URL(postgresUser))
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

// Kill ends the server and all processes that it has started, as a loss of power would.
func (p *Postgres) Kill() {
	children := p.Children()
	p.Process.Kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL) // or it has ended with its parent
	}
	for end := time.Now().Add(endLimit); time.Now().Before(end) && slices.ContainsFunc(children, exists); {
		time.Sleep(time.Millisecond)
	}
}

// exists reports whether there is a process, and be it one that nobody has waited for.
func exists(pid int) bool { return syscall.Kill(pid, 0) == nil }

// Children are the processes that the server has started: those that serve a connection, and others.
func (p *Postgres) Children() (list []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ") // behind the name: state, parent
		fields := strings.Fields(rest)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(p.Pid()) {
			list = append(list, pid)
		}
	}
	return list
}

// KillBackends kills all processes that serve connections. The server ends all others then, and recovers, as after a crash.
func (p *Postgres) KillBackends(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL(postgresUser))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
	if err != nil {
		tb.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		tb.Fatal(err)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // or it has ended by itself
	}
}

// URL is that of a database.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", postgresUser, p.Addr, database)
}

// CreateDatabase makes a database, of the template if that is not empty, and returns its URL.
func (p *Postgres) CreateDatabase(tb testing.TB, name, template string) string {
	tb.Helper()
	text := "CREATE DATABASE " + name
	if template != "" {
		text += " TEMPLATE " + template
	}
	p.Exec(tb, postgresUser, text)
	return p.URL(name)
}

// Exec executes statements in a database.
func (p *Postgres) Exec(tb testing.TB, database, text string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, text); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
}
