package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Sketches: the same questions as to the counters, answered approximately in a
// few kilobytes. They stand in the same transactions, so that a flight is in them
// exactly once as well, and their answers do not depend on what was killed when.
const (
	routesPF     = "sketch:routes:pf"
	routesUC     = "sketch:routes:uc"
	originDaysPF = "sketch:origin-days:pf"
	originDaysUC = "sketch:origin-days:uc"
	lateKey      = "sketch:late" // Count-Min: minutes of delay by route; flights that were early count nothing
	topKey       = "sketch:top"  // Top-K: the routes with the most flights
)

// topRoutes is how many routes the Top-K sketch keeps. The frequencies of routes
// lie close together, so it is given more cells than its defaults have.
const (
	topRoutes = 10
	topWidth  = 2000
	topDepth  = 5
)

// The Count-Min sketch is above the truth by more than lateError of all minutes
// with a probability of lateRisk.
const (
	lateError = 0.001
	lateRisk  = 0.01
)

// families says which sketches a server has: redis-server has PF only.
type families struct{ uc, cms, topk bool }

// doer is a client or one of its connections.
type doer interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}

// knownFamilies asks the server.
func knownFamilies(ctx context.Context, server doer) (families, error) {
	info, err := server.Do(ctx, "COMMAND", "INFO", "UC.ADD", "CMS.INCRBY", "TOPK.ADD").Slice()
	if err != nil {
		return families{}, fmt.Errorf("COMMAND INFO: %w", err)
	}
	if len(info) != 3 {
		return families{}, fmt.Errorf("COMMAND INFO of 3 commands has %d entries", len(info))
	}
	return families{uc: info[0] != nil, cms: info[1] != nil, topk: info[2] != nil}, nil
}

// reserve makes the sketches that need dimensions. Those that exist are kept: a
// session before this one has made them.
func (have families) reserve(ctx context.Context, server doer) error {
	if have.cms {
		if err := server.Do(ctx, "CMS.INITBYPROB", lateKey, lateError, lateRisk).Err(); err != nil && !strings.Contains(err.Error(), "already exists") {
			return fmt.Errorf("CMS.INITBYPROB: %w", err)
		}
	}
	if have.topk {
		if err := server.Do(ctx, "TOPK.RESERVE", topKey, topRoutes, topWidth, topDepth, 0.9).Err(); err != nil && !strings.Contains(err.Error(), "already exists") {
			return fmt.Errorf("TOPK.RESERVE: %w", err)
		}
	}
	return nil
}

// add puts the commands that add a flight to the sketches into pipe.
func (have families) add(ctx context.Context, pipe redis.Pipeliner, f flight) {
	route, originDay := f.origin+"-"+f.destination, f.origin+" "+f.day
	pipe.Do(ctx, "PFADD", routesPF, route)
	pipe.Do(ctx, "PFADD", originDaysPF, originDay)
	if have.uc {
		pipe.Do(ctx, "UC.ADD", routesUC, route)
		pipe.Do(ctx, "UC.ADD", originDaysUC, originDay)
	}
	if have.cms && f.delay > 0 {
		pipe.Do(ctx, "CMS.INCRBY", lateKey, route, f.delay)
	}
	if have.topk {
		pipe.Do(ctx, "TOPK.ADD", topKey, route)
	}
}

// estimates are the answers of all sketches that a server has.
type estimates struct {
	distinct map[string]int64 // by key
	top      []string         // routes, the most frequent first
	flights  map[string]int64 // by route, of those in top
	late     map[string]int64 // minutes by route, of those in top
}

func readEstimates(ctx context.Context, client *redis.Client) (*estimates, error) {
	have, err := knownFamilies(ctx, client)
	if err != nil {
		return nil, err
	}
	e := &estimates{distinct: map[string]int64{}, flights: map[string]int64{}, late: map[string]int64{}}
	questions := [][2]string{{"PFCOUNT", routesPF}, {"PFCOUNT", originDaysPF}}
	if have.uc {
		questions = append(questions, [2]string{"UC.COUNT", routesUC}, [2]string{"UC.COUNT", originDaysUC})
	}
	for _, q := range questions {
		if e.distinct[q[1]], err = client.Do(ctx, q[0], q[1]).Int64(); err != nil {
			return nil, fmt.Errorf("%s: %w", q[0], err)
		}
	}
	if have.topk {
		list, err := client.Do(ctx, "TOPK.LIST", topKey, "WITHCOUNT").Slice()
		if err != nil {
			return nil, fmt.Errorf("TOPK.LIST: %w", err)
		}
		for i := 0; i+1 < len(list); i += 2 {
			route := fmt.Sprint(list[i])
			if e.flights[route], err = strconv.ParseInt(fmt.Sprint(list[i+1]), 10, 64); err != nil {
				return nil, fmt.Errorf("TOPK.LIST: %w", err)
			}
			e.top = append(e.top, route)
		}
	}
	if !have.cms || len(e.top) == 0 {
		return e, nil
	}
	query := []any{"CMS.QUERY", lateKey}
	for _, route := range e.top {
		query = append(query, route)
	}
	minutes, err := client.Do(ctx, query...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("CMS.QUERY: %w", err)
	}
	for i, n := range minutes {
		e.late[e.top[i]] = n
	}
	return e, nil
}

// distinctQuestions is what is counted by PF and UC, in the order of the lines
// printed.
func distinctQuestions(want *exact) []distinctQuestion {
	return []distinctQuestion{
		{"routes, PFCOUNT", routesPF, want.routes()},
		{"routes, UC.COUNT", routesUC, want.routes()},
		{"origins by day, PFCOUNT", originDaysPF, int64(len(want.originDays))},
		{"origins by day, UC.COUNT", originDaysUC, int64(len(want.originDays))},
	}
}

type distinctQuestion struct {
	name, key string
	exact     int64
}

// print writes the first n lines of each estimate beside the exact answer.
func (e *estimates) print(w io.Writer, want *exact, n int) {
	fmt.Fprintf(w, "\n    %-26s %8s %8s %8s\n", "distinct", "estimate", "exact", "error")
	for _, q := range distinctQuestions(want) {
		if got, ok := e.distinct[q.key]; ok {
			fmt.Fprintf(w, "    %-26s %8s %8s %8s\n", q.name, thousands(int(got)), thousands(int(q.exact)), relativeError(got, q.exact))
		}
	}
	if len(e.top) == 0 {
		return
	}
	fmt.Fprintf(w, "\n    %-10s %8s %8s %8s    %12s %8s %8s\n", "TOPK.LIST", "flights", "exact", "error", "minutes late", "exact", "error")
	for i, route := range e.top[:min(n, len(e.top))] {
		flights := want.counts[routePrefix+route]
		fmt.Fprintf(w, "%2d  %-10s %8s %8s %8s", i+1, route, thousands(int(e.flights[route])), thousands(int(flights)), relativeError(e.flights[route], flights))
		if late, ok := e.late[route]; ok {
			fmt.Fprintf(w, "    %12s %8s %8s", thousands(int(late)), thousands(int(want.late[route])), relativeError(late, want.late[route]))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "    %d of these %d are among the exact %d", e.found(want), len(e.top), len(e.top))
	if len(e.late) > 0 {
		fmt.Fprintf(w, "; one sum in %.0f may be more than %.0f minutes too high", 1/lateRisk, lateError*float64(want.allLate()))
	}
	fmt.Fprintln(w)
}

// found is how many of the routes listed have as many flights as the last of the
// exact top: of routes that are equal there, each is as right as the other.
func (e *estimates) found(want *exact) (n int) {
	exactly := map[string]int64{}
	for key, flights := range want.counts {
		if route, ok := strings.CutPrefix(key, routePrefix); ok {
			exactly[route] = flights
		}
	}
	best := largest(exactly, len(e.top))
	for _, route := range e.top {
		if exactly[route] >= exactly[best[len(best)-1]] {
			n++
		}
	}
	return n
}

// check compares the estimates with what the sketches promise: a distinct count
// within four standard errors of 1.04/√16384, no flights too many in the Top-K and
// no sum of minutes too low.
func (e *estimates) check(want *exact) error {
	const most = 4 * 1.04 / 128
	for _, q := range distinctQuestions(want) {
		if got, ok := e.distinct[q.key]; ok && math.Abs(float64(got-q.exact)) > most*float64(q.exact) {
			return fmt.Errorf("distinct %s: %d, exactly %d", q.name, got, q.exact)
		}
	}
	for route, flights := range e.flights {
		if exactly := want.counts[routePrefix+route]; flights > exactly {
			return fmt.Errorf("flights on %s: %d, exactly %d", route, flights, exactly)
		}
	}
	for route, late := range e.late {
		if late < want.late[route] {
			return fmt.Errorf("minutes late on %s: %d, exactly %d", route, late, want.late[route])
		}
	}
	return nil
}

// relativeError writes how far an estimate is off.
func relativeError(got, exact int64) string {
	switch {
	case got == exact:
		return "0"
	case exact == 0:
		return "–"
	}
	return fmt.Sprintf("%+.2f %%", 100*float64(got-exact)/float64(exact))
}
