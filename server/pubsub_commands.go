package server

import (
	"maps"
	"slices"

	"quipu/acl"
	"quipu/commands"
	"quipu/protocol"
)

// pubsubHandlers are the commands of pub/sub. A subscribing command has one reply for each channel, and the client gets them even
// where CLIENT REPLY is off, as messages.
func pubsubHandlers() []handler {
	const group = "pubsub"
	flags := commands.FlagPubSub | commands.FlagNoScript | commands.FlagLoading | commands.FlagStale
	publish := commands.FlagPubSub | commands.FlagLoading | commands.FlagStale | commands.FlagFast
	shard := func(last int) []commands.KeySpec {
		return []commands.KeySpec{{First: 1, Last: last, Step: 1, Flags: commands.KeyNotKey}}
	}
	entry := func(name string, arity int, flags commands.Flag, since, complexity, syntax, summary string) commands.Command {
		return commands.Command{Name: name, Arity: arity, Flags: flags, Since: since, Group: group, Complexity: complexity, Syntax: syntax, Summary: summary}
	}
	each := "O(N) for N channels"
	keyed := func(c commands.Command, last int) commands.Command {
		c.Keys = shard(last)
		return c
	}
	listen := func(c commands.Command, kind topicKind, on bool) handler {
		return handler{entry: c,
			flow: func(s *Session, args [][]byte) bool { return s.listenFlow(kind, on, args) },
			run:  func(s *Session, args [][]byte, w *protocol.Writer) { s.listenInExec(kind, on, args, w) }}
	}
	return []handler{
		listen(entry("subscribe", -2, flags, "2.0.0", each, "channel:string [channel:string ...]", "Listen to channels"), onChannel, true),
		listen(entry("unsubscribe", -1, flags, "2.0.0", each, "[channel:string [channel:string ...]]", "Listen to channels no more"), onChannel, false),
		listen(entry("psubscribe", -2, flags, "2.0.0", "O(N) for N patterns", "<pattern=pattern:pattern> ...", "Listen to all channels whose names match patterns"), onPattern, true),
		listen(entry("punsubscribe", -1, flags, "2.0.0", "O(N) for N patterns", "[pattern:pattern [pattern:pattern ...]]", "Listen to patterns no more"), onPattern, false),
		listen(keyed(entry("ssubscribe", -2, flags, "7.0.0", each, "shardchannel:string [shardchannel:string ...]", "Listen to channels of a shard"), -1), onShard, true),
		listen(keyed(entry("sunsubscribe", -1, flags, "7.0.0", each, "[shardchannel:string [shardchannel:string ...]]", "Listen to channels of a shard no more"), -1), onShard, false),
		{entry: entry("publish", 3, publish, "2.0.0", "O(N+M) for N subscribers of the channel and M patterns of all clients", "channel:string message:string", "Send a message to those who listen to a channel"),
			flow: publishFlow(onChannel), run: publishInExec(onChannel), ownWritesFirst: true},
		{entry: keyed(entry("spublish", 3, publish, "7.0.0", "O(N) for N subscribers of the channel", "shardchannel:string message:string", "Send a message to those who listen to a channel of a shard"), 1),
			flow: publishFlow(onShard), run: publishInExec(onShard), ownWritesFirst: true},
		pubsubContainer(),
	}
}

// pubsubContainer is PUBSUB with its subcommands.
func pubsubContainer() handler {
	const group = "pubsub"
	flags := commands.FlagPubSub | commands.FlagLoading | commands.FlagStale
	entry := func(name string, arity int, since, complexity, syntax, summary string) commands.Command {
		return commands.Command{Name: name, Arity: arity, Flags: flags, Since: since, Group: group, Complexity: complexity, Syntax: syntax, Summary: summary}
	}
	subs := []handler{
		{entry: entry("channels", -2, "2.8.0", "O(N) for N channels that somebody listens to", "[pattern:pattern]", "Channels that somebody listens to"), run: activeChannels(onChannel), slow: true},
		{entry: entry("numsub", -2, "2.8.0", "O(N) for N channels given", "[channel:string [channel:string ...]]", "How many clients listen to channels, not counting patterns"), run: listenersOf(onChannel)},
		{entry: entry("numpat", 2, "2.8.0", "O(1)", "", "How many different patterns clients listen to"), run: func(s *Session, _ [][]byte, w *protocol.Writer) {
			w.Int(s.srv.hub.counts[onPattern].Load())
		}},
		{entry: entry("shardchannels", -2, "7.0.0", "O(N) for N channels of shards that somebody listens to", "[pattern:pattern]", "Channels of shards that somebody listens to"), run: activeChannels(onShard), slow: true},
		{entry: entry("shardnumsub", -2, "7.0.0", "O(N) for N channels given", "[shardchannel:string [shardchannel:string ...]]", "How many clients listen to channels of shards"), run: listenersOf(onShard)},
		{entry: commands.Command{Name: "help", Arity: 2, Flags: commands.FlagLoading | commands.FlagStale, Since: "6.2.0", Group: group, Complexity: "O(1)", Summary: "List the subcommands"}},
	}
	subs[len(subs)-1].entry.Read = commands.Help
	return handler{
		entry: commands.Command{Name: "pubsub", Arity: -2, Since: "2.8.0", Group: group, Complexity: "That of the subcommand", Summary: "Who listens to what"},
		run:   missingSubcommand, subs: subs,
	}
}

func activeChannels(kind topicKind) func(s *Session, args [][]byte, w *protocol.Writer) {
	return func(s *Session, args [][]byte, w *protocol.Writer) {
		var pattern []byte
		switch len(args) {
		case 2:
		case 3:
			pattern = args[2]
		default:
			w.Error(protocol.ErrSubcommandSyntax(args[1], "pubsub"))
			return
		}
		names := s.srv.hub.active(kind, pattern)
		w.Array(len(names))
		for _, name := range names {
			w.BulkString(name)
		}
	}
}

func listenersOf(kind topicKind) func(s *Session, args [][]byte, w *protocol.Writer) {
	return func(s *Session, args [][]byte, w *protocol.Writer) {
		w.Array(2 * (len(args) - 2))
		for _, channel := range args[2:] {
			w.Bulk(channel)
			w.Int(int64(s.srv.hub.listeners(kind, channel)))
		}
	}
}

// onlyListens reports whether the session takes no other commands: it listens to channels, and its client could not tell messages from
// replies.
func (s *Session) onlyListens() bool { return s.subs != nil && s.out.V == 2 }

// whileListening reports whether a command is one of those that such a session takes.
func whileListening(cmd *commands.Command) bool {
	switch cmd.FullName() {
	case "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe", "ping", "quit", "reset":
		return true
	}
	return false
}

// listenWords are the first words of confirmations: of the end of a subscription, and of its beginning.
var listenWords = [topicKinds][2]string{
	onChannel: {"unsubscribe", "subscribe"}, onPattern: {"punsubscribe", "psubscribe"}, onShard: {"sunsubscribe", "ssubscribe"},
}

// listen subscribes or unsubscribes, and calls confirm for each channel; name is nil where there was nothing to end. It returns
// an error text when nothing was done.
func (s *Session) listen(kind topicKind, on bool, args [][]byte, confirm func(word string, name []byte)) (refusal string) {
	word := listenWords[kind][boolInt(on)]
	if on {
		if text := s.refuseTopics(kind, args[1:]); text != "" {
			return text
		}
		for _, name := range args[1:] {
			if !s.subscribe(kind, string(name)) {
				return protocol.ErrPatterns(maxPatterns, maxHeavy)
			}
			confirm(word, name)
		}
		return ""
	}
	if len(args) == 1 {
		names := slices.Collect(maps.Keys(s.namesOf(kind)))
		for _, name := range names {
			s.unsubscribe(kind, name)
			confirm(word, []byte(name))
		}
		if len(names) == 0 {
			confirm(word, nil)
		}
		return ""
	}
	for _, name := range args[1:] {
		s.unsubscribe(kind, string(name))
		confirm(word, name)
	}
	return ""
}

// refuseTopics is an error text for subscriptions that would be too many or too long, or "".
func (s *Session) refuseTopics(kind topicKind, names [][]byte) string {
	limit := s.srv.config().MaxKey + topicPrefix
	if kind == onPattern {
		limit = maxPatternBytes
	}
	have, heavy := 0, 0
	if s.subs != nil {
		have, heavy = s.subs.total(), s.subs.heavy
	}
	for _, name := range names {
		if len(name) > limit {
			return protocol.ErrChannelTooLong(limit)
		}
		if kind == onPattern {
			heavy += heavyBytes(string(name))
		}
	}
	switch {
	case kind == onPattern && (len(s.namesOf(kind))+len(names) > maxClientPatterns || heavy > maxClientHeavy):
		return protocol.ErrClientPatterns(maxClientPatterns, maxClientHeavy)
	case have+len(names) > maxSubscriptions:
		return protocol.ErrSubscriptions(maxSubscriptions)
	}
	return ""
}

// confirmation writes what a client is told of a subscription that has begun or ended.
func (s *Session) confirmation(w *protocol.Writer, kind topicKind, word string, name []byte) {
	w.BulkString(word)
	if name == nil {
		w.Null()
	} else {
		w.Bulk(name)
	}
	w.Int(int64(s.counted(kind)))
}

// listenFlow is a subscribing command outside of a transaction. Messages that came before a subscription ends go before its
// confirmation: clients do not expect any behind it.
func (s *Session) listenFlow(kind topicKind, on bool, args [][]byte) bool {
	text := s.listen(kind, on, args, func(word string, name []byte) {
		if !on {
			s.takePushes(true)
		}
		w := protocol.Writer{V: s.out.V}
		w.Push(3)
		s.confirmation(&w, kind, word, name)
		s.place(&message{data: w.B})
	})
	if text != "" {
		s.replyError(text)
	}
	return true
}

// listenInExec is a subscribing command in a transaction. Its element of EXEC's reply is the first confirmation, an array in
// both versions of the protocol; the others come behind that reply. (In Redis all of them are inside, and the array has more elements
// than it says, or in RESP3 fewer, as pushes do not count.)
func (s *Session) listenInExec(kind topicKind, on bool, args [][]byte, w *protocol.Writer) {
	if s.watcher != nil && s.subs != nil && s.subs == s.subsBefore { // EXEC may turn out to abort, see connectionState
		s.subs = s.subs.clone()
	}
	first := true
	text := s.listen(kind, on, args, func(word string, name []byte) {
		if first {
			w.Array(3)
			s.confirmation(w, kind, word, name)
			first = false
			return
		}
		m := s.srv.newMessage(3, func(late *protocol.Writer) {
			late.V = s.out.V // of the null
			s.confirmation(late, kind, word, name)
		})
		s.push(m)
		m.release()
	})
	if text != "" && first {
		w.Error(text)
	}
}

// publication is a message that a transaction sends when it has been executed.
type publication struct {
	kind             topicKind
	channel, payload []byte
}

// refuseChannel is an error text for a channel that nobody can listen to, or "".
func (s *Session) refuseChannel(channel []byte) string {
	if limit := s.srv.config().MaxKey + topicPrefix; len(channel) > limit {
		return protocol.ErrChannelTooLong(limit)
	}
	return ""
}

// publishFlow is PUBLISH and SPUBLISH outside of a transaction. The client's earlier writes are applied (ownWritesFirst): whoever gets the
// message finds them. The reply counts the subscribers of this node.
func publishFlow(kind topicKind) func(s *Session, args [][]byte) bool {
	return func(s *Session, args [][]byte) bool {
		if text := s.refuseChannel(args[1]); text != "" {
			s.replyError(text)
			return true
		}
		if s.srv.hub.takesLong(kind, args[1]) {
			args = copyArgs(args)
			s.replyFromTask(func(w *protocol.Writer) { w.Int(int64(s.srv.publishAll(kind, args[1], args[2]))) })
			return true
		}
		n := s.srv.publishAll(kind, args[1], args[2])
		if s.subs != nil {
			s.takePushes(true) // the message before the reply, as in Redis
		}
		s.reply(func(w *protocol.Writer) { w.Int(int64(n)) })
		s.srv.evictAgain()
		return true
	}
}

// publishInExec is PUBLISH and SPUBLISH in a transaction: the message is sent when that has been executed (publishLate).
func publishInExec(kind topicKind) func(s *Session, args [][]byte, w *protocol.Writer) {
	return func(s *Session, args [][]byte, w *protocol.Writer) {
		if text := s.refuseChannel(args[1]); text != "" {
			w.Error(text)
			return
		}
		copied := copyArgs(args[1:])
		s.publications = append(s.publications, publication{kind, copied[0], copied[1]})
		w.Int(int64(s.srv.hub.receivers(kind, args[1], nil)))
	}
}

// publishLate sends what a transaction has published, or drops it if the transaction was not executed.
func (s *Session) publishLate(executed bool) {
	list := s.publications
	s.publications = nil
	if !executed || len(list) == 0 {
		return
	}
	send := func() {
		for i := range list {
			s.srv.publishAll(list[i].kind, list[i].channel, list[i].payload)
		}
		s.srv.evictAgain()
	}
	if slices.ContainsFunc(list, func(p publication) bool { return s.srv.hub.takesLong(p.kind, p.channel) }) {
		s.srv.tasks.run(send)
		return
	}
	send()
}

// addChannels adds to a call the channels that a command uses. Whoever may listen to one may stop, so those that a command stops listening
// to are not among them.
func addChannels(call *acl.Call, cmd *commands.Command, args [][]byte) {
	if cmd.Parent != nil || len(args) < 2 {
		return
	}
	switch cmd.Name {
	case "publish", "spublish":
		call.Channel = append(call.Channel, acl.Channel{Name: args[1]})
	case "subscribe", "ssubscribe", "psubscribe":
		for _, name := range args[1:] {
			call.Channel = append(call.Channel, acl.Channel{Name: name, Pattern: cmd.Name == "psubscribe"})
		}
	}
}
