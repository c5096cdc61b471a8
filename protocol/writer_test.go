package protocol

import (
	"math"
	"strings"
	"testing"
)

func TestWriter(t *testing.T) {
	cases := []struct {
		name         string
		write        func(w *Writer)
		resp2, resp3 string // resp3 "" means the same as resp2
	}{
		{"ok", func(w *Writer) { w.OK() }, "+OK\r\n", ""},
		{"queued", func(w *Writer) { w.Queued() }, "+QUEUED\r\n", ""},
		{"pong", func(w *Writer) { w.Pong() }, "+PONG\r\n", ""},
		{"simple", func(w *Writer) { w.Simple("a b") }, "+a b\r\n", ""},
		{"simple, lines", func(w *Writer) { w.Simple("a\r\nb") }, "+a  b\r\n", ""},
		{"error", func(w *Writer) { w.Error(ErrSyntax) }, "-ERR syntax error\r\n", ""},
		{"error, lines", func(w *Writer) { w.Error("ERR a\nb\r") }, "-ERR a b \r\n", ""},
		{"zero", func(w *Writer) { w.Int(0) }, ":0\r\n", ""},
		{"int", func(w *Writer) { w.Int(42) }, ":42\r\n", ""},
		{"negative", func(w *Writer) { w.Int(-1) }, ":-1\r\n", ""},
		{"largest", func(w *Writer) { w.Int(math.MaxInt64) }, ":9223372036854775807\r\n", ""},
		{"smallest", func(w *Writer) { w.Int(math.MinInt64) }, ":-9223372036854775808\r\n", ""},
		{"true", func(w *Writer) { w.Bool(true) }, ":1\r\n", "#t\r\n"},
		{"false", func(w *Writer) { w.Bool(false) }, ":0\r\n", "#f\r\n"},
		{"bulk", func(w *Writer) { w.Bulk([]byte("a\r\nb")) }, "$4\r\na\r\nb\r\n", ""},
		{"bulk, empty", func(w *Writer) { w.Bulk([]byte{}) }, "$0\r\n\r\n", ""},
		{"bulk, nil", func(w *Writer) { w.Bulk(nil) }, "$0\r\n\r\n", ""},
		{"bulk string", func(w *Writer) { w.BulkString("hello world") }, "$11\r\nhello world\r\n", ""},
		{"bulk int", func(w *Writer) { w.BulkInt(-120) }, "$4\r\n-120\r\n", ""},
		{"bulk smallest", func(w *Writer) { w.BulkInt(math.MinInt64) }, "$20\r\n-9223372036854775808\r\n", ""},
		{"null", func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{"null array", func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n"},
		{"array", func(w *Writer) { w.Array(3) }, "*3\r\n", ""},
		{"array, long", func(w *Writer) { w.Array(12345) }, "*12345\r\n", ""},
		{"array, empty", func(w *Writer) { w.Array(0) }, "*0\r\n", ""},
		{"map", func(w *Writer) { w.Map(7) }, "*14\r\n", "%7\r\n"},
		{"map, empty", func(w *Writer) { w.Map(0) }, "*0\r\n", "%0\r\n"},
		{"set", func(w *Writer) { w.Set(10) }, "*10\r\n", "~10\r\n"},
		{"push", func(w *Writer) { w.Push(3) }, "*3\r\n", ">3\r\n"},
		{"double", func(w *Writer) { w.Double(3.5) }, "$3\r\n3.5\r\n", ",3.5\r\n"},
		{"double, inf", func(w *Writer) { w.Double(math.Inf(1)) }, "$3\r\ninf\r\n", ",inf\r\n"},
		{"double, -inf", func(w *Writer) { w.Double(math.Inf(-1)) }, "$4\r\n-inf\r\n", ",-inf\r\n"},
		{"double, nan", func(w *Writer) { w.Double(math.NaN()) }, "$3\r\nnan\r\n", ",nan\r\n"},
		{"double text", func(w *Writer) { w.DoubleText([]byte("10.5")) }, "$4\r\n10.5\r\n", ",10.5\r\n"},
		{"verbatim", func(w *Writer) { w.Verbatim("txt", "a\nb") }, "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n"},
		{"verbatim, short format", func(w *Writer) { w.Verbatim("m", "") }, "$0\r\n\r\n", "=4\r\nm  :\r\n"},
		{"verbatim, long format", func(w *Writer) { w.Verbatim("mark", "") }, "$0\r\n\r\n", "=4\r\nmar:\r\n"},
		{"big number", func(w *Writer) { w.BigNumber("12345678901234567890") }, "$20\r\n12345678901234567890\r\n", "(12345678901234567890\r\n"},
		{"raw", func(w *Writer) { w.Raw([]byte(":1\r\n")) }, ":1\r\n", ""},
	}
	for _, c := range cases {
		if c.resp3 == "" {
			c.resp3 = c.resp2
		}
		for v, want := range map[int]string{0: c.resp2, 2: c.resp2, 3: c.resp3} {
			w := Writer{B: []byte("before|"), V: v}
			c.write(&w)
			if got := string(w.B); got != "before|"+want {
				t.Errorf("%s in version %d: got %q, want %q", c.name, v, got, want)
			}
		}
	}
}

// doubleCases are as C's printf("%.17g") has them.
var doubleCases = []struct {
	f    float64
	want string
}{
	{0, "0"},
	{math.Copysign(0, -1), "-0"},
	{1, "1"},
	{-1, "-1"},
	{0.1, "0.10000000000000001"},
	{3.141, "3.141"},
	{100, "100"},
	{1e5, "100000"},
	{123456, "123456"},
	{1234567.125, "1234567.125"},
	{1e16, "10000000000000000"},
	{1e17, "1e+17"},
	{1e20, "1e+20"},
	{1.5e300, "1.5000000000000001e+300"},
	{1e-4, "0.0001"},
	{1e-5, "1.0000000000000001e-05"},
	{1.0 / 3, "0.33333333333333331"},
	{9007199254740993, "9007199254740992"},
	{99999999999999999, "1e+17"},
	{5e-324, "4.9406564584124654e-324"},
	{math.MaxFloat64, "1.7976931348623157e+308"},
}

func TestDouble(t *testing.T) {
	for _, c := range doubleCases {
		if got := string(appendDouble(nil, c.f)); got != c.want {
			t.Errorf("%g: got %s, want %s", c.f, got, c.want)
		}
	}
}

func TestWriterDoesNotAllocate(t *testing.T) {
	for _, v := range []int{2, 3} {
		w := Writer{B: make([]byte, 0, 4096), V: v}
		value := []byte(strings.Repeat("x", 100))
		if allocs := testing.AllocsPerRun(100, func() {
			w.B = w.B[:0]
			w.OK()
			w.Int(123456789)
			w.Bulk(value)
			w.BulkInt(-123456789)
			w.Double(0.1)
			w.Null()
			w.Map(1000)
			w.Error(ErrNotInteger)
			w.Verbatim("txt", "hello")
		}); allocs != 0 {
			t.Errorf("version %d: %v allocations", v, allocs)
		}
	}
}
