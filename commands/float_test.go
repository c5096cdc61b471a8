package commands

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestFloatText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0", "0"}, {"-0", "0"}, {"1", "1"}, {"-1", "-1"}, {"+1", "1"}, {"1.", "1"}, {".5", "0.5"}, {"5.0e3", "5000"}, {"1e-3", "0.001"},
		{"0.1", "0.1"}, {"3.14159265358979", "3.14159265358979"}, {"0x10", "16"}, {"0X1.8p1", "3"}, {"0x.8P0", "0.5"},
		{"1e17", "100000000000000000"}, {"18446744073709551615", "18446744073709551615"}, {"18446744073709551617", "18446744073709551616"},
		{"18446744073709551619", "18446744073709551620"}, {"1e-17", "0.00000000000000001"}, {"5.1e-18", "0.00000000000000001"}, {"5e-18", "0"}, {"4.9e-18", "0"},
		{"-4e-18", "0"}, {"1e-4950", "0"}, {"3.7e-4951", "0"}, {"9223372036854775807", "9223372036854775807"}, {"inf", "+Inf"}, {"-Infinity", "-Inf"},
		{"", ""}, {".", ""}, {"e5", ""}, {"1e", ""}, {"1e+", ""}, {" 1", ""}, {"1 ", ""}, {"--1", ""}, {"+-1", ""}, {"nan", ""}, {"nan(1)", ""},
		{"0x", ""}, {"0x.", ""}, {"0xp1", ""}, {"0x1p", ""}, {"1_0", ""}, {"1,5", ""}, {"infi", ""}, {"1e4933", ""}, {"-1e99999999999999", ""},
		{"1e-4960", ""}, {"1e-99999999999", ""}, {"0e99999999999", "0"}, {"1.5.", ""}, {"1\x00", ""}, {"0x1p16384", ""}, {"0x1p-16446", ""}, {"0x1p-16445", "0"},
		{strings.Repeat("1", 5120), ""},
	} {
		f, ok := parseFloat([]byte(c.in))
		got := ""
		if ok && f.IsInf() {
			got = f.String()
		} else if ok {
			got = string(formatFloat(f))
		}
		if got != c.want {
			t.Errorf("%.40q: %q, want %q", c.in, got, c.want)
		}
	}
	if f, ok := parseFloat([]byte("0x0." + strings.Repeat("f", 16) + "p16384")); !ok || f.MantExp(nil) != floatMaxExp {
		t.Error("the largest value is refused")
	}
	if _, ok := parseFloat([]byte("0x0." + strings.Repeat("f", 16) + "8p16384")); ok {
		t.Error("a value that rounds up to infinity is accepted")
	}
}

// randomFloat is the text of some number, from plain to extreme.
func randomFloat(r *rand.Rand) string {
	sign := []string{"", "", "-", "+"}[r.IntN(4)]
	switch r.IntN(9) {
	case 0:
		return strconv.FormatInt(int64(r.Uint64()), 10)
	case 1:
		return fmt.Sprintf("%s%d.%d", sign, r.IntN(1000), r.IntN(1000))
	case 2:
		return fmt.Sprintf("%s%d.%017d", sign, r.IntN(100), r.Uint64()%1e17)
	case 3:
		return fmt.Sprintf("%s%d.%de%d", sign, r.IntN(10), r.Uint64(), r.IntN(40)-20)
	case 4:
		return fmt.Sprintf("%s%d.%de%d", sign, r.IntN(10), r.Uint64(), r.IntN(9900)-4950)
	case 5:
		return fmt.Sprintf("%s0x%x.%xp%d", sign, r.Uint64()>>r.IntN(64), r.Uint64(), r.IntN(130)-65)
	case 6: // halfway between two values of 64 bits, and just beside it
		return fmt.Sprintf("%s%d%s", sign, 1<<63+r.Uint64()>>1, []string{".5", ".50000000000000000000000001", ".4999999999999999999999999"}[r.IntN(3)])
	case 7: // halfway between two texts of 17 digits
		return fmt.Sprintf("%s0.%017d5", sign, r.Uint64()%1000)
	default:
		return fmt.Sprintf("%s0x%xp%d", sign, r.Uint64(), []int{16320, -16445, -16446, -16500, 16321}[r.IntN(5)])
	}
}

func TestFloatsAgainstRedis(t *testing.T) {
	redis := dialRedis(t, 2)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := newShell(t)
	count := 3000
	if testing.Short() {
		count = 2000
	}
	for range count {
		a, b := randomFloat(r), randomFloat(r)
		var ours, theirs []string
		for _, args := range [][]string{{"SET", "f", a}, {"INCRBYFLOAT", "f", b}, {"GET", "f"}} {
			theirs = append(theirs, string(redis.do(args...)))
			list := make([][]byte, len(args))
			for i := range args {
				list[i] = []byte(args[i])
			}
			ours = append(ours, string(s.do(list...)))
		}
		if fmt.Sprint(ours) != fmt.Sprint(theirs) {
			t.Fatalf("SET f %s, INCRBYFLOAT f %s\n ours   %.300q\n theirs %.300q", a, b, ours, theirs)
		}
	}
}

func BenchmarkParseFloat(b *testing.B) {
	for _, text := range []string{"3.25", "1234567.25000000000000001", "1e-300"} {
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				parseFloat([]byte(text))
			}
		})
	}
	b.Run("3.25 without the short way", func(b *testing.B) {
		for b.Loop() {
			floatFromLong([]byte("325"), -2)
		}
	})
}

func BenchmarkIncrByFloat(b *testing.B) {
	s := newShell(b)
	args := words(b, "INCRBYFLOAT f 0.1")
	for b.Loop() {
		s.do(args...)
	}
}
