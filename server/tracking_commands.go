package server

import (
	"slices"
	"strings"

	"quipu/commands"
	"quipu/protocol"
)

// trackingHandlers are the subcommands of CLIENT that are about tracking; entry makes theirs.
func trackingHandlers(entry func(name string, arity int, flags commands.Flag, since, complexity, syntax, summary string) commands.Command) []handler {
	return []handler{
		{entry: entry("caching", 3, flagsControl, "6.0.0", "O(1)", "<mode=YES|NO>", "Choose whether the keys of the next command, or transaction, are tracked"), run: clientCaching},
		{entry: entry("getredir", 2, flagsControl, "6.0.0", "O(1)", "", "Client that gets this connection's tracking messages"), run: clientGetRedir},
		{entry: entry("tracking", -3, flagsControl, "6.0.0", "O(1), and O(N) for N prefixes that clients have asked for",
			"<status=ON|OFF> [REDIRECT client-id:integer] [PREFIX prefix:string ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
			"Be told when keys change that this connection has read"), run: clientTracking, ownWritesFirst: true},
		{entry: entry("trackinginfo", 2, flagsControl, "6.2.0", "O(1)", "", "What is tracked for this connection"), run: clientTrackingInfo},
	}
}

// clientCaching is for the next command alone, or the next transaction (Session.afterCommand).
func clientCaching(s *Session, args [][]byte, w *protocol.Writer) {
	m := s.tracks()
	if m == nil {
		w.Error(protocol.ErrNotTracking)
		return
	}
	switch commands.LowerWord(args[2]) {
	case "yes":
		if !m.optin {
			w.Error(protocol.ErrCachingYes)
			return
		}
	case "no":
		if !m.optout {
			w.Error(protocol.ErrCachingNo)
			return
		}
	default:
		w.Error(protocol.ErrSyntax)
		return
	}
	s.caching = true
	w.OK()
}

func clientGetRedir(s *Session, _ [][]byte, w *protocol.Writer) { w.Int(s.redirects()) }

// redirects is the client that gets the session's tracking messages: 0 is itself, -1 nobody.
func (s *Session) redirects() int64 {
	if m := s.tracks(); m != nil {
		return m.redirect
	}
	return -1
}

func clientTracking(s *Session, args [][]byte, w *protocol.Writer) {
	m, refusal := s.parseTracking(args)
	status := commands.LowerWord(args[2])
	if refusal == "" && status == "on" {
		refusal = s.refuseTracking(m)
	}
	switch {
	case refusal != "":
		w.Error(refusal)
	case status == "on":
		s.useTracking(m)
		w.OK()
	case status == "off":
		s.useTracking(nil)
		w.OK()
	default:
		w.Error(protocol.ErrSyntax)
	}
}

// parseTracking reads the options of CLIENT TRACKING, or returns an error text.
func (s *Session) parseTracking(args [][]byte) (m *trackMode, refusal string) {
	m = &trackMode{}
	for i := 3; i < len(args); i++ {
		switch option := commands.LowerWord(args[i]); {
		case option == "bcast":
			m.bcast = true
		case option == "optin":
			m.optin = true
		case option == "optout":
			m.optout = true
		case option == "noloop":
			m.noloop = true
		case option == "prefix" && i+1 < len(args):
			i++
			m.prefixes = append(m.prefixes, string(args[i]))
		case option == "redirect" && i+1 < len(args):
			i++
			if m.redirect != 0 {
				return nil, protocol.ErrRedirectTwice
			}
			id, ok := protocol.ParseInt(args[i])
			if !ok {
				return nil, protocol.ErrNotInteger
			}
			if m.redirect, m.target = id, s.srv.clients.find(id); m.target == nil {
				return nil, protocol.ErrRedirectClient
			}
		default:
			return nil, protocol.ErrSyntax
		}
	}
	return m, ""
}

// refuseTracking is an error text for options that do not fit each other, or those that the client has, or "". It adds the prefixes that
// the client has already.
func (s *Session) refuseTracking(m *trackMode) string {
	was := s.tracks()
	switch {
	case !m.bcast && len(m.prefixes) > 0:
		return protocol.ErrPrefixBroadcast
	case was != nil && was.bcast != m.bcast:
		return protocol.ErrSwitchBroadcast
	case m.bcast && (m.optin || m.optout):
		return protocol.ErrBroadcastOpt
	case m.optin && m.optout:
		return protocol.ErrOptInOut
	case was != nil && (m.optin && was.optout || m.optout && was.optin):
		return protocol.ErrSwitchOpt
	case !m.bcast:
		return ""
	}
	var have []string
	if was != nil {
		have = was.prefixes
	}
	if text := s.refusePrefixes(m.prefixes, have); text != "" {
		return text
	}
	if len(m.prefixes) == 0 {
		m.prefixes = []string{""}
	}
	m.prefixes = append(m.prefixes, have...)
	slices.Sort(m.prefixes)
	m.prefixes = slices.Compact(m.prefixes)
	return ""
}

// refusePrefixes is an error text for prefixes that overlap, or are too many or too long, or "". have is what the client has, sorted.
func (s *Session) refusePrefixes(asked, have []string) string {
	if len(asked)+len(have) > maxClientPrefixes {
		return protocol.ErrClientPrefixes(maxClientPrefixes)
	}
	if s.srv.tracking.prefixes.refuses(len(asked) + 1) {
		return protocol.ErrPrefixes(maxPrefixes)
	}
	overlap := func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
	limit := s.srv.config().MaxKey
	for i, text := range asked {
		if len(text) > limit {
			return protocol.ErrKeyTooLong(limit)
		}
		for _, other := range have {
			if overlap(text, other) {
				return protocol.ErrPrefixOverlaps(text, "an existing", other)
			}
		}
		for _, other := range asked[i+1:] {
			if overlap(text, other) {
				return protocol.ErrPrefixOverlaps(text, "another provided", other)
			}
		}
	}
	return ""
}

func clientTrackingInfo(s *Session, _ [][]byte, w *protocol.Writer) {
	m := s.tracks()
	flags := []string{"off"}
	var prefixes []string
	if m != nil {
		flags[0] = "on"
		prefixes = m.prefixes
		for _, f := range []struct {
			name string
			on   bool
		}{
			{"bcast", m.bcast}, {"optin", m.optin}, {"caching-yes", m.optin && s.caching}, {"optout", m.optout}, {"caching-no", m.optout && s.caching},
			{"noloop", m.noloop}, {"broken_redirect", m.broken.Load()},
		} {
			if f.on {
				flags = append(flags, f.name)
			}
		}
	}
	w.Map(3)
	w.BulkString("flags")
	w.Set(len(flags))
	for _, name := range flags {
		w.BulkString(name)
	}
	w.BulkString("redirect")
	w.Int(s.redirects())
	w.BulkString("prefixes")
	w.Array(len(prefixes))
	for _, text := range prefixes {
		w.BulkString(text)
	}
}
