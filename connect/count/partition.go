package count

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"quipu/connect/mapping"
	"quipu/connect/quipu"
)

// Settings are what a partition is counted with.
type Settings struct {
	Name        string // of the partition as a source of Quipu: "likes/3"
	Incarnation string // of the topic
	Stored      string // the text that Quipu stores as its position; "" if nothing
	Position    Position
	Program     *mapping.Program
	Quipu       *quipu.Client
	Most        int                   // records in a transaction
	Park        string                // where bad records are set aside; "": stop at the first
	Place       func(c Coord) string  // the position behind a record
	Where       func(c Coord) string  // where a record is, for people
	Number      func(at string) int64 // a position as a number, for lag and rate; nil where places are no numbers
	Progress    func(at string) int64 // the same for progress, where that is measured otherwise; nil: Number
	Room        func()                // called when the queue has room again after Push said that it is full
	Report      *Report               // is told how it goes
}

// What a queue holds before Push says that it is full, and a transaction, beside the setting for its records. Quipu's own
// limit for a transaction is 8 MiB (max-command-bytes).
const (
	queueBytes       = 4 << 20
	transactionBytes = 2 << 20
	stopLimit        = 3 * time.Second // for what is on its way when a partition is stopped
)

// pace is the least time between two transactions of a partition, unless one is full. Without it, a partition that is not behind
// sends one for each handful of events, which Quipu's other clients feel (connect/bench, E4).
const pace = 25 * time.Millisecond

// Partition counts the records of one partition, in their order. One transaction is on its way at a time, while the records of
// the next are added up: so the slower Quipu answers, the larger are the transactions.
type Partition struct {
	Settings

	mu     sync.Mutex
	queue  [][]Record
	bytes  int  // in the queue
	full   bool // Push said so
	wake   chan struct{}
	quit   chan struct{}
	finish chan struct{}
	once   sync.Once
	done   chan struct{}
	err    error    // why it ended, once done is closed
	behind int      // records that the transaction before has turned from counted into refused
	parked int      // bytes at the place for bad records
	rest   []Record // taken from the queue, and not yet added
}

// Start begins to count records that are pushed. The first is expected behind s.Position.
func Start(ctx context.Context, s Settings) *Partition {
	p := &Partition{Settings: s, wake: make(chan struct{}, 1), quit: make(chan struct{}), finish: make(chan struct{}), done: make(chan struct{})}
	p.Report.begin(&p.Settings)
	go func() {
		defer close(p.done)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		p.err = p.run(ctx)
		p.Report.end(p.err)
	}()
	return p
}

// Push hands over further records, which must not be changed any more. It never waits. With full, no more should be pushed until Room is called.
func (p *Partition) Push(records []Record) (full bool) {
	p.mu.Lock()
	p.queue = append(p.queue, records)
	p.bytes += size(records)
	p.full = p.bytes > queueBytes
	full = p.full
	p.mu.Unlock()
	p.notify()
	return full
}

func size(records []Record) (n int) {
	for i := range records {
		n += len(records[i].Value) + 64
	}
	return n
}

func (p *Partition) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Done is closed when the partition has ended; then Err says why.
func (p *Partition) Done() <-chan struct{} { return p.done }

// Err is why the partition has ended: nil (Stop), *quipu.Moved, *BadRecord, or another error of quipu.Client.Apply.
func (p *Partition) Err() error {
	<-p.done
	return p.err
}

// Stop lets the transaction that is on its way come to its end, for 3 s at most, and gives up the rest.
func (p *Partition) Stop() {
	p.once.Do(func() { close(p.quit) })
	<-p.done
}

// Finish has the partition end when everything that was pushed is counted. It does not wait, and may be called once.
func (p *Partition) Finish() { close(p.finish) }

// take is the next records of the queue; nil: there are none.
func (p *Partition) take() []Record {
	p.mu.Lock()
	if len(p.queue) == 0 {
		p.mu.Unlock()
		return nil
	}
	records := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.bytes -= size(records)
	room := p.full && p.bytes < queueBytes/2
	p.full = p.full && !room
	p.mu.Unlock()
	if room && p.Room != nil {
		p.Room()
	}
	return records
}

// outcome is what Quipu made of a batch.
type outcome struct {
	refused map[int]error
	err     error
	took    time.Duration
}

func (p *Partition) run(ctx context.Context) error {
	if err := p.lookAtPark(ctx); err != nil {
		return err
	}
	gathered, spare := p.newBatch(), p.newBatch()
	var flying *batch
	landed, finish := make(chan outcome, 1), p.finish
	paced := time.NewTimer(0)
	defer paced.Stop()
	ready := false // pace allows the next one
	for {
		gathered.fill(p)
		switch {
		case flying == nil && gathered.records > 0 && (ready || p.finishing() || gathered.full(p)):
			paced.Reset(pace)
			ready = false
			flying, gathered, spare = gathered, spare, nil
			t := p.transaction(flying)
			go func() { landed <- p.apply(ctx, t) }()
			continue
		case flying == nil && gathered.stop != nil:
			return gathered.stop
		case flying == nil && gathered.records == 0 && p.finishing():
			return nil
		}
		wake := p.wake
		if gathered.full(p) {
			wake = nil
		}
		select {
		case <-wake:
		case <-paced.C:
			ready = true
		case <-finish:
			finish = nil
		case o := <-landed:
			if err := p.landed(flying, o); err != nil {
				return err
			}
			spare, flying = flying, nil
			spare.reset()
		case <-p.quit:
			if flying == nil {
				return nil
			}
			return p.last(ctx, flying, landed)
		case <-ctx.Done():
			return nil
		}
	}
}

// finishing reports whether nothing is left, and nothing comes any more.
func (p *Partition) finishing() bool {
	select {
	case <-p.finish:
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.queue) == 0 && len(p.rest) == 0
	default:
		return false
	}
}

// last waits for the transaction that is on its way.
func (p *Partition) last(ctx context.Context, flying *batch, landed chan outcome) error {
	select {
	case o := <-landed:
		return p.landed(flying, o)
	case <-time.After(stopLimit): // whether it is applied is seen by who goes on
	case <-ctx.Done():
	}
	return nil
}

// transaction is the one that counts a batch, from the position that was reached by the one before.
func (p *Partition) transaction(b *batch) *quipu.Transaction {
	to := p.Position
	to.At = p.Place(b.last)
	to.add(&b.delta)
	to.Late += b.late
	behind := int64(p.behind)
	to.Refused += behind
	to.Counted -= behind
	b.to = to
	return &quipu.Transaction{
		Source: p.Name, Incarnation: p.Incarnation, From: p.Stored, To: to.String(), Commands: b.commands(p),
	}
}

func (i *Identity) add(d *Identity) {
	i.Counted += d.Counted
	i.Filtered += d.Filtered
	i.Parked += d.Parked
	i.Refused += d.Refused
	i.Markers += d.Markers
	i.Invisible += d.Invisible
	i.Lost += d.Lost
}

func (p *Partition) apply(ctx context.Context, t *quipu.Transaction) outcome {
	begin := time.Now()
	refused, err := p.Quipu.Apply(ctx, t, p.Report.Waits)
	return outcome{refused, err, time.Since(begin)}
}

// landed takes note of what became of a batch.
//
// Which commands Quipu refused (a key that holds a text) is known only now, so their records go from counted to refused with the next
// transaction; a connector that is killed in between leaves them under counted.
func (p *Partition) landed(b *batch, o outcome) error {
	if o.err != nil {
		return o.err
	}
	p.Position, p.Stored, p.behind = b.to, b.to.String(), 0
	p.parked += b.parkedBytes
	for i, err := range o.refused {
		p.behind += b.recordsOf(i)
		p.Report.refused(err)
	}
	p.behind = min(p.behind, int(b.delta.Counted))
	p.Report.applied(&p.Settings, b, o.took)
	return nil
}

// lookAtPark learns how much is already set aside.
func (p *Partition) lookAtPark(ctx context.Context) error {
	if p.Park == "" {
		return nil
	}
	n, err := p.Quipu.Length(ctx, p.parkKey(), p.Report.Waits)
	p.parked = n
	return err
}

// BadRecord is a record that could not be counted, and at which the partition has stopped.
type BadRecord struct {
	Partition, Where string
	Why              error
}

func (b *BadRecord) Error() string {
	return fmt.Sprintf("%s, %s: %v; mend the configuration, or let such records be set aside (on-bad-record park NAME), or go on behind it (accept … -at)", b.Partition, b.Where, b.Why)
}

// ErrParkFull is why a partition stops although bad records are to be set aside: there are too many.
var ErrParkFull = errors.New("too many bad records are set aside; see to them with quipu-connect retry, or delete the key")
