// Package regionlink tells another region what this one counts. The node that leads connects to it as a client, says REGION HELLO,
// and sends what has changed as frames (REGION MERGE, REGION WHOLE in commands/region.go). What the other region answers is how far it has
// incorporated each part, and that is all the state that a link has: a frame that got lost, or that nobody knows the fate of, is sent
// again, and changes nothing if it had come.
package regionlink

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Parts is how many parts the keyspace has.
const Parts = 256

// Source is this region.
type Source interface {
	// Hello returns the arguments of REGION HELLO, and what they depend on: when that changes they are said anew. ok is false
	// while this node does not lead, or is no region yet.
	Hello() (args []any, state string, ok bool)
	// Mark is this region's last mark of its history, and Judge returns an error unless it is in this history that another region was told what it has, up
	// to these positions, and last under that mark (engine/regionmarks.go).
	Mark() (number, random uint64)
	Judge(number, random uint64, has *[Parts]uint64) error
	// Table returns the incarnations that frames name by number, as the last arguments of REGION MERGE.
	Table() []any
	// BeginDigest passes over what this region has counted in a part, and EndDigest, to be called once, returns the digest, nil: there is none. It is
	// true of all positions from the one to the other. FullFrame is all there is of a part.
	BeginDigest(part int) any
	EndDigest(begun any) []byte
	FullFrame(part int) []byte
	// Now is the log time in milliseconds.
	Now() int64
	// Positions is how far this region is; nil: the cluster is none.
	Positions() *Positions
	// Frame returns what changed in a part behind a position, nil for nothing; whole says that it is all there is; to is where the part is.
	Frame(part int, from uint64) (frame []byte, whole bool, to uint64)
	// Lost returns the numbers of lost incarnations, and LostFrame what this region has of one.
	Lost() []int
	LostFrame(part, number int) []byte
	// Sketches returns a frame of what changed of the sketches of a part behind a position, nil for nothing. Rest is what is left to tell when
	// the frame has been confirmed.
	Sketches(part int, from uint64, rest *Rest) []byte
	// LostSketches returns a frame of what this region has of a lost incarnation's sketches, nil when there is no more.
	LostSketches(part, number int, rest *Rest) []byte
}

// Positions is how far something is, by part.
type Positions struct{ Counters, Sketches [Parts]uint64 }

// Rest is engine.SketchRest, which a link only keeps.
type Rest struct {
	Names [][]byte
	To    uint64
	All   bool
	Told  []byte
}

// Config says whom a link tells, and how.
type Config struct {
	Region         string   // name of the other region
	Addresses      []string // of its nodes, tried in turn
	User, Password string
	TLS            *tls.Config // nil: none
	Interval       time.Duration
	Log            *slog.Logger
}

const (
	askLimit    = 10 * time.Second // for an answer
	dialLimit   = 3 * time.Second
	retryFirst  = 100 * time.Millisecond
	retryMax    = time.Second           // so that all regions are equal within 2 s after a fault
	idleLook    = 50 * time.Millisecond // whether this node leads by now
	window      = 4 << 20               // bytes of frames under way
	pingEvery   = time.Second           // so that a dead connection is noticed while nothing changes
	helloAnswer = 8
	frameAnswer = 4
	// Sketches are large, and those that change all the time would be sent whole at each moment: a link sends 16 MiB of them a second, 1 MiB at
	// once.
	sketchWindow = 1 << 20
	sketchRate   = 16 << 20
)

// Status is how a link is.
type Status struct {
	Region, Address string // Address: the last one that was tried
	State           string // idle: this node does not lead; connecting, connected, refused
	Error           string // why it is not connected
	Since           time.Time
	Heard           time.Time     // the last answer
	RTT             time.Duration // of the last question
	Frames, Whole   int64         // answered, and those of all keys of a part among them
	Telling         int64         // of those, under way
	Rows            int64         // in the frames that were answered
	Bytes, Gaps     int64
	Sketches        int64     // frames of sketches among those that were answered
	Known           bool      // the other region has said how far it is, since this node leads
	Acked           Positions // how far the other region is, if that is known
	Clock           Clock
	Digests, Differ int64 // parts whose digests were compared, and those that differed
}

// Link is a link to one other region.
type Link struct {
	cfg    Config
	source Source
	checks chan *check
	due    digestTurn  // of Run's goroutine, as is:
	begun  *comparison // for a check; HELLO had to be said anew meanwhile
	mu     sync.Mutex
	status Status
}

// silent takes the client's own log: what goes wrong is in errors.
type silent struct{}

// Printf implements the client's logger.
func (silent) Printf(context.Context, string, ...any) {}

// New returns a link that Run starts.
func New(cfg Config, source Source) *Link {
	redis.SetLogger(silent{})
	return &Link{cfg: cfg, source: source, checks: make(chan *check), status: Status{Region: cfg.Region, State: "idle", Since: time.Now()}}
}

// Status returns how the link is.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

func (l *Link) update(fn func(s *Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.status.State
	if fn(&l.status); l.status.State != was {
		l.status.Since = time.Now()
	}
}

// Run keeps the link until the context ends.
func (l *Link) Run(ctx context.Context) {
	pause := retryFirst
	for try := 0; ctx.Err() == nil; try++ {
		if _, _, ok := l.source.Hello(); !ok {
			l.abandon(ErrNotLinked)
			l.update(func(s *Status) { s.State, s.Error, s.Known = "idle", "", false })
			wait(ctx, idleLook)
			continue
		}
		address := l.cfg.Addresses[try%len(l.cfg.Addresses)]
		begun := time.Now()
		err := l.connect(ctx, address)
		if ctx.Err() == nil && (err == nil || errors.Is(err, errAnew)) {
			continue // it is said anew
		}
		l.abandon(cmp.Or(err, ctx.Err()))
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > retryMax {
			pause = retryFirst
		}
		l.failed(address, err)
		wait(ctx, pause)
		pause = min(2*pause, retryMax)
	}
}

func (l *Link) failed(address string, err error) {
	state := "connecting"
	var refusal redis.Error
	if errors.As(err, &refusal) {
		state = "refused"
	}
	known := false
	l.update(func(s *Status) {
		known = s.Error == err.Error()
		s.State, s.Error = state, err.Error()
	})
	if !known {
		l.cfg.Log.Warn("no link to another region", "region", l.cfg.Region, "address", address, "error", err)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// connect serves one connection, or rather some to the same address, one for each pipeline under way. nil: it ended because HELLO has to be said anew.
func (l *Link) connect(ctx context.Context, address string) error {
	l.update(func(s *Status) { s.Address = address })
	client := redis.NewClient(&redis.Options{
		Addr: address, Username: l.cfg.User, Password: l.cfg.Password, TLSConfig: l.cfg.TLS, MaxRetries: -1, DialerRetries: 1, DialTimeout: dialLimit,
		ReadTimeout: askLimit, WriteTimeout: askLimit, DisableIdentity: true, PoolSize: flightsMost + flightsBeside, ContextTimeoutEnabled: true,
	})
	s := &session{link: l, client: client, landed: make(chan *flight)}
	err := s.run(ctx)
	client.Close() // whatever is under way ends
	for ; s.flights > 0; s.flights-- {
		<-s.landed
	}
	if c := s.comparing; c != nil && c.check != nil {
		l.begun = c
	}
	l.update(func(st *Status) { st.Telling = 0 })
	return err
}

// next is when frames are made next, where making those before and merging them took some time: with many keys that change all the time, that
// would take a third of the processors that count. What changes meanwhile is in one row: with 10,000 keys there are a quarter as many. All links
// of a node do it at the same moments, so that frames are made once for all (engine.Keyspace.Frame).
func (c *Config) next(now time.Time, spent time.Duration) time.Time {
	period := c.Interval
	for period < dutyCycle*spent && period < restMost*c.Interval {
		period *= 2
	}
	return now.Truncate(period).Add(period)
}

const (
	dutyCycle = 8
	restMost  = 4
	mergeCost = time.Microsecond // of a row (BenchmarkMergeFrame)
	// flightCost is what a flight takes beside its rows, an entry of the log and its syncs, in the other region and here; so what changes all the time
	// is told each 80 ms, and what changes now and then at once. With a flight each 20 or 40 ms each of two other regions took 70 or 50 ns for
	// each of 900,000 increments a second of one key, and 33 with one each 93 ms.
	flightCost = 6 * time.Millisecond
)

// session is a link while it is connected. All of it is of one goroutine, which sends and settles; flights only wait for their answers.
type session struct {
	link   *Link
	client *redis.Client
	state  string
	name   string // this region's, and its incarnation, as frames begin
	inc    string
	acked  Positions     // how far the other region is, by its answers
	told   [Parts]uint64 // how far the frames lead that it was sent: acked, but for what is under way
	back   [Parts]uint64 // the first flight behind a gap: gaps of those before it are known
	part   int           // the next one to look at
	asked  time.Time
	spent  time.Duration // on making frames, and about as long the other region takes to merge them, since the last turn

	ending  bool // HELLO has to be said anew
	landed  chan *flight
	flights int    // under way
	number  uint64 // of flights, ever
	bytes   int    // of frames under way
	telling int64  // whole parts under way
	frames  int    // flights of frames under way

	comparing *comparison // under way, nil: none
	// Of sketches a part has one frame under way at the most: the last of several moves the position, and must not come without the others.
	rests      [Parts]Rest
	sketching  bool
	sketchPart int       // the next one to look at
	sketchTime time.Time // not before
}

// run serves a session until it ends.
func (s *session) run(ctx context.Context) error {
	l := s.link
	if ok, err := s.hello(ctx); !ok {
		return err
	}
	l.cfg.Log.Info("link to another region", "region", l.cfg.Region, "address", s.client.Options().Addr)
	if err := s.lost(ctx); err != nil {
		return err
	}
	if c := l.begun; c != nil {
		l.begun = nil
		if err := s.compare(ctx, c); err != nil {
			return err
		}
	}
	due := time.NewTimer(0)
	defer due.Stop()
	for !s.ending || s.flights > 0 {
		checks, turn := l.checks, due.C
		if s.comparing != nil || s.ending {
			checks = nil
		}
		if s.full() || s.ending {
			turn = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case f := <-s.landed:
			err = s.settle(ctx, f)
		case c := <-checks:
			err = s.compare(ctx, &comparison{check: c})
		case <-turn:
			_, state, ok := l.source.Hello()
			if !ok {
				return nil
			}
			if s.ending = state != s.state; s.ending {
				continue
			}
			begun := time.Now()
			err = s.turn(ctx)
			due.Reset(time.Until(l.cfg.next(begun, s.spent)))
			s.spent = 0
		}
		if errors.Is(err, errAnew) { // when what is under way has been answered: else it might be told once more
			s.ending, err = true, nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hello says HELLO; false: this region cannot say it now.
func (s *session) hello(ctx context.Context) (bool, error) {
	args, state, ok := s.link.source.Hello()
	if !ok {
		return false, nil
	}
	s.state, s.name, s.inc = state, fmt.Sprint(args[3]), fmt.Sprint(args[4])
	begun, from := time.Now(), s.link.source.Now()
	reply, err := s.client.Do(ctx, args...).Slice()
	if err != nil {
		return false, err
	}
	var now int64
	if len(reply) != helloAnswer || !whole(reply[5], &now) {
		return false, errNonsense
	}
	if name := fmt.Sprint(reply[0]); name != s.link.cfg.Region {
		return false, fmt.Errorf("that is the region %s, and not %s: see the setting region-peers", name, s.link.cfg.Region)
	}
	at := s.link.source.Positions()
	if at == nil {
		return false, nil // a snapshot has taken the place of the state since
	}
	if err := s.link.known(reply[3], &at.Counters, &s.acked.Counters); err != nil {
		return false, err
	}
	if err := s.link.known(reply[4], &at.Sketches, &s.acked.Sketches); err != nil {
		return false, err
	}
	s.told = s.acked.Counters
	if err := s.history(ctx, reply[6:]); err != nil {
		return false, err
	}
	s.heard(time.Since(begun))
	s.link.compare(from, now)
	s.link.update(func(st *Status) { st.State, st.Error, st.Acked, st.Known = "connected", "", s.acked, true })
	return true, nil
}

var (
	errAnew     = errors.New("HELLO has to be said anew")
	errNonsense = errors.New("the answer to REGION HELLO makes no sense")
)

// known reads how far the other region is, which is not farther than this one.
func (l *Link) known(reply any, at, acked *[Parts]uint64) error {
	parts, _ := reply.([]any)
	if len(parts) != Parts {
		return errNonsense
	}
	for i, p := range parts {
		var n int64
		if !whole(p, &n) {
			return errNonsense
		}
		if uint64(n) > at[i] {
			return fmt.Errorf("%s knows more of this region than it knows itself (part %d: %d, not %d): its data are an older copy. REGION RENEW keeps them as they are, as another incarnation", l.cfg.Region, i, n, at[i])
		}
		acked[i] = uint64(n)
	}
	return nil
}

// history finds out whether the other region was told of this history, and then tells it the mark of what comes now.
func (s *session) history(ctx context.Context, heard []any) error {
	var m [2]uint64
	for i := range m {
		var err error
		if m[i], err = strconv.ParseUint(fmt.Sprint(heard[i]), 10, 64); err != nil {
			return errNonsense
		}
	}
	src := s.link.source
	if err := src.Judge(m[0], m[1], &s.acked.Counters); err != nil {
		return fmt.Errorf("%s was told by another history of this region than this one, so these data are an older copy: %w. REGION RENEW keeps them as they are, as another incarnation", s.link.cfg.Region, err)
	}
	number, random := src.Mark()
	if number == 0 || number == m[0] && random == m[1] {
		return nil
	}
	return s.client.Do(ctx, "REGION", "MARK", s.name, s.inc, strconv.FormatUint(number, 10), strconv.FormatUint(random, 10)).Err()
}

func (s *session) heard(rtt time.Duration) {
	s.asked = time.Now()
	s.link.update(func(st *Status) { st.Heard, st.RTT = s.asked, rtt })
}
