package mapping

import "bytes"

// Limits of a record.
const (
	MaxRecord = 1 << 20 // bytes
	maxDepth  = 1000    // of arrays and objects inside each other
)

// kind is what stands at a path of a record.
type kind uint8

const (
	missing kind = iota
	null
	boolean
	number
	text    // as it is
	escaped // in JSON with backslashes, in CSV with doubled quotes
	object
	array
)

// value is what a record has at a path: its kind, and where it is in the record. A text is there without its quotes.
type value struct {
	kind     kind
	from, to int32
}

// node is a path that a program needs, or the beginning of one.
type node struct {
	name     string
	path     string // for errors
	parent   int32  // -1: none
	children []int32
}

// paths is a tree of all paths that a program needs.
type paths struct {
	nodes []node
	top   []int32
}

// add returns the number of the node at a path.
func (p *paths) add(path []string) int32 {
	at := int32(-1)
	for _, name := range path {
		at = p.child(at, name)
	}
	return at
}

func (p *paths) child(parent int32, name string) int32 {
	siblings := &p.top
	path := name
	if parent >= 0 {
		siblings = &p.nodes[parent].children
		path = p.nodes[parent].path + "." + name
	}
	for _, n := range *siblings {
		if p.nodes[n].name == name {
			return n
		}
	}
	n := int32(len(p.nodes))
	*siblings = append(*siblings, n)
	p.nodes = append(p.nodes, node{name: name, path: path, parent: parent})
	return n
}

// fields finds the values of all nodes in a record. Where a name occurs twice in an object, the first one counts, as
// with gjson.
type fields struct {
	paths
	rec  []byte
	csv  bool
	vals []value // by number of the node
}

// raw is a value as it is written in the record.
func (f *fields) raw(v value) []byte { return f.rec[v.from:v.to] }

// appendText adds a value to buf: the content of a text, anything else as it is written.
func (f *fields) appendText(buf []byte, v value) []byte {
	switch {
	case v.kind != escaped:
		return append(buf, f.raw(v)...)
	case f.csv:
		for raw := f.raw(v); ; {
			i := bytes.IndexByte(raw, '"')
			if i < 0 {
				return append(buf, raw...)
			}
			buf = append(buf, raw[:i+1]...)
			raw = raw[i+2:]
		}
	default:
		return append(buf, unescape(f.rec, int(v.from), int(v.to))...)
	}
}
