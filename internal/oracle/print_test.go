package oracle

import (
	"fmt"
	"strings"

	"quipu/internal/scripts"
)

var connNames = [connections]string{"", "b", "c"}

func quoteAll(args []string) []string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = arg
		if q := scripts.Quote(arg); arg == "" || len(q) != len(arg)+2 || strings.ContainsAny(arg, " '<") {
			quoted[i] = q
		}
	}
	return quoted
}

// printLog shows what was said in the format of package scripts. Replies that are wrong are shown twice: as Redis gave
// them and, marked by q, as Quipu did.
func printLog(log []*exchange) string {
	var b strings.Builder
	for i := 0; i < len(log); {
		end := i + 1
		for end < len(log) && log[end].step == log[i].step {
			end++
		}
		printStep(&b, log[i:end])
		i = end
	}
	return b.String()
}

func printStep(b *strings.Builder, list []*exchange) {
	single := len(list) == 1 && list[0].raw == "" && list[0].replies[redis] != "" && list[0].replies[redis] != replyEOF
	if list[0].split {
		b.WriteString("# in several writes\n")
	}
	for _, x := range list {
		conn := connNames[x.conn]
		switch {
		case x.moved != 0:
			fmt.Fprintf(b, "@sleep %dms\n", x.moved)
		case x.note == "@close":
			fmt.Fprintf(b, "@close %s\n", conn)
		case x.note != "":
			fmt.Fprintf(b, "%s\n", x.note)
			printReplies(b, x)
		case x.raw != "":
			fmt.Fprintf(b, "%s! %s\n", conn, scripts.Quote(x.raw))
		case single:
			fmt.Fprintf(b, "%s> %s\n", conn, strings.Join(quoteAll(x.args), " "))
			printReplies(b, x)
		default:
			fmt.Fprintf(b, "%s>> %s\n", conn, strings.Join(quoteAll(x.args), " "))
		}
	}
	for _, x := range list {
		if !single && x.note == "" && x.moved == 0 && (x.replies[redis] != "" || x.replies[quipu] != "") {
			fmt.Fprintf(b, "%s<\n", connNames[x.conn])
			printReplies(b, x)
		}
	}
}

func printReplies(b *strings.Builder, x *exchange) {
	for side, label := range [2]string{"    ", "q   "} {
		if side == quipu && !x.differs {
			continue
		}
		text := x.replies[side]
		if text != replyEOF && text != replyTimeOut && text != "" {
			text = scripts.Render([]byte(text))
		}
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) > 2000 {
				line = line[:2000] + "…"
			}
			b.WriteString(label + line + "\n")
			label = "    "
		}
	}
}
