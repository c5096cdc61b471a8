package oracle

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// generator makes sequences. The same seed and number make the same sequence.
type generator struct {
	r        *rand.Rand
	password bool
	models   [connections]model
	used     int     // connections in use
	ttls     []int64 // ms; that commands have named lately
}

func newGenerator(seed, number uint64, password bool) *generator {
	return &generator{r: rand.New(rand.NewPCG(seed, number)), password: password}
}

func (g *generator) pick(list []string) string { return list[g.r.IntN(len(list))] }

func (g *generator) oneIn(n int) bool { return g.r.IntN(n) == 0 }

var totalWeight = func() (sum int) {
	for _, s := range commandShapes {
		sum += s.weight
	}
	return sum
}()

// shape chooses a command and the shape of its arguments.
func (g *generator) shape() (name, form string) {
	if g.oneIn(4000) {
		s := rareShapes[g.r.IntN(len(rareShapes))]
		return s.name, g.pick(s.forms)
	}
	at := g.r.IntN(totalWeight)
	for _, s := range commandShapes {
		if at -= s.weight; at < 0 {
			return s.name, g.pick(s.forms)
		}
	}
	panic("BUG: the weights have changed")
}

// command makes one call, right or wrong.
func (g *generator) command() []string {
	switch g.r.IntN(60) {
	case 0:
		return g.unknown()
	case 1:
		if !g.oneIn(3) {
			break
		}
		return slices.Clone(foreign[g.r.IntN(len(foreign))])
	}
	name, form := g.shape()
	args := strings.Split(name, "|")
	fixed := len(args)
	for _, token := range strings.Fields(form) {
		args = g.argument(args, token)
	}
	switch g.r.IntN(40) {
	case 0:
		args = args[:max(1, g.r.IntN(len(args)))]
	case 1:
		args = append(args, g.word('v'))
	case 2:
		args = append(args, g.pick(wordOptions))
	case 3:
		if len(args) > fixed {
			args[fixed+g.r.IntN(len(args)-fixed)] = g.anything()
		}
	}
	if name == "acl|dryrun" && len(args) > 3 && slices.Contains(foreignNames, strings.ToLower(args[3])) {
		args[3] = "get" // some options are commands that only Redis has
	}
	for i := range args {
		if i < fixed || g.oneIn(2) {
			args[i] = g.recase(args[i], i < fixed)
		}
	}
	return args
}

func (g *generator) unknown() []string {
	args := []string{g.pick(unknownNames)}
	if g.oneIn(3) {
		args = []string{g.pick([]string{"object", "client", "config", "command", "memory", "function"}), g.pick([]string{"nosuch", "", "encodin", "\xff", "a b", "get|set", "li\x00st"})}
	}
	for range g.r.IntN(4) {
		args = append(args, g.anything())
	}
	return args
}

// recase changes the case of a command's or an option's letters.
func (g *generator) recase(arg string, always bool) string {
	if !always && !slices.Contains(wordOptions, strings.ToUpper(arg)) {
		return arg
	}
	switch g.r.IntN(3) {
	case 0:
		return strings.ToUpper(arg)
	case 1:
		return strings.ToLower(arg)
	}
	b := []byte(strings.ToLower(arg))
	for i, c := range b {
		if c >= 'a' && c <= 'z' && g.oneIn(2) {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// argument appends what a token of a shape stands for.
func (g *generator) argument(args []string, token string) []string {
	n := 1
	if len(token) == 2 && token[1] == '*' {
		token, n = token[:1], 1+g.r.IntN(4)
	}
	if len(token) > 1 || token >= "0" && token <= "9" {
		return append(args, token)
	}
	if token == "B" {
		return append(args, g.elements()...)
	}
	if token == "e" {
		kind := g.r.IntN(4)
		return append(args, [4]string{"EX", "PX", "EXAT", "PXAT"}[kind], g.word("smSM"[kind]))
	}
	for range n {
		args = append(args, g.word(token[0]))
	}
	return args
}

func (g *generator) anything() string {
	return g.pick([]string{g.pick(wordOdd), g.pick(wordInts), g.pick(wordOptions), g.pick(wordFloats), g.pick(wordKeys)})
}

func (g *generator) word(kind byte) string {
	if g.oneIn(40) {
		return g.anything()
	}
	switch kind {
	case 'k':
		if g.oneIn(3) {
			return g.pick(wordKeys)
		}
		return g.pick(wordKeys[:3])
	case 'h':
		return g.pick(wordHLLKeys)
	case 'E':
		return g.pick([]string{g.pick(wordOdd), strconv.Itoa(g.r.IntN(100)), strconv.Itoa(g.r.IntN(1 << 30))})
	case 'H':
		return g.hyperLogLog()
	case 'q':
		return strconv.Itoa(g.r.IntN([]int{6, 20, 40, 400}[g.r.IntN(4)]))
	case 'b':
		return g.opcodes(1 + g.r.IntN(6))
	case 'v':
		return g.pick([]string{g.pick(wordOdd), g.pick(wordInts), g.pick(wordFloats), strconv.Itoa(g.r.IntN(2000) - 1000)})
	case 'i':
		if g.oneIn(2) {
			return strconv.Itoa(g.r.IntN(200) - 100)
		}
		return g.pick(wordInts)
	case 'f':
		if g.oneIn(3) {
			return strconv.FormatFloat(g.r.NormFloat64()*1e6, 'g', -1, 64)
		}
		return g.pick([]string{g.pick(wordFloats), g.pick(wordInts)})
	case 's', 'm', 'S', 'M':
		return g.moment(kind)
	case 'p':
		return g.pick(wordPatterns)
	case 'c':
		return g.pick(wordCursors)
	case 'd':
		return g.pick([]string{"0", "0", "1", "1", "2", "15", "16", "-1"})
	case 'n':
		return g.pick([]string{"0", "1", "2", "3", "10", "40", "100", "-1", "-2", "8388608", "8388609", "536870911", "536870912", "2147483647", "2147483648"})
	case 'N':
		return g.pick(wordNames)
	case 'I':
		return symID + strconv.Itoa(g.r.IntN(connections))
	case 'A':
		return symAddr + strconv.Itoa(g.r.IntN(connections))
	case 'L':
		return symLocal
	case 'C':
		if g.oneIn(10) {
			return g.pick(unknownNames)
		}
		return commandShapes[g.r.IntN(len(commandShapes))].name
	}
	return g.pick(wordOptions)
}

// moment is a time to live or a deadline, sometimes an impossible one.
func (g *generator) moment(kind byte) string {
	if g.oneIn(6) {
		return g.pick(wordInts)
	}
	relative := g.pick(wordMillis)
	if kind == 's' || kind == 'S' {
		relative = g.pick(wordSeconds)
	}
	n, _ := strconv.ParseInt(relative, 10, 64)
	ms := n
	if kind == 's' || kind == 'S' {
		ms *= 1000
	}
	g.ttls = append(g.ttls, ms)
	past := g.oneIn(8)
	switch {
	case kind == 's' || kind == 'm':
		return relative
	case past:
		relative = "-" + relative
	}
	if kind == 'S' {
		return symSeconds + relative
	}
	return symMillis + relative
}
