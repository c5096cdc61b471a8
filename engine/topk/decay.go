package topk

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Powers of decay, as many as a count of 63 bits needs: single ones up to decay^63, then decay^(64·2^i).
const (
	singlePowersLog = 6
	singlePowers    = 1 << singlePowersLog
	doubledPowers   = 63 - singlePowersLog + 1
	powersBytes     = (singlePowers + doubledPowers) * 8
)

// fillPowers computes the powers of decay in units of 2^-64, each product rounded down. A power of 1 becomes the largest
// number there is, 2^-64 too little.
func fillPowers(b []byte, decay float64) {
	fraction, exponent := math.Frexp(decay) // decay = fraction · 2^exponent, ½ ≤ fraction < 1
	d := uint64(math.MaxUint64)
	if decay < 1 {
		d = uint64(fraction*(1<<53)) << 11 >> uint(-exponent)
	}
	times := func(a, b uint64) uint64 {
		if d == math.MaxUint64 {
			return d
		}
		hi, _ := bits.Mul64(a, b)
		return hi
	}
	binary.LittleEndian.PutUint64(b, math.MaxUint64)
	power := d
	for i := 1; i < singlePowers; i++ {
		binary.LittleEndian.PutUint64(b[i*8:], power)
		power = times(power, d)
	}
	for i := range doubledPowers {
		binary.LittleEndian.PutUint64(b[(singlePowers+i)*8:], power)
		power = times(power, power)
	}
}

func (s *Sketch) power(i int) uint64 { return s.u64(uint32(headerBytes + i*8)) }

// chance is the probability, in units of 2^-64, that a count is lowered.
func (s *Sketch) chance(count uint64) uint64 {
	if count < singlePowers {
		return s.power(int(count))
	}
	high := count >> singlePowersLog
	top := bits.Len64(high) - 1
	p := s.power(singlePowers + top) // the smallest factor, which is nothing for most of the counts that are so large
	high &^= 1 << top
	if single := count & (singlePowers - 1); p != 0 && single != 0 {
		p, _ = bits.Mul64(p, s.power(int(single)))
	}
	for ; p != 0 && high != 0; high &= high - 1 {
		p, _ = bits.Mul64(p, s.power(singlePowers+bits.TrailingZeros64(high)))
	}
	return p
}

// random draws from the generator (splitmix64).
func (s *Sketch) random() uint64 {
	state := s.u64(stateAt) + 0x9e3779b97f4a7c15
	s.putU64(stateAt, state)
	z := state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// decay lowers another's count by n attempts. over is what is left of n when nothing is left of the count, the attempt
// that took the last of it included; the cell then changes hands.
//
// An attempt succeeds with the chance of the count that it meets. Of many attempts, those that fail are skipped, and high
// counts are lowered in steps of a sixteenth: an increment of any size takes some thousand draws at the most, where
// attempts one by one could hold up the server for minutes.
func (s *Sketch) decay(count, n uint64) (left, over uint64) {
	const single = 512 // counts from here on are lowered in larger steps
	for n > 0 {
		chance := s.chance(count)
		if chance == 0 {
			break
		}
		attempts, lowered := uint64(1), uint64(0)
		switch {
		case n > 1 && count >= single:
			attempts, lowered = s.severalAttempts(chance, n, count/16)
		case n > 1 && chance < 1<<63:
			attempts, lowered = s.untilSuccess(chance), 1
		case s.random() < chance:
			lowered = 1
		}
		if attempts > n {
			break
		}
		n -= attempts
		if lowered >= count {
			return 0, n + 1
		}
		count -= lowered
	}
	return count, 0
}

// untilSuccess draws how many attempts it takes to succeed once: an exponential variable over the rate of success, whose
// logarithm is good to one hundredth.
func (s *Sketch) untilSuccess(chance uint64) uint64 {
	const (
		bend = 0x58370000 // 0.3446 · 2^32: log2(1 + f) is about f + 0.3446·f·(1 - f)
		ln2  = 0xb17217f7 // ln 2 · 2^32
	)
	r := s.random()
	zeros := bits.LeadingZeros64(r)
	f := r << zeros << 1 >> 32
	log2 := uint64(zeros+1)<<32 - f - (f*(1<<32-f)>>32)*bend>>32
	exponential := log2 >> 8 * ln2 >> 24 // in units of 2^-32
	square, _ := bits.Mul64(chance, chance)
	cube, _ := bits.Mul64(square, chance)
	rate := chance + square/2 + cube/3 // -ln(1 - chance), to 4 % where chance is ½, its highest
	if exponential>>32 >= rate {
		return math.MaxUint64
	}
	q, _ := bits.Div64(exponential>>32, exponential<<32, rate)
	if q == math.MaxUint64 {
		return q
	}
	return q + 1
}

// severalAttempts is so many attempts, n at the most, as succeed goal times on average, and how often they do; only the
// fraction of that is left to luck.
func (s *Sketch) severalAttempts(chance, n, goal uint64) (attempts, lowered uint64) {
	attempts = n
	if goal < chance {
		q, _ := bits.Div64(goal, 0, chance)
		attempts = min(q, n)
	}
	lowered, fraction := bits.Mul64(attempts, chance)
	if s.random() < fraction {
		lowered++
	}
	return attempts, lowered
}
