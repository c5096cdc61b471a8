package storage

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// A raft-wal segment is a 32-byte header and frames of 8 bytes + payload, padded to 8 (see its segment/format.go):
//
//	entry(1, length) … entry, [index(2, length)], commit(3, CRC32C of all since the last commit), …, zeros
//
// tailScan reads the unsealed segment before raft-wal does, because raft-wal's recovery
//
//   - calls what follows a damaged frame unwritten, and goes on writing over it;
//   - takes a segment that a crash left sealed, but not yet rotated, for full for ever: every append fails;
//   - does the same for an index frame whose commit is torn.
type tailScan struct {
	last       uint64 // index of the last entry in a valid commit; base−1 if none
	end        int64  // offset behind the last valid commit; 0 if none
	indexStart int64  // of the index, if the last valid commit seals the segment
	entries    int
	dirty      int64 // offset of the last byte behind end that is not zero; -1 if none
	size       int64
}

const segmentHeaderSize = 32

// scanTail reads through a segment up to the first frame that is not part of a valid commit.
func scanTail(f *os.File, base uint64) (s tailScan, err error) {
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	s = tailScan{last: base - 1, size: info.Size(), dirty: -1}
	r := &frameReader{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, s.size), 1<<20)}
	if r.take(segmentHeaderSize) {
		scanFrames(r, &s, base)
	}
	if r.err != nil {
		return s, r.err
	}
	s.dirty, err = lastNonZero(f, s.end, s.size)
	return s, err
}

func scanFrames(r *frameReader, s *tailScan, base uint64) {
	entries, indexStart := 0, int64(0)
	for {
		sum, offset := r.sum, r.offset
		if !r.take(frameHeaderSize) {
			return
		}
		length := int64(binary.LittleEndian.Uint32(r.head[4:]))
		switch r.head[0] {
		case frameEntry:
			if length > segment.MaxEntrySize || !r.skip(length) {
				return
			}
			entries++
		case frameIndex:
			indexStart = offset + frameHeaderSize
			if !r.skip(length) {
				return
			}
		case frameCommit:
			if sum != uint32(length) {
				return
			}
			r.sum = 0
			s.end, s.entries, s.indexStart = r.offset, entries, indexStart
			s.last = base + uint64(entries) - 1
		default:
			return
		}
	}
}

// frameReader reads frames and sums the bytes since the last commit.
type frameReader struct {
	r      *bufio.Reader
	offset int64
	sum    uint32
	head   [segmentHeaderSize]byte
	err    error // other than the end of the file
}

func (r *frameReader) take(n int) bool {
	_, err := io.ReadFull(r.r, r.head[:n])
	return r.took(r.head[:n], err)
}

func (r *frameReader) took(b []byte, err error) bool {
	if err != nil {
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			r.err = err
		}
		return false
	}
	r.sum = crc32.Update(r.sum, castagnoli, b)
	r.offset += int64(len(b))
	return true
}

// skip sums a payload and its padding.
func (r *frameReader) skip(length int64) bool {
	for n := (length + 7) &^ 7; n > 0; {
		b, err := r.r.Peek(int(min(n, int64(r.r.Size()))))
		if !r.took(b, err) {
			return false
		}
		r.r.Discard(len(b))
		n -= int64(len(b))
	}
	return true
}

// locateEntry finds the frame of an entry for an error message; -1 if the frames do not lead there.
func locateEntry(path string, base, index uint64) int64 {
	f, err := os.Open(path)
	if err != nil {
		return -1
	}
	defer f.Close()
	var head [frameHeaderSize]byte
	for offset, i := int64(segmentHeaderSize), base; ; {
		if _, err := f.ReadAt(head[:], offset); err != nil {
			return -1
		}
		length := int64(binary.LittleEndian.Uint32(head[4:]))
		switch head[0] {
		case frameEntry:
			if i == index {
				return offset
			}
			i++
		case frameIndex:
		case frameCommit:
			length = 0
		default:
			return offset
		}
		offset += frameHeaderSize + (length+7)&^7
	}
}

// repairTail makes the unsealed segment what raft-wal expects: zeros behind the last valid commit, and no seal that the
// metadata do not know. Called when the watermark has shown that nothing acknowledged is behind that commit.
func repairTail(path string, s tailScan, m *segmentList, state *types.PersistentState) error {
	if s.dirty >= 0 {
		if err := zeroRange(path, s.end, s.dirty+1); err != nil {
			return fmt.Errorf("cannot clear the torn end of %s: %w", path, err)
		}
	}
	if s.indexStart == 0 {
		return nil
	}
	tail := &state.Segments[len(state.Segments)-1]
	tail.SealTime, tail.MaxIndex, tail.IndexStart = time.Now(), s.last, uint64(s.indexStart)
	next := types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: s.last + 1, MinIndex: s.last + 1,
		SizeLimit: tail.SizeLimit, Codec: tail.Codec, CreateTime: time.Now(),
	}
	state.Segments = append(state.Segments, next)
	state.NextSegmentID++
	return m.CommitState(*state)
}

func zeroRange(path string, from, to int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, min(to-from, zeroChunk))
	for off := from; off < to; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-off)], off); err != nil {
			return err
		}
	}
	return f.Sync()
}

// checkSealed verifies what raft-wal takes for granted about a sealed segment: that the file is there and holds its index.
func checkSealed(dir string, info types.SegmentInfo) error {
	path := filepath.Join(dir, segment.FileName(info))
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return &CorruptError{File: path, Offset: -1, What: fmt.Sprintf("log segment with entries %d to %d is missing", info.MinIndex, info.MaxIndex), Action: restoreAdvice}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if need := int64(info.IndexStart) + 4*int64(info.MaxIndex-info.BaseIndex+1); st.Size() < need {
		return &CorruptError{File: path, Offset: st.Size(), What: fmt.Sprintf("log segment with entries %d to %d is cut off: %d bytes of at least %d", info.MinIndex, info.MaxIndex, st.Size(), need), Action: restoreAdvice}
	}
	var head [segmentHeaderSize]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return err
	}
	if head != segmentHeader(info) {
		return &CorruptError{File: path, Offset: 0, What: fmt.Sprintf("it does not begin with the header of the log segment with entries %d to %d", info.MinIndex, info.MaxIndex), Action: restoreAdvice}
	}
	return nil
}

// segmentHeader is what raft-wal writes at the front of a segment: magic, version 0, base index, ID, codec.
func segmentHeader(info types.SegmentInfo) (b [segmentHeaderSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], 0x58eb6b0d)
	le.PutUint64(b[8:], info.BaseIndex)
	le.PutUint64(b[16:], info.ID)
	le.PutUint64(b[24:], info.Codec)
	return b
}

const restoreAdvice = "restore this node's data directory from a backup (quipu restore), or empty it and let the node rejoin its cluster"
