package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft-wal/types"
)

// segmentList keeps raft-wal's list of segments in the file wal/meta, a container (container.go) of types.PersistentState
// in JSON. It implements types.MetaStore without the stable store, which raft-boltdb provides.
//
// raft-wal's own bolt file is not used: its pages have no checksum, and its fallback to the previous transaction makes
// raft-wal delete the newest segment.
//
// A rotation must succeed on a full disk: replaceFile needs no new blocks, because the file is padded with spaces to a
// multiple of segmentListStep.
type segmentList struct {
	dir     string
	fail    func(error)              // storage error
	patient func(func() error) error // segmentFS.patient
}

const (
	segmentListName = "meta"
	segmentListStep = 4 << 10
	segmentListMore = 1 << 10 // meta.tmp has room for this much more: a few segments
)

var segmentListFile = container{magic: 0x4d575051, version: 1, what: "list of log segments"} // "QPWM"

func (m *segmentList) path() string { return filepath.Join(m.dir, segmentListName) }

// Load implements types.MetaStore.
func (m *segmentList) Load(string) (state types.PersistentState, err error) {
	b, err := os.ReadFile(m.path())
	if errors.Is(err, os.ErrNotExist) {
		return state, nil
	}
	if err == nil {
		b, err = segmentListFile.decode(m.path(), b)
	}
	if err == nil {
		err = json.Unmarshal(b, &state)
	}
	return state, err
}

// CommitState implements types.MetaStore.
func (m *segmentList) CommitState(state types.PersistentState) error {
	b, err := json.Marshal(state)
	if err == nil {
		used := containerHeader + len(b)
		b = append(b, bytes.Repeat([]byte{' '}, segmentListSize(used)-used)...)
		err = m.patient(func() error { return replaceFile(m.path(), segmentListFile.encode(b)) })
		m.reserve(used)
	}
	if err != nil {
		err = fmt.Errorf("cannot store the list of log segments: %w", err)
		m.fail(err)
	}
	return err
}

func segmentListSize(used int) int {
	return (used + segmentListStep - 1) / segmentListStep * segmentListStep
}

func (m *segmentList) temp() string { return m.path() + tempSuffix }

// reserve allocates what the next replacement will need, if there is room; if not, the replacement waits for room (patient).
func (m *segmentList) reserve(used int) {
	f, err := os.OpenFile(m.temp(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	size := int64(segmentListSize(used + segmentListMore))
	if err == nil && info.Size() < size && preallocate(f, size) == nil {
		f.WriteAt(make([]byte, size-info.Size()), info.Size())
	}
}

// prepare makes meta.tmp where there is none: in a new log.
func (m *segmentList) prepare() {
	if info, err := os.Stat(m.path()); err == nil {
		m.reserve(int(info.Size()))
	}
}

var errNoStable = errors.New("BUG: raft-wal is not the stable store")

// GetStable implements types.MetaStore.
func (m *segmentList) GetStable([]byte) ([]byte, error) { return nil, errNoStable }

// SetStable implements types.MetaStore.
func (m *segmentList) SetStable(_, _ []byte) error { return errNoStable }

// Close implements io.Closer.
func (m *segmentList) Close() error { return nil }
