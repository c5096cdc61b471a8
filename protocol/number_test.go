package protocol

import (
	"math"
	"strconv"
	"testing"
)

func TestParseInt(t *testing.T) {
	cases := []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"1", 1, true},
		{"-1", -1, true},
		{"10", 10, true},
		{"1234567890", 1234567890, true},
		{"999999999999999999", 999999999999999999, true},
		{"1000000000000000000", 1000000000000000000, true},
		{"9223372036854775807", math.MaxInt64, true},
		{"-9223372036854775807", -math.MaxInt64, true},
		{"-9223372036854775808", math.MinInt64, true},
		{"9223372036854775808", 0, false},
		{"-9223372036854775809", 0, false},
		{"18446744073709551615", 0, false},
		{"18446744073709551616", 0, false},
		{"99999999999999999999", 0, false},
		{"100000000000000000000", 0, false},
		{"-99999999999999999999", 0, false},
		{"", 0, false},
		{"-", 0, false},
		{"+", 0, false},
		{"+1", 0, false},
		{"-0", 0, false},
		{"00", 0, false},
		{"01", 0, false},
		{"-01", 0, false},
		{"--1", 0, false},
		{" 1", 0, false},
		{"1 ", 0, false},
		{"1\x00", 0, false},
		{"1.0", 0, false},
		{"1e3", 0, false},
		{"0x1", 0, false},
		{"/", 0, false},
		{":", 0, false},
		{"1:", 0, false},
		{"1234567890123456789:", 0, false},
		{"\xb1", 0, false},
	}
	for _, c := range cases {
		if got, ok := ParseInt([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("%q: got %d, %v", c.in, got, ok)
		}
	}
}

func TestParseDigits(t *testing.T) {
	cases := []struct {
		in   string
		want uint64
		ok   bool
	}{
		{"0", 0, true},
		{"7", 7, true},
		{"9999999999999999999", 9999999999999999999, true},
		{"10000000000000000000", 10000000000000000000, true},
		{"18446744073709551615", math.MaxUint64, true},
		{"18446744073709551616", 0, false},
		{"18446744073709551620", 0, false},
		{"18446744073709551700", 0, false},
		{"99999999999999999999", 0, false},
		{"", 0, false},
		{"-1", 0, false},
		{"01", 0, false},
		{"1a", 0, false},
	}
	for _, c := range cases {
		if got, ok := parseDigits([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("%q: got %d, %v", c.in, got, ok)
		}
	}
}

func TestDigits(t *testing.T) {
	for n := 1; n < 1<<31; n = n*3 + 1 {
		if got, want := digits(n), len(strconv.Itoa(n)); got != want {
			t.Errorf("%d: %d", n, got)
		}
	}
	for _, n := range []int{0, 9, 10, 99, 100} {
		if got, want := digits(n), len(strconv.Itoa(n)); got != want {
			t.Errorf("%d: %d", n, got)
		}
	}
}

// FuzzParseInt: exactly the texts that strconv prints are accepted.
func FuzzParseInt(f *testing.F) {
	for _, in := range []string{"0", "-1", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "+1", "01", "-0"} {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		n, err := strconv.ParseInt(in, 10, 64)
		want := err == nil && strconv.FormatInt(n, 10) == in
		if got, ok := ParseInt([]byte(in)); ok != want || (ok && got != n) {
			t.Errorf("ParseInt(%q) = %d, %v", in, got, ok)
		}
	})
}
