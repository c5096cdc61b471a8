package app

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"quipu/connect/count"
	"quipu/connect/quipu"
	"quipu/connect/sink"
)

// told is what a process says in Quipu of each partition that it counts, so that status can show it from anywhere. The key
// connect:SOURCE/N, of a sink connect:sink:NAME, expires when nobody says so any more.
type told struct {
	Owner  string  `json:"owner"`
	State  string  `json:"state"`
	Reason string  `json:"reason,omitempty"`
	Done   int64   `json:"done"`
	End    int64   `json:"end"`
	Rate   float64 `json:"rate"`             // records a second; of a sink rows
	Cursor string  `json:"cursor,omitempty"` // of a sink: the watermark
	Stamp  int64   `json:"stamp,omitempty"`  // of a sink
}

const (
	tellTime = 2 * time.Second
	toldFor  = 10 * time.Second
)

func tellKey(partition string) string { return sink.OwnKeys + partition }

func tellSinkKey(name string) string { return tellKey("sink:" + name) }

// publish tells of all partitions and sinks again and again.
func (r *running) publish(ctx context.Context, client *quipu.Client, board *count.Board, sinks []*sink.Sink) {
	owner := r.instance
	if owner == "" {
		host, _ := os.Hostname()
		owner = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	last := map[string]int64{}
	tick := time.NewTicker(tellTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range board.Snapshots() {
			t := told{Owner: owner, State: string(s.State), Reason: s.Reason, Done: s.Done, End: s.End}
			if before, known := last[s.Name]; known {
				t.Rate = float64(s.Place-before) / tellTime.Seconds()
			}
			last[s.Name] = s.Place
			tell(ctx, client, tellKey(s.Name), &t)
		}
		for _, s := range sinks {
			r.publishSink(ctx, client, owner, s.Report.Snapshot(), last)
		}
	}
}

// tell writes what is told. It is told again soon, so an error does not matter.
func tell(ctx context.Context, client *quipu.Client, key string, t *told, more ...any) {
	text, err := json.Marshal(t)
	if err != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	_, _ = client.Do(limited, append([]any{"SET", key, text, "PX", toldFor.Milliseconds()}, more...)...)
}
