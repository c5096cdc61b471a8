package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// The boot counter is a node's epoch: a number that is higher at each start of the node than at any start before it. What the
// node sends under an epoch can be told from what it sent before a crash, and a lower epoch is refused.
//
// File boot: a container (container.go) whose body is the number, u64 little-endian; 0 in data that was never started. A
// lower number must never come back, so a missing or damaged file is not replaced by a new one.
const bootName = "boot"

var bootFile = container{magic: 0x54425051, version: 1, what: "boot counter"} // "QPBT"

func writeBoot(dir string, n uint64) error {
	return replaceFile(filepath.Join(dir, bootName), bootFile.encode(binary.LittleEndian.AppendUint64(nil, n)))
}

// CreateBoot writes the counter of new data: the first start makes it 1.
func CreateBoot(dir string) error { return writeBoot(dir, 0) }

// RaiseBoot adds one to the counter of the data in dir and returns it when it is on disk. Call it before the node answers
// anything. If the node crashes meanwhile, the next start may skip a number and never repeats one.
func RaiseBoot(dir string) (uint64, error) {
	path := filepath.Join(dir, bootName)
	corrupt := func(offset int64, what string) error {
		return &CorruptError{File: path, Offset: offset, What: what, Action: restoreAdvice}
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, corrupt(-1, "the file is missing; it holds how often this node has started")
	}
	if err == nil {
		b, err = bootFile.decode(path, b)
	}
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, corrupt(containerHeader, fmt.Sprintf("the boot counter has %d bytes", len(b)))
	}
	n := binary.LittleEndian.Uint64(b)
	if n == math.MaxUint64 {
		return 0, corrupt(containerHeader, "the boot counter is at its end")
	}
	if err := writeBoot(dir, n+1); err != nil {
		return 0, fmt.Errorf("cannot raise the boot counter: %w", err)
	}
	return n + 1, nil
}
