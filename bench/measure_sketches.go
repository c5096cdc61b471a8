package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/redis/go-redis/v9"
)

// The sketches measured. Their sizes are those of the bars in small runs as well:
// smaller ones take other paths through the code, and filling them takes no time.
const (
	largeElements = 1_000_000 // in the large key before the load
	largeRange    = 1_010_000 // of the elements that the load adds to it: one in a hundred is new, and few of those raise a register
	denseElements = 100_000   // in each of the keys that are counted
	manyKeys      = 10_000    // of the load with new elements, each with that many possible ones

	sketchDepth = 16 // where a bar has no other
	zipfItems   = 1_000_000
	zipfScript  = 1 << 18 // commands
)

const (
	largeKey = "sketch:large"
	cmsKey   = "sketch:cms"
)

var denseKeys = [...]string{"sketch:dense:1", "sketch:dense:2", "sketch:dense:3"}

// addToLarge adds random elements to the large key; nearly all raise no register.
// addNew adds random elements to random keys, so that all but a few percent of the
// elements are new to their key.
var (
	addToLarge = load{command: "pfadd", args: largeKey + " __rand_int__", keys: largeRange, clients: barClients}
	addNew     = load{command: "pfadd", args: keyPattern + " __rand_int__", keys: manyKeys, clients: barClients}
)

// sketchMeasurement is bars S1 to S4. Its runs have half the usual length.
func sketchMeasurement(cfg config) measurement {
	return measurement{
		name: "sketches",
		about: fmt.Sprintf("approximate counts, %d clients: `PFADD` and `PFCOUNT` by redis-benchmark, `CMS.INCRBY` of one item by our own load",
			barClients),
		metrics: []metric{
			throughputMetric("pfadd-large", "`PFADD` of a random element to one key of "+grouped(largeElements, 0)),
			throughputMetric("pfadd-new", "`PFADD` of a new element to one of "+grouped(manyKeys, 0)+" keys"),
			cpuMetric("pfadd-new", "`PFADD` of a new element"),
			throughputMetric("pfcount", "`PFCOUNT` of three dense keys"),
			throughputMetric("cms", "`CMS.INCRBY` of a Zipf distributed item, 2000 × 7 cells"),
		},
		bars: []bar{
			{"S1", "PFADD to one large key, defaults ÷ no persistence", depthChecks("pfadd-large", quipuQuorum, peerMemory, map[int]float64{16: 0.95, 100: 1.2})},
			{"S2", "PFADD of new elements, defaults ÷ appendfsync always", depthChecks("pfadd-new", quipuQuorum, peerAlways, map[int]float64{sketchDepth: 1.5})},
			{"S3", "PFCOUNT of three dense keys, defaults ÷ no persistence", depthChecks("pfcount", quipuQuorum, peerMemory, map[int]float64{sketchDepth: 2})},
			{"S4", "CMS.INCRBY, durable, items/s", []check{{label: depthName(sketchDepth), num: cell{"cms", quipuQuorum, sketchDepth}, atLeast: 400_000}}},
		},
		run: func(ctx context.Context, l *lab) error {
			for _, part := range []func(context.Context) error{l.largeSketches, l.newElements, l.countMin} {
				if err := part(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// largeSketches is S1 and S3.
func (l *lab) largeSketches(ctx context.Context) error {
	servers, err := l.startFilled(ctx, 0, quipuQuorum, peerMemory)
	defer servers.kill()
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := s.addElements(ctx, largeKey, 0, largeElements); err != nil {
			return s.explain(err)
		}
		for i, key := range denseKeys {
			if err := s.addElements(ctx, key, i*denseElements, (i+1)*denseElements); err != nil {
				return s.explain(err)
			}
		}
	}
	add := addToLarge
	add.half = true
	if err := l.sweep(ctx, servers, "pfadd-large", add, []int{16, 100}); err != nil {
		return err
	}
	for _, s := range servers {
		if err := s.checkLarge(ctx); err != nil {
			return err
		}
	}
	count := load{command: "pfcount", args: denseKeys[0] + " " + denseKeys[1] + " " + denseKeys[2], clients: barClients, half: true}
	if err := l.sweep(ctx, servers, "pfcount", count, []int{sketchDepth}); err != nil {
		return err
	}
	for _, s := range servers {
		const all = float64(len(denseKeys) * denseElements)
		if err := s.checkCount(ctx, all, all, denseKeys[:]...); err != nil {
			return err
		}
	}
	return nil
}

// newElements is S2.
func (l *lab) newElements(ctx context.Context) error {
	servers, err := l.startFilled(ctx, 0, quipuQuorum, peerAlways)
	defer servers.kill()
	if err != nil {
		return err
	}
	add := addNew
	add.half = true
	if err := l.sweep(ctx, servers, "pfadd-new", add, []int{sketchDepth}); err != nil {
		return err
	}
	for _, s := range servers {
		if err := s.checkElements(ctx); err != nil {
			return s.explain(err)
		}
	}
	return nil
}

// countMin is S4.
func (l *lab) countMin(ctx context.Context) error {
	s, err := l.start(ctx, quipuQuorum)
	if err != nil {
		return err
	}
	defer s.kill()
	if err := s.client.Do(ctx, "CMS.INITBYPROB", cmsKey, 0.001, 0.01).Err(); err != nil {
		return s.explain(err)
	}
	g := generator{addr: s.addr(), clients: barClients, depth: sketchDepth, script: zipfIncrements()}
	counted := 0
	err = l.alternate(ctx, 1, func(round, _ int) error {
		result, err := g.runFor(ctx, l.cfg.runTime()/2)
		if err != nil {
			return s.explain(err)
		}
		counted += result.requests
		rate := float64(result.requests) / result.elapsed.Seconds()
		l.figures.add("cms", s.variant, sketchDepth, rate)
		l.progress(round, s.variant, "cms "+depthName(sketchDepth), rate, "items/s")
		return nil
	})
	if err != nil {
		return err
	}
	info, err := s.client.CMSInfo(ctx, cmsKey).Result()
	if err != nil {
		return s.explain(err)
	}
	if info.Count != int64(counted) {
		return fmt.Errorf("%d items were counted, the sketch says %d", counted, info.Count)
	}
	return nil
}

// zipfIncrements counts one item with each command; a few items are counted often
// and most of them rarely.
func zipfIncrements() *script {
	s := &script{expect: expectLists}
	random := rand.New(rand.NewPCG(1, 1))
	zipf := rand.NewZipf(random, 1.05, 1, zipfItems-1)
	var item []byte
	for range zipfScript {
		item = appendDigits(append(item[:0], "item:"...), int(zipf.Uint64()), 7)
		s.commands = appendBulk(append(s.commands, "*4\r\n"...), []byte("CMS.INCRBY"))
		s.commands = appendBulk(appendBulk(s.commands, []byte(cmsKey)), item)
		s.commands = appendBulk(s.commands, []byte("1"))
	}
	s.size = len(s.commands) / zipfScript
	return s
}

// addElements adds the elements from low up to high, as redis-benchmark writes
// random numbers, to a key.
func (s *server) addElements(ctx context.Context, key string, low, high int) error {
	const each = 5000
	for ; low < high; low += each {
		elements := make([]any, 0, each)
		for i := low; i < min(high, low+each); i++ {
			elements = append(elements, appendDigits(nil, i, 12))
		}
		if err := s.client.PFAdd(ctx, key, elements...).Err(); err != nil {
			return err
		}
	}
	return nil
}

// leastNew is the part of the expected elements that must be there after a load.
// Not all need be: two runs of redis-benchmark whose random numbers begin alike send
// the same elements.
const leastNew = 0.5

// checkLarge wants the large key to have grown as a server's loads so far, which
// were all addToLarge, should have made it grow. redis-benchmark takes errors for
// replies: what the key holds tells that there were none.
func (s *server) checkLarge(ctx context.Context) error {
	grown := (1 - float64(largeElements)/largeRange) * expectedDistinct(largeRange, float64(s.sent))
	return s.checkCount(ctx, largeElements+leastNew*grown, largeElements+grown, largeKey)
}

// checkCount wants PFCOUNT from low to high, give or take 5 %: six standard errors.
func (s *server) checkCount(ctx context.Context, low, high float64, keys ...string) error {
	n, err := s.client.PFCount(ctx, keys...).Result()
	if err != nil {
		return s.explain(err)
	}
	if float64(n) < 0.95*low || float64(n) > 1.05*high {
		return fmt.Errorf("%s: PFCOUNT %v is %d, should be about %.0f to %.0f", s.variant, keys, n, low, high)
	}
	return nil
}

// expectedDistinct is how many of n things were drawn at least once in draws.
func expectedDistinct(n, draws float64) float64 { return -n * math.Expm1(-draws/n) }

// checkElements adds up the counts of all keys of the load with new elements.
func (s *server) checkElements(ctx context.Context) error {
	pipe := s.client.Pipeline()
	counts := make([]*redis.IntCmd, manyKeys)
	for i := range counts {
		counts[i] = pipe.PFCount(ctx, string(benchmarkKey(nil, i)))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	sum := 0.0
	for _, c := range counts {
		sum += float64(c.Val())
	}
	if want := expectedDistinct(manyKeys*manyKeys, float64(s.sent)); sum < leastNew*want {
		return fmt.Errorf("the keys have %.0f elements, should be %.0f", sum, want)
	}
	return nil
}
