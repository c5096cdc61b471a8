package server

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"quipu/config"
	"quipu/replica"
	"quipu/replication"
)

// Restore makes the data directory of cfg of a backup in a file, and tells out about it.
func Restore(cfg config.Config, file string, out io.Writer) error {
	log, _ := newLogger(cfg.LogLevel)
	r, err := replication.Restore(replication.Config{Dir: cfg.Dir, SegmentBytes: cfg.SegmentBytes, Logger: log}, file)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "restored into %s: the state at entry %d, written %s\n", cfg.Dir, r.Index, r.Taken.UTC().Format(time.DateTime))
	tellRescued(&r, out)
	return nil
}

// Recover makes the data directory of cfg of what is left in another one, from. With an empty cfg.Dir it only tells how far that
// reaches.
func Recover(cfg config.Config, from string, out io.Writer) error {
	log, _ := newLogger(cfg.LogLevel)
	table, _ := buildTable()
	r, err := replica.Recover(replication.Config{Dir: from, SegmentBytes: cfg.SegmentBytes, Logger: log}, table, cfg.Databases, cfg.Dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s reaches to entry %d of term %d, of a cluster of %d:\n", from, r.Index, r.Term, len(r.Members))
	slices.SortFunc(r.Members, func(a, b replication.Member) int { return cmp.Compare(a.Address, b.Address) })
	for _, m := range r.Members {
		fmt.Fprintf(out, "  %s at %s\n", m.ID, m.Address)
	}
	fmt.Fprintln(out, "Lost is what the others have acknowledged beyond that entry: of several nodes, recover the one whose term, and then entry, is the highest.")
	if cfg.Dir == "" {
		return nil
	}
	fmt.Fprintf(out, "recovered into %s; the data in %s are as they were\n", cfg.Dir, from)
	tellRescued(&r, out)
	return nil
}

func tellRescued(r *replication.Rescued, out io.Writer) {
	fmt.Fprintf(out, "It is node %s, the only voter of incarnation %s. Nodes of the old incarnation cannot join: give them empty directories.\n", r.NodeID, r.Incarnation)
}

// VerifyBackup verifies all bytes of a backup in a file.
func VerifyBackup(path string) error {
	b, err := replication.OpenBackup(path)
	if err != nil {
		return err
	}
	return b.Close()
}
