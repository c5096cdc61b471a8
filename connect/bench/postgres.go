package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"quipu/connect/internal/ports"
)

const postgresUser = "postgres"

// errNoPostgres is why PostgreSQL cannot be measured here.
var errNoPostgres = errors.New("there is no PostgreSQL that can be started here")

// startPostgres starts PostgreSQL with its default settings, its data on the disk that is measured, and returns the URL of an empty
// database.
func (l *lab) startPostgres(ctx context.Context) (p *process, url string, err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return nil, "", errNoPostgres
	}
	slices.Sort(found)
	bin := filepath.Dir(found[len(found)-1])
	dir := filepath.Join(l.work, "postgres")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, "", err
	}
	attr := sysProcAttr()
	if os.Geteuid() == 0 { // which PostgreSQL refuses
		u, err := user.Lookup(postgresUser)
		if err != nil {
			return nil, "", fmt.Errorf("%w: %w", errNoPostgres, err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := errors.Join(os.Chown(dir, int(uid), int(gid)), os.Chmod(l.work, 0o711)); err != nil {
			return nil, "", err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-A", "trust", "-U", postgresUser, "-E", "UTF8", "--locale", "C", "-D", data)
	initdb.SysProcAttr, initdb.Dir = attr, "/"
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%w: initdb: %w\n%s", errNoPostgres, err, out)
	}
	port, err := ports.Keep()
	if err != nil {
		return nil, "", err
	}
	p, err = l.startAs(attr, true, "postgres", filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
	if err != nil {
		return nil, "", err
	}
	url = fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", postgresUser, loopback(port))
	err = until(ctx, time.Minute, 50*time.Millisecond, func() (bool, error) {
		if err := p.alive(); err != nil {
			return false, err
		}
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return false, nil
		}
		return true, conn.Close(ctx)
	})
	return p, url, err
}
