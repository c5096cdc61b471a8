package replication

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"quipu/replication/storage"
)

// Directory is a data directory that this process has locked, before its group is opened: who this node is, and whether it
// has data yet. What a new cluster begins with is agreed on between the two (form.go).
type Directory struct {
	path string
	lock *os.File
	id   storage.Identity // of a directory without data, the node ID only
}

// OpenDirectory locks the data directory at path, which is made if missing, and reads whose data it has. Close it, or open its
// group, which closes it then.
func OpenDirectory(path string) (d *Directory, err error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	lock, err := storage.LockFile(filepath.Join(path, lockName))
	if err != nil {
		return nil, err
	}
	d = &Directory{path: path, lock: lock}
	group := filepath.Join(path, groupName)
	switch _, err = os.Stat(group); {
	case err == nil:
		d.id, err = storage.ReadIdentity(group)
	case errors.Is(err, os.ErrNotExist):
		d.id.NodeID, err = storage.ReserveNodeID(path)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close lets go of the directory.
func (d *Directory) Close() error { return d.lock.Close() }

// NodeID is the ID of this node, for as long as the disk lives.
func (d *Directory) NodeID() string { return d.id.NodeID }

// Cluster is the name of the cluster; empty before there are data.
func (d *Directory) Cluster() string { return d.id.Cluster }

// Incarnation is that of the data; empty before there are any.
func (d *Directory) Incarnation() string { return d.id.Incarnation }

// HashSeed is the seed of the key hash of all nodes of a cluster: cursors of SCAN hold on each. Nobody but the nodes knows the
// incarnation, so nobody else knows the seed.
func HashSeed(incarnation string) uint64 {
	sum := sha256.Sum256([]byte("quipu hash seed " + incarnation))
	return binary.LittleEndian.Uint64(sum[:])
}
