package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/raft"
)

// Backup is an open snapshot file, of this node's data or one that was copied elsewhere.
type Backup struct {
	Cluster       string
	Index, Term   uint64
	Configuration raft.Configuration
	Taken         time.Time
	Size          int64 // of the file
	file          *snapshotFile
}

// OpenNewest opens the newest snapshot, which is not deleted until the result is closed.
func (s *SnapshotStore) OpenNewest() (*Backup, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("there is no snapshot yet")
	}
	f, err := s.open(list[0].ID)
	if err != nil {
		return nil, err
	}
	return backupOf(f)
}

// OpenBackup opens a copy of a snapshot, whatever its name and whose data it is, and verifies the whole of it.
func OpenBackup(path string) (*Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	sf, err := (&SnapshotStore{pins: map[string]int{}}).readAny(f)
	if err == nil {
		err = sf.verify()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is no backup that can be used: %w", path, err)
	}
	return backupOf(sf)
}

func backupOf(f *snapshotFile) (*Backup, error) {
	info, err := f.f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Backup{
		Cluster: f.cluster, Index: f.meta.Index, Term: f.meta.Term, Configuration: f.meta.Configuration, Taken: f.created, Size: info.Size(), file: f,
	}, nil
}

// ReadAt implements io.ReaderAt, on the file as a whole.
func (b *Backup) ReadAt(p []byte, off int64) (int, error) { return b.file.f.ReadAt(p, off) }

// Body reads what Persister has written.
func (b *Backup) Body() io.Reader { return io.NewSectionReader(b.file, 0, b.file.Size()) }

// Close closes the file.
func (b *Backup) Close() error { return b.file.Close() }
