package commands

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"quipu/protocol"
)

// BenchmarkCost measures commands that may take long beside what their entries say (cost.go): "of-cost" is the time they took
// by that. Around 1 is right; far above, a loop is held for longer than it should be; far below, what is short goes the
// long way.
func BenchmarkCost(b *testing.B) {
	for _, c := range []struct {
		name  string
		setup []string // commands; N items where an argument is "N*prefix"
		line  string
	}{
		{"MGET", []string{"MSET 16000**k"}, "MGET 8000*k"},
		{"DEL", nil, "DEL 8000*k"},
		{"PFCOUNT", []string{"PFADD-EACH 1000*pf 400*e"}, "PFCOUNT 1000*pf"},
		{"PFMERGE", []string{"PFADD-EACH 1000*pf 400*e"}, "PFMERGE to 1000*pf"},
		{"PFMERGE-dense", []string{"PFADD-EACH 300*pf 20000*e"}, "PFMERGE to 300*pf"},
		{"CMS.INITBYDIM", nil, "CMS.INITBYDIM new 1000000 4"},
		{"CMS.INCRBY", []string{"CMS.INITBYDIM cms 100000 10"}, "CMS.INCRBY cms 4000**e"},
		{"CMS.QUERY", []string{"CMS.INITBYDIM cms 100000 10"}, "CMS.QUERY cms 4000*e"},
		{"CMS.MERGE", []string{"CMS.INITBYDIM cms 1000000 4"}, "CMS.MERGE cms 2 cms cms"},
		{"CMS.MERGE-weights", []string{"CMS.INITBYDIM cms 1000000 4"}, "CMS.MERGE cms 2 cms cms WEIGHTS 1 2"},
		{"TOPK.RESERVE", nil, "TOPK.RESERVE new 100000"},
		{"TOPK.ADD", []string{"TOPK.RESERVE top 10000"}, "TOPK.ADD top 1000*e"},
		{"TOPK.INCRBY", []string{"TOPK.RESERVE top 10000"}, "TOPK.INCRBY top 1000**e"},
		{"TOPK.COUNT", []string{"TOPK.RESERVE top 10000"}, "TOPK.COUNT top 2000*e"},
		{"TOPK.LIST", []string{"TOPK.RESERVE top 100000", "TOPK.ADD top 300000*e"}, "TOPK.LIST top WITHCOUNT"},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newShell(b)
			for _, line := range c.setup {
				s.fillLine(line)
			}
			args := expand(c.line)
			cmd, refusal := s.table.Resolve(args)
			if cmd == nil {
				b.Fatal(refusal)
			}
			w := &protocol.Writer{V: 2}
			cost := cmd.CostOf(args, s.ks.LargestValue())
			for b.Loop() {
				if strings.Contains(c.line, " new ") {
					b.StopTimer()
					s.do([]byte("DEL"), []byte("new"))
					b.StartTimer()
				}
				w.B = w.B[:0]
				s.run(cmd, 512<<20, args, w)
			}
			if len(w.B) > 0 && w.B[0] == '-' {
				b.Fatalf("%.200s", w.B)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(cost), "of-cost")
			b.ReportMetric(float64(cost)/1e6, "said-ms")
		})
	}
}

// expand splits a line into arguments; "3*k" is k0 k1 k2, and "3**k" is k0 1 k1 1 k2 1.
func expand(line string) (args [][]byte) {
	for _, word := range strings.Fields(line) {
		number, name, many := strings.Cut(word, "*")
		n, err := strconv.Atoi(number)
		if !many || err != nil {
			args = append(args, []byte(word))
			continue
		}
		item, pairs := strings.CutPrefix(name, "*")
		for i := range n {
			if args = append(args, fmt.Append(nil, item, i)); pairs {
				args = append(args, []byte("1"))
			}
		}
	}
	return args
}

// fillLine runs a line; "PFADD-EACH keys elements" adds all elements to each of the keys.
func (s *shell) fillLine(line string) {
	words := strings.Fields(line)
	lines := [][][]byte{expand(line)}
	if words[0] == "PFADD-EACH" {
		lines = nil
		for _, key := range expand(words[1]) {
			lines = append(lines, append([][]byte{[]byte("PFADD"), key}, expand(words[2])...))
		}
	}
	for _, args := range lines {
		if reply := s.do(args...); reply[0] == '-' {
			s.tb.Fatalf("%s: %s", line, reply)
		}
	}
}
