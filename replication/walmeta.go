package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/types"
)

// walMeta keeps raft-wal's list of segments in the file wal/meta, a container (container.go) of types.PersistentState. It
// implements types.MetaStore without the stable store, which raft-boltdb provides.
//
// raft-wal's own bolt file is not used: its pages have no checksum, and its fallback to the previous transaction makes
// raft-wal delete the newest segment.
type walMeta struct {
	dir  string
	fail func(error) // storage error
}

const walMetaName = "meta"

var walMetaFile = container{magic: 0x4d575051, version: 1, what: "list of log segments"} // "QPWM"

func (m *walMeta) path() string { return filepath.Join(m.dir, walMetaName) }

// Load implements types.MetaStore.
func (m *walMeta) Load(string) (state types.PersistentState, err error) {
	b, err := os.ReadFile(m.path())
	if errors.Is(err, os.ErrNotExist) {
		return state, nil
	}
	if err == nil {
		b, err = walMetaFile.decode(m.path(), b)
	}
	if err == nil {
		err = json.Unmarshal(b, &state)
	}
	return state, err
}

// CommitState implements types.MetaStore.
func (m *walMeta) CommitState(state types.PersistentState) error {
	b, err := json.Marshal(state)
	if err == nil {
		err = writeFileAtomic(m.path(), walMetaFile.encode(b))
	}
	if err != nil {
		err = fmt.Errorf("cannot store the list of log segments: %w", err)
		m.fail(err)
	}
	return err
}

var errNoStable = errors.New("BUG: raft-wal is not the stable store")

// GetStable implements types.MetaStore.
func (m *walMeta) GetStable([]byte) ([]byte, error) { return nil, errNoStable }

// SetStable implements types.MetaStore.
func (m *walMeta) SetStable(_, _ []byte) error { return errNoStable }

// Close implements io.Closer.
func (m *walMeta) Close() error { return nil }
