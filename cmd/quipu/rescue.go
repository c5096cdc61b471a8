package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"quipu/config"
	"quipu/internal/admin"
	"quipu/server"
)

func backupFlags() (*flag.FlagSet, func() (*admin.Cluster, error)) {
	f := flag.NewFlagSet("quipu backup", flag.ContinueOnError)
	return f, nodeFlags(f, "`address` of a node, for clients; one that does not lead has more time")
}

// runBackup is quipu backup FILE.
func runBackup(args []string) int {
	f, reach := backupFlags()
	words, err := interspersed(f, args)
	if status, over := usageStatus(err, len(words) == 1, "quipu backup FILE [--addr HOST:PORT]"); over {
		return status
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	c, err := reach()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 2
	}
	return statusOf(c.Backup(ctx, words[0], server.VerifyBackup))
}

func restoreFlags() (f *flag.FlagSet, dir *string) {
	f = flag.NewFlagSet("quipu restore", flag.ContinueOnError)
	return f, f.String("dir", "", "`directory` for the data, which has none yet")
}

// runRestore is quipu restore FILE --dir DIRECTORY.
func runRestore(args []string) int {
	f, dir := restoreFlags()
	words, err := interspersed(f, args)
	if status, over := usageStatus(err, len(words) == 1 && *dir != "", "quipu restore FILE --dir DIRECTORY"); over {
		return status
	}
	cfg := config.Default()
	cfg.Dir = *dir
	return statusOf(server.Restore(cfg, words[0], os.Stdout))
}

// recoverOptions is what the flags of quipu recover say.
type recoverOptions struct {
	from, dir *string
	databases *int
}

func recoverFlags() (*flag.FlagSet, recoverOptions) {
	f := flag.NewFlagSet("quipu recover", flag.ContinueOnError)
	return f, recoverOptions{
		from:      f.String("from", "", "data `directory` of a node that is stopped; the data in it stay as they are"),
		dir:       f.String("dir", "", "`directory` for the new data, which has none yet; without it, only say how far the data reach"),
		databases: f.Int("databases", 16, "setting databases of the cluster"),
	}
}

// runRecover is quipu recover --from DIRECTORY [--dir DIRECTORY].
func runRecover(args []string) int {
	f, o := recoverFlags()
	words, err := interspersed(f, args)
	if status, over := usageStatus(err, len(words) == 0 && *o.from != "", "quipu recover --from DIRECTORY [--dir DIRECTORY]"); over {
		return status
	}
	cfg := config.Default()
	cfg.Dir, cfg.Databases = *o.dir, *o.databases
	return statusOf(server.Recover(cfg, *o.from, os.Stdout))
}

// usageStatus is the exit status where the command line is at fault, or asks for help.
func usageStatus(err error, fits bool, usage string) (status int, over bool) {
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0, true
	case err != nil:
		return 2, true
	case !fits:
		fmt.Fprintln(os.Stderr, "quipu: try", usage)
		return 2, true
	}
	return 0, false
}

func statusOf(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "quipu:", err)
		return 1
	}
	return 0
}
