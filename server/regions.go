package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"quipu/commands"
	"quipu/engine"
	"quipu/engine/shared"
	"quipu/internal/regionlink"
	"quipu/protocol"
	"quipu/replica"
)

// Regions are clusters that count the same keys (commands/region.go, engine/regions.go). Here a cluster becomes one, by a write of the node
// that leads, and that node tells the others what is counted here (internal/regionlink). What others count comes as commands of clients.

// regionSource is what links tell.
type regionSource struct {
	srv *Server
	r   *replica.Replica
}

// runRegions makes the cluster a region, if the settings say so, and keeps the links until ctx ends.
func (srv *Server) runRegions(ctx context.Context) {
	cfg := srv.config().Regions
	if cfg.Name == "" {
		return
	}
	src := regionSource{srv, srv.replicas[0]}
	for _, p := range cfg.Peers {
		link := regionlink.Config{Region: p.Name, Addresses: p.Addresses, Interval: cfg.Interval, Log: srv.log, TLS: srv.regionTLS()}
		link.User, link.Password = regionAuth(cfg.Auth)
		srv.links = append(srv.links, regionlink.New(link, src))
	}
	close(srv.linked)
	if !src.open(ctx, cfg.Name, cfg.Keys) {
		return
	}
	for _, l := range srv.links {
		srv.serving.Go(func() { l.Run(ctx) })
	}
}

func regionAuth(words string) (user, password string) {
	switch list := strings.Fields(words); len(list) {
	case 0:
		return "", ""
	case 1:
		return "", list[0]
	default:
		return list[0], list[1]
	}
}

// regionTLS is nil if links are not TLS.
func (srv *Server) regionTLS() *tls.Config {
	c := srv.tls.Load()
	if !srv.config().Regions.TLS || c == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: c.Certificates, RootCAs: c.ClientCAs}
}

const regionLook = 50 * time.Millisecond // whether the cluster is a region by now

// open makes the cluster a region: the node that leads does, and the others wait for it. It returns false when ctx ends.
func (s regionSource) open(ctx context.Context, name string, keys []string) bool {
	told, n := "", 0
	for ctx.Err() == nil {
		if setup, ok := s.setup(); ok {
			s.compare(setup, name, keys)
			return true
		}
		if leads := s.srv.isReady() && s.r.Group.Term() != 0; leads && s.r.Group.Level() < commands.RegionLevel {
			if n++; n == int(levelLimit/regionLook) { // a new cluster is raised by itself
				s.srv.log.Warn("the cluster is no region yet: all nodes have to know what regions do, see quipu cluster upgrade", "level", s.r.Group.Level(), "wanted", commands.RegionLevel)
			}
		} else if leads {
			done := make(chan string, 1)
			cmd, args := s.srv.table.RegionOpen(name, s.data(), keys)
			s.r.Write(cmd, args, func(reply []byte) { done <- strings.TrimSpace(string(reply)) })
			select {
			case reply := <-done:
				if strings.HasPrefix(reply, "-") && reply != told {
					s.srv.log.Error("this cluster cannot be a region", "region", name, "error", reply[1:])
					told = reply
				}
			case <-ctx.Done():
				return false
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(regionLook):
		}
	}
	return false
}

// cluster tells this cluster from others that were restored of the same backup, or that this one was restored of (engine.RegionOrigin).
func (s regionSource) cluster() uint64 {
	return max(regionFingerprint("cluster", s.srv.incarnation), 1)
}

// data tells the data of this cluster from those of others (engine.RegionOrigin): it is made of the seed of the key hash, which all nodes have,
// and which is in backups and copies and in what is restored from them. A hash of it, as other regions are not to know the seed itself.
func (s regionSource) data() uint64 {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	return regionFingerprint("data", s.r.Keyspace.Seed())
}

func regionFingerprint(of string, what any) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "quipu region %s %v", of, what))
	return binary.LittleEndian.Uint64(sum[:])
}

// compare says what of the settings is not in force, as it was fixed when the region began.
func (s regionSource) compare(setup engine.RegionSetup, name string, keys []string) {
	if me := setup.Origins[setup.Me].Name; me != name {
		s.srv.log.Error("the data are of another region than the setting region says", "data", me, "setting", name)
	}
	if strings.Join(setup.Keys, " ") != strings.Join(keys, " ") {
		s.srv.log.Error("region-keys was fixed when the region began", "keys", strings.Join(setup.Keys, " "), "setting", strings.Join(keys, " "))
	}
}

// setup is what the state says; false: the cluster is no region yet.
func (s regionSource) setup() (engine.RegionSetup, bool) {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	return s.r.Keyspace.Regions()
}

// Hello implements regionlink.Source.
func (s regionSource) Hello() (args []any, state string, ok bool) {
	setup, ok := s.setup()
	if !ok || s.r.Group.Term() == 0 {
		return nil, "", false
	}
	me := setup.Origins[setup.Me]
	if me.Name != s.srv.config().Regions.Name {
		return nil, "", false
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	args = append(args, "REGION", "HELLO", commands.RegionVersion, me.Name, number(me.Incarnation), number(me.Data), number(s.cluster()), len(setup.Keys))
	for _, k := range setup.Keys {
		args = append(args, k)
	}
	for _, o := range setup.Origins {
		args = append(args, o.Name, number(o.Incarnation), boolInt(o.Lost), number(o.Data))
	}
	mark, random := s.Mark()
	return args, fmt.Sprint(args, mark, random), true
}

// Table implements regionlink.Source.
func (s regionSource) Table() (list []any) {
	setup, _ := s.setup()
	for _, o := range setup.Origins {
		list = append(list, o.Name, strconv.FormatUint(o.Incarnation, 10))
	}
	return list
}

// Frame implements regionlink.Source.
func (s regionSource) Frame(part int, from uint64) (frame []byte, whole bool, to uint64) {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	if _, ok := s.r.Keyspace.Regions(); !ok {
		return nil, false, from
	}
	frame, to = s.r.Keyspace.Frame(nil, part, from, s.r.Stamp())
	if len(frame) > 0 {
		f, err := shared.OpenFrame(frame)
		if err != nil {
			panic("BUG: a frame of this node: " + err.Error())
		}
		whole = f.Kind != shared.FrameDelta
	}
	return frame, whole, to
}

// Lost implements regionlink.Source.
func (s regionSource) Lost() (list []int) {
	setup, _ := s.setup()
	for i, o := range setup.Origins {
		if o.Lost {
			list = append(list, i)
		}
	}
	return list
}

// LostFrame implements regionlink.Source.
func (s regionSource) LostFrame(part, number int) []byte {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	return s.r.Keyspace.LostFrame(nil, part, shared.Origin(number), s.r.Stamp())
}

// Sketches implements regionlink.Source.
func (s regionSource) Sketches(part int, from uint64, rest *regionlink.Rest) []byte {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	if _, ok := s.r.Keyspace.Regions(); !ok {
		return nil
	}
	return s.r.Keyspace.SketchFrame(nil, part, from, (*engine.SketchRest)(rest), s.r.Stamp())
}

// LostSketches implements regionlink.Source.
func (s regionSource) LostSketches(part, number int, rest *regionlink.Rest) []byte {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	return s.r.Keyspace.LostSketches(nil, part, shared.Origin(number), (*engine.SketchRest)(rest), s.r.Stamp())
}

// Mark implements regionlink.Source; 0: there is none.
func (s regionSource) Mark() (number, random uint64) {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	if _, ok := s.r.Keyspace.Regions(); !ok {
		return 0, 0
	}
	m := s.r.Keyspace.RegionMark()
	return m.Number, m.Random
}

// Judge implements regionlink.Source.
func (s regionSource) Judge(number, random uint64, has *[engine.Parts]uint64) error {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	if _, ok := s.r.Keyspace.Regions(); !ok {
		return nil // HELLO is said anew
	}
	return s.r.Keyspace.JudgeMark(engine.RegionMark{Number: number, Random: random}, has)
}

// BeginDigest implements regionlink.Source.
func (s regionSource) BeginDigest(part int) any {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	return s.r.Keyspace.BeginDigest(part)
}

// EndDigest implements regionlink.Source.
func (s regionSource) EndDigest(begun any) []byte {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	return begun.(*engine.RegionDigest).End()
}

// FullFrame implements regionlink.Source.
func (s regionSource) FullFrame(part int) []byte {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	if _, ok := s.r.Keyspace.Regions(); !ok {
		return nil
	}
	return s.r.Keyspace.FullFrame(part, s.r.Stamp())
}

// Now implements regionlink.Source.
func (s regionSource) Now() int64 { return s.r.Clock.Now() }

// Positions implements regionlink.Source; nil: the cluster is no region.
func (s regionSource) Positions() *regionlink.Positions {
	_, at := s.state()
	return at
}

// state is what the state says, and how far this region is, by part; nil: the cluster is no region.
func (s regionSource) state() (engine.RegionSetup, *regionlink.Positions) {
	s.srv.reading.RLock()
	defer s.srv.reading.RUnlock()
	setup, ok := s.r.Keyspace.Regions()
	if !ok {
		return setup, nil
	}
	at := &regionlink.Positions{}
	at.Counters, at.Sketches = s.r.Keyspace.View(0, 0, false).Incorporated(setup.Me)
	return setup, at
}

func regionHandler() handler {
	entry := func(name string, arity int, flags commands.Flag, complexity, syntax, summary string) commands.Command {
		return commands.Command{Name: name, Own: true, Arity: arity, Flags: flags, Since: "0.4.0", Group: "server", Complexity: complexity, Syntax: syntax, Summary: summary}
	}
	return handler{
		entry: commands.Command{Name: "region"},
		subs: []handler{
			{entry: entry("check", -2, flagsAdmin|commands.FlagBlocking|commands.FlagNoMulti, "O(N) for N shared keys", "[milliseconds:integer]", "Compare what this region has counted with what the others have of it, and repair what differs"), flow: regionCheck, ownWritesFirst: true},
			{entry: entry("lag", 2, flagsAdmin, "O(N) for N keys that other regions have not confirmed", "", "How far each other region is behind"), run: regionLag, slow: true, ownWritesFirst: true},
			{entry: entry("status", 2, flagsAdmin, "O(N) for N other regions", "", "The regions, the links to them, and how far each is behind"), run: regionStatus, ownWritesFirst: true},
			{entry: entry("wait", 4, commands.FlagNoScript|commands.FlagBlocking|commands.FlagNoMulti, "O(1)", "regions:integer timeout:integer", "Wait until other regions have what was counted here so far"), flow: regionWait, ownWritesFirst: true},
		},
	}
}

// linkBehind is how many changes a region has not confirmed, -1: it has not said so far how far it is.
func linkBehind(st *regionlink.Status, at *regionlink.Positions) (n int64) {
	if !st.Known {
		return -1
	}
	behind := func(pos, acked uint64) int64 { return int64(max(pos, acked) - acked) }
	for part := range engine.Parts {
		n += behind(at.Counters[part], st.Acked.Counters[part]) + behind(at.Sketches[part], st.Acked.Sketches[part])
	}
	return n
}

func regionStatus(s *Session, _ [][]byte, w *protocol.Writer) {
	src := regionSource{s.srv, s.srv.replicas[0]}
	setup, at := src.state()
	if at == nil {
		w.Error(protocol.ErrNoRegion)
		return
	}
	me := setup.Origins[setup.Me]
	w.Map(4)
	w.BulkString("region")
	w.BulkString(me.Name)
	w.BulkString("incarnation")
	w.BulkString(strconv.FormatUint(me.Incarnation, 10))
	w.BulkString("incarnations")
	w.Array(len(setup.Origins))
	for _, o := range setup.Origins {
		text := o.Name + " " + strconv.FormatUint(o.Incarnation, 10)
		if o.Lost {
			text += " lost"
		}
		if o.Forgotten {
			text += " forgotten"
		}
		w.BulkString(text)
	}
	w.BulkString("links")
	links := s.srv.regionLinks()
	w.Array(len(links))
	for _, l := range links {
		st := l.Status()
		writeLink(w, &st, linkBehind(&st, at))
	}
}

// regionLinks are the links, of which there are none before the node has begun to serve.
func (srv *Server) regionLinks() []*regionlink.Link {
	select {
	case <-srv.linked:
		return srv.links
	default:
		return nil
	}
}

func writeLink(w *protocol.Writer, st *regionlink.Status, behind int64) {
	age := int64(-1)
	if !st.Heard.IsZero() {
		age = time.Since(st.Heard).Milliseconds()
	}
	w.Map(12)
	text := func(name, value string) {
		w.BulkString(name)
		w.BulkString(value)
	}
	number := func(name string, n int64) {
		w.BulkString(name)
		w.Int(n)
	}
	text("region", st.Region)
	text("address", st.Address)
	text("state", st.State)
	text("error", st.Error)
	number("since-ms", time.Since(st.Since).Milliseconds())
	number("heard-ms", age)
	number("rtt-us", st.RTT.Microseconds())
	number("behind", behind)
	number("frames", st.Frames)
	number("whole-parts", st.Whole)
	number("gaps", st.Gaps)
	number("bytes", st.Bytes)
}

// regionWait replies with how many regions have what was counted here up to now, when that is enough or the time is over.
func regionWait(s *Session, args [][]byte) bool {
	wanted, timeout, text := waitArguments(args)
	if text != "" {
		s.replyError(text)
		return true
	}
	if s.barrier() {
		return false
	}
	src := regionSource{s.srv, s.srv.replicas[0]}
	at := src.Positions()
	if at == nil {
		s.replyError(protocol.ErrNoRegion)
		return true
	}
	count := func() (n int64) {
		for _, l := range s.srv.regionLinks() {
			if st := l.Status(); linkBehind(&st, at) == 0 {
				n++
			}
		}
		return n
	}
	b := &blockedWait{reply: s.replyLater(waitBlocked)}
	b.timeout = func(w *protocol.Writer) { w.Int(count()) }
	if timeout == 0 {
		timeout = pauseMax
	}
	s.block(b, timeout, func() { s.unblock(b, b.timeout) })
	var look func()
	look = func() {
		switch n := count(); {
		case s.blocked.Load() != b:
		case n >= wanted:
			s.unblock(b, func(w *protocol.Writer) { w.Int(n) })
		default:
			time.AfterFunc(regionWaitLook, look)
		}
	}
	look()
	return true
}

const regionWaitLook = 5 * time.Millisecond
