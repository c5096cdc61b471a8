package commands

import (
	"quipu/engine"
	"quipu/engine/cms"
	"quipu/engine/uc"
	"quipu/protocol"
)

// FeedTextMax is the longest string in bytes that a row of the feed carries.
const FeedTextMax = 64

// FeedItem is what a row of the feed says of a key.
type FeedItem struct {
	Kind  string // counter, string, hll, uc, cms, topk; none: the key is absent; flush: the database was emptied
	Value int64  // of a counter; of a sketch what it has counted
	IsInt bool   // there is a Value
	Text  []byte // of a string that is short enough, else nil
}

// FeedItemOf looks at a row, with the key's part locked.
func FeedItemOf(v engine.View, row engine.FeedRow) FeedItem {
	value := row.Value
	switch {
	case row.Flush:
		return FeedItem{Kind: "flush"}
	case !row.Found:
		return FeedItem{Kind: "none"}
	}
	switch value.Kind {
	case engine.KindInt:
		return FeedItem{Kind: "counter", Value: value.Int, IsInt: true}
	case engine.KindUC:
		var union uc.Union
		s, err := uc.Open(value.Bytes)
		if err == nil {
			err = union.Add(s)
		}
		return FeedItem{Kind: "uc", Value: int64(union.Count()), IsInt: err == nil}
	case engine.KindCMS:
		s, err := cms.Open(value.Bytes)
		if err != nil {
			return FeedItem{Kind: "cms"}
		}
		return FeedItem{Kind: "cms", Value: s.Count(), IsInt: true}
	case engine.KindTopK:
		return FeedItem{Kind: "topk"}
	}
	switch {
	case isOwnHLL(value):
		count, ok := countHLL(v, row.Key, value)
		return FeedItem{Kind: "hll", Value: int64(count), IsInt: ok}
	case len(value.Bytes) <= FeedTextMax:
		return FeedItem{Kind: "string", Text: value.Bytes}
	}
	return FeedItem{Kind: "string"}
}

// WriteFeedRow replies with a row: key, kind, value, deadline, index.
func WriteFeedRow(w *protocol.Writer, v engine.View, row engine.FeedRow) {
	item := FeedItemOf(v, row)
	w.Array(5)
	w.Bulk(row.Key)
	w.BulkString(item.Kind)
	switch {
	case item.IsInt:
		w.Int(item.Value)
	case item.Text != nil:
		w.Bulk(item.Text)
	default:
		w.Null()
	}
	w.Int(row.Value.Deadline)
	w.Int(int64(row.Index))
}
