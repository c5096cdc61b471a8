package replication

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// identity says whose data a directory holds: file node, a container (container.go). It is written before the directory
// gets its name, so that it also marks the data as initialized: a disk that was wiped has none and gets a new random
// node ID, so that it cannot vote a second time as the node it was.
type identity struct {
	NodeID      string    `json:"node_id"`
	Cluster     string    `json:"cluster"`
	Incarnation string    `json:"incarnation"` // hex of 16 bytes; random, of the cluster's data
	Created     time.Time `json:"created"`
}

const identityName = "node"

var identityFile = container{magic: 0x444e5051, version: 1, what: "node identity"} // "QPND"

// randomHex returns n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func writeIdentity(dir string, id identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(dir, identityName), identityFile.encode(b))
}

// readIdentity reads the identity and compares it with what the operator expects (empty: anything).
func readIdentity(dir string, cfg *Config) (id identity, err error) {
	path := filepath.Join(dir, identityName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return id, &CorruptError{File: path, Offset: -1, What: "the file is missing", Action: restoreAdvice}
	}
	if err == nil {
		b, err = identityFile.decode(path, b)
	}
	if err == nil {
		err = json.Unmarshal(b, &id)
	}
	switch {
	case err != nil:
		return id, err
	case cfg.NodeID != "" && cfg.NodeID != id.NodeID:
		return id, fmt.Errorf("%s belongs to node %q, not to %q: use that node ID or another directory", cfg.Dir, id.NodeID, cfg.NodeID)
	case cfg.ClusterName != "" && cfg.ClusterName != id.Cluster:
		return id, fmt.Errorf("%s belongs to cluster %q, not to %q: use that cluster name or another directory", cfg.Dir, id.Cluster, cfg.ClusterName)
	}
	return id, nil
}

// incarnation decodes the hex of an identity.
func (id identity) incarnation() (b [16]byte) {
	raw, _ := hex.DecodeString(id.Incarnation)
	copy(b[:], raw)
	return b
}
