package storage

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Identity says whose data a directory holds: file node, a container (container.go) of JSON. It is written before the
// directory gets its name, so that it also marks the data as complete: a disk that was wiped has no identity and gets a new
// random node ID, so the node on it cannot vote a second time as the node that it was.
type Identity struct {
	NodeID      string    `json:"node_id"`
	Cluster     string    `json:"cluster"`
	Incarnation string    `json:"incarnation"` // hex of 16 random bytes: the identity of the cluster's data
	Created     time.Time `json:"created"`
	Joins       bool      `json:"joins,omitempty"` // began without a configuration: it may have neither log nor snapshot yet
}

const identityName = "node"

var identityFile = container{magic: 0x444e5051, version: 1, what: "node Identity"} // "QPND"

// NewIncarnation is the identity of a new cluster's data.
func NewIncarnation() string { return randomHex(16) }

// nodeIDBytes is the length of a random node ID: as many bytes as that of a node of Redis Cluster, whose clients expect it.
const nodeIDBytes = 20

const reservedName = "node-id"

var reservedFile = container{magic: 0x44495051, version: 1, what: "node ID"} // "QPID"

// ReserveNodeID returns the ID that the node of a directory without data will have, and keeps it in file node-id: the other
// nodes of a new cluster count on the ID before the node has any data.
func ReserveNodeID(dir string) (string, error) {
	path := filepath.Join(dir, reservedName)
	b, err := os.ReadFile(path)
	if err == nil {
		b, err = reservedFile.decode(path, b)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return string(b), err
	}
	id := randomHex(nodeIDBytes)
	return id, replaceFile(path, reservedFile.encode([]byte(id)))
}

// ForgetReserved removes the file of ReserveNodeID, once the identity of the data has the ID.
func ForgetReserved(dir string) error {
	if err := os.Remove(filepath.Join(dir, reservedName)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// randomHex returns n random bytes in hex.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// WriteIdentity writes the identity of a new directory.
func WriteIdentity(dir string, id Identity) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, identityName), identityFile.encode(b))
}

// ReadIdentity reads the identity of the data in dir.
func ReadIdentity(dir string) (id Identity, err error) {
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
	return id, err
}

// incarnation decodes the hex of an Identity.
func (id Identity) incarnation() (b [16]byte) {
	raw, _ := hex.DecodeString(id.Incarnation)
	copy(b[:], raw)
	return b
}
