package replication

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"quipu/replication/storage"
)

// A data directory made of a backup, or of what one node has left after a majority was lost. It always is a new incarnation,
// with this node as the only voter: nodes of the old one cannot come back into it by mistake, and bring entries that it does
// not know.

// Rescued says what a data directory was made of.
type Rescued struct {
	Cluster     string
	Incarnation string // of the new data
	NodeID      string
	Index, Term uint64   // of the last entry in it
	Members     []Member // of the cluster that it comes from
	Taken       time.Time
}

// Restore makes a data directory in cfg.Dir, which must not have data yet, of the backup in a file, which is verified first.
func Restore(cfg Config, path string) (r Rescued, err error) {
	b, err := OpenBackup(path)
	if err != nil {
		return r, err
	}
	defer b.Close()
	r = Rescued{Cluster: b.Cluster, Index: b.Index, Term: b.Term, Members: membersOf(b.Configuration), Taken: b.Taken}
	return r, plant(cfg, &r, func(w io.Writer) error {
		_, err := io.Copy(w, b.Body())
		return err
	})
}

// Recover makes a data directory in the folder to of the one in cfg.Dir, to which nothing is added: of its newest snapshot and of all
// entries in its log, whether or not they were committed. The node that has it must be stopped. begin makes the state machine, for data of that
// incarnation; failed is the error after which it executes nothing more. An empty to only finds out how far the data reach.
func Recover(cfg Config, begin func(incarnation string) StateMachine, failed func() error, to string) (r Rescued, err error) {
	if _, err := os.Stat(filepath.Join(cfg.Dir, groupName)); err != nil {
		return r, fmt.Errorf("%s has no data: %w", cfg.Dir, err)
	}
	d, err := OpenDirectory(cfg.Dir)
	if err != nil {
		return r, err
	}
	g := newRaftGroup(cfg, d, begin(d.Incarnation()))
	defer g.closeFiles()
	if err := g.sizeByDisk(); err != nil {
		return r, err
	}
	if err := g.openStores(filepath.Join(d.path, groupName)); err != nil {
		return r, err
	}
	if err := g.checkGap(); err != nil {
		return r, err
	}
	if err := g.replayAll(&r, failed); err != nil {
		return r, err
	}
	if to == "" {
		return r, nil
	}
	s, err := g.fsm.Snapshot()
	if err != nil {
		return r, err
	}
	defer s.Release()
	cfg.Dir = to
	return r, plant(cfg, &r, s.(*fsmSnapshot).writeTo)
}

// replayAll has the state machine execute everything that there is.
func (g *raftGroup) replayAll(r *Rescued, failed func() error) error {
	r.Cluster, r.Taken = g.id.Cluster, time.Now()
	list, err := g.snaps.List()
	if err != nil {
		return err
	}
	if len(list) > 0 {
		meta, body, err := g.snaps.Open(list[0].ID)
		if err == nil {
			err = g.fsm.Restore(body)
			body.Close()
		}
		if err != nil {
			return err
		}
		r.Index, r.Term, r.Members = meta.Index, meta.Term, membersOf(meta.Configuration)
	}
	last, err := g.logs.LastIndex()
	if err != nil {
		return err
	}
	for r.Index < last {
		var l raft.Log
		if err := g.logs.GetLog(r.Index+1, &l); err != nil {
			return err
		}
		if l.Type == raft.LogConfiguration {
			r.Members = membersOf(raft.DecodeConfiguration(l.Data))
		}
		g.fsm.Apply(&l)
		if p := g.failure.Load(); p != nil {
			return *p
		}
		if err := failed(); err != nil {
			return err
		}
		r.Index, r.Term = l.Index, l.Term
	}
	return nil
}

func membersOf(c raft.Configuration) (list []Member) {
	for _, s := range c.Servers {
		list = append(list, Member{ID: string(s.ID), Address: string(s.Address)})
	}
	return list
}

// plant makes a data directory in cfg.Dir whose only contents are a snapshot: write writes its body.
func plant(cfg Config, r *Rescued, write func(w io.Writer) error) error {
	d, err := OpenDirectory(cfg.Dir)
	if err != nil {
		return err
	}
	if d.Incarnation() != "" {
		return errors.Join(fmt.Errorf("%s has data already: nothing is written over them; name an empty directory", cfg.Dir), d.Close())
	}
	g := newRaftGroup(cfg, d, nil)
	defer g.closeFiles()
	if err := g.sizeByDisk(); err != nil {
		return err
	}
	g.id = storage.Identity{NodeID: d.NodeID(), Cluster: r.Cluster, Incarnation: storage.NewIncarnation(), Created: time.Now().UTC()}
	r.NodeID, r.Incarnation = g.id.NodeID, g.id.Incarnation
	return g.makeDirectory(filepath.Join(d.path, groupName), func(stores Stores) error {
		// Terms must not begin anew below that of the snapshot.
		if err := stores.Votes.SetUint64([]byte("CurrentTerm"), r.Term); err != nil {
			return err
		}
		sink, err := stores.Snapshots.Create(raft.SnapshotVersionMax, r.Index, r.Term, g.firstVoters(), r.Index, g.trans)
		if err != nil {
			return err
		}
		if err := write(sink); err != nil {
			return errors.Join(err, sink.Cancel())
		}
		return sink.Close()
	})
}

// OpenBackup opens a copy of a snapshot, of whatever data, and verifies the whole of it.
func OpenBackup(path string) (*Backup, error) { return storage.OpenBackup(path) }

// OpenSnapshot implements Group.
func (g *raftGroup) OpenSnapshot() (*Backup, error) {
	s, ok := g.snaps.(interface {
		OpenNewest() (*storage.Backup, error)
	})
	if !ok {
		return nil, errors.New("these snapshots are in no files")
	}
	return s.OpenNewest()
}
