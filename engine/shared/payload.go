package shared

import (
	"encoding/binary"
	"hash/crc64"

	"quipu/engine/cms"
	"quipu/engine/hll"
	"quipu/engine/topk"
)

// MaxSketch is the size in bytes of the largest shared sketch. A frame is one argument, of 1 MiB unless settings say otherwise, and one of a single
// row has at most two names of keys beside it.
const MaxSketch = 1<<20 - 3*maxRowKey

// Shape is the part of a payload by which sketches of one kind differ that cannot be added up; of HyperLogLogs there is one shape.
func Shape(kind SketchKind, payload []byte) []byte {
	switch kind {
	case SketchCMS:
		return cms.Shape(payload)
	case SketchTopK:
		return topk.Shape(payload)
	}
	return nil
}

// Blank returns the payload of a sketch to which nothing was added, of the shape of another one that is good, of which the header is enough.
func Blank(kind SketchKind, like []byte) []byte {
	size, _ := blankBytes(kind, like)
	b := make([]byte, size)
	switch kind {
	case SketchCMS:
		cms.Blank(b, like)
	case SketchTopK:
		topk.Blank(b, like)
	default:
		return hll.AppendNew(nil)
	}
	return b
}

func blankBytes(kind SketchKind, like []byte) (int, error) {
	switch kind {
	case SketchCMS:
		return cms.BlankBytes(like)
	case SketchTopK:
		return topk.BlankBytes(like)
	}
	return 0, nil
}

// Brief is what a row has in the place of a payload with which this region has had nothing to do: the header of a share to which nothing was
// added; of a HyperLogLog that came from others a checksum of its registers, since who has told of it will tell all.
func Brief(kind SketchKind, payload []byte) []byte {
	switch kind {
	case SketchCMS:
		return payload[:cms.HeaderBytes]
	case SketchTopK:
		return payload[:topk.HeaderBytes]
	}
	var t hll.Table
	t.Merge(payload)
	return binary.LittleEndian.AppendUint64(nil, crc64.Checksum(t[:], ecma))
}

var ecma = crc64.MakeTable(crc64.ECMA)

// Good reports whether the payload is what the row's kind says.
func (row *SketchRow) Good() bool {
	payload := row.Payload
	switch {
	case row.Kind == SketchNone:
		return true
	case row.Kind == SketchHLL && row.Brief:
		return len(payload) == crc64.Size
	case row.Kind == SketchHLL:
		return goodHLL(payload)
	case row.Brief:
		size, err := blankBytes(row.Kind, payload)
		return err == nil && size <= MaxSketch
	case row.Kind == SketchCMS:
		_, err := cms.Open(payload)
		return err == nil
	}
	_, err := topk.Open(payload)
	return err == nil
}

func goodHLL(payload []byte) bool {
	var t hll.Table
	return hll.Check(payload) && t.Merge(payload)
}

// JoinHLL returns the HyperLogLog that has the larger of each register, whether it has more than own, and whether it has more than other.
// Both have been checked.
func JoinHLL(own, other []byte) (joined []byte, moreThanOwn, moreThanOther bool) {
	var was, heard, both hll.Table
	was.Merge(own)
	heard.Merge(other)
	both = was
	both.Merge(other)
	if both == was {
		return own, false, both != heard
	}
	if !hll.IsDense(own) && !hll.IsDense(other) {
		if sparse, ok := both.WriteSparse(hll.AppendNew(nil)); ok {
			return sparse, true, both != heard
		}
	}
	return hll.AppendDense(nil, hll.AppendNew(nil), &both), true, both != heard
}
