package protocol

import (
	"bytes"
	"strings"
	"testing"
)

func TestErrUnknownCommand(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	const start = "ERR unknown command "
	cases := []struct {
		args []string // the name first
		want string
	}{
		{[]string{"foo"}, "'foo', with args beginning with: "},
		{[]string{"foo", "a", "b c", ""}, "'foo', with args beginning with: 'a' 'b c' '' "},
		{[]string{""}, "'', with args beginning with: "},
		{[]string{x(128)}, "'" + x(128) + "', with args beginning with: "},
		{[]string{x(129)}, "'" + x(128) + "', with args beginning with: "},
		{[]string{"foo", x(128), "b"}, "'foo', with args beginning with: '" + x(128) + "' "},
		{[]string{"foo", x(200), "b"}, "'foo', with args beginning with: '" + x(128) + "' "},
		{[]string{"foo", x(100), x(100), "b"}, "'foo', with args beginning with: '" + x(100) + "' '" + x(25) + "' "},
		{[]string{"foo", x(124), "bcd", "e"}, "'foo', with args beginning with: '" + x(124) + "' 'b' "},
		{[]string{"foo", x(125), "b"}, "'foo', with args beginning with: '" + x(125) + "' "},
		{[]string{"f\x00oo", "a\x00b", "c"}, "'f', with args beginning with: 'a' 'c' "},
		{[]string{"f\r\noo", "a\nb"}, "'f  oo', with args beginning with: 'a b' "},
		{[]string{"f'o", "a'b", "\xff"}, "'f'o', with args beginning with: 'a'b' '\xff' "},
	}
	for _, c := range cases {
		var args [][]byte
		for _, a := range c.args {
			args = append(args, []byte(a))
		}
		if got := ErrUnknownCommand(args[0], args[1:]); got != start+c.want {
			t.Errorf("%q: got %q", c.args, got)
		}
	}
}

func TestErrorFunctions(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 200)
	cases := []struct{ got, want string }{
		{ErrUnknownSubcommand([]byte("foo"), "client"), "ERR unknown subcommand 'foo'. Try CLIENT HELP."},
		{ErrUnknownSubcommand([]byte("f\r\nx"), "Config"), "ERR unknown subcommand 'f  x'. Try CONFIG HELP."},
		{ErrUnknownSubcommand(long, "object"), "ERR unknown subcommand '" + string(long[:128]) + "'. Try OBJECT HELP."},
		{ErrSubcommandSyntax([]byte("usage"), "memory"), "ERR unknown subcommand or wrong number of arguments for 'usage'. Try MEMORY HELP."},
		{ErrArity("client|setname"), "ERR wrong number of arguments for 'client|setname' command"},
		{ErrInvalidExpire("set"), "ERR invalid expire time in 'set' command"},
		{ErrExecAbortBecause(ErrOOM), "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'."},
		{ErrExecAbortBecause(ErrArity("exec")), "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"},
		{ErrUnsupportedOption([]byte("foo")), "ERR Unsupported option foo"},
		{ErrUnsupportedOption([]byte("a\nb\r\n")), "ERR Unsupported option a b"},
		{ErrUnsupportedOption([]byte("a\x00b")), "ERR Unsupported option a"},
		{ErrPrefixOverlaps("a\x00b", "an existing", "a\nc"), "ERR Prefix 'a' overlaps with an existing prefix 'a c'. Prefixes for a single client must not overlap."},
		{ErrHelloOption([]byte("foo")), "ERR Syntax error in HELLO option 'foo'"},
		{ErrClientType([]byte("foo")), "ERR Unknown client type 'foo'"},
		{ErrNoSuchUser([]byte("foo")), "ERR No such user 'foo'"},
		{ErrOutOfRangeBetween(-1, 5), "ERR value is out of range, value must between -1 and 5"},
		{ErrClientInfoOption([]byte("foo")), "ERR Unrecognized option 'foo'"},
		{ErrClientInfoValue([]byte("lib-name")), "ERR lib-name cannot contain spaces, newlines or special characters."},
		{ErrConfigUnknown([]byte("foo")), "ERR Unknown option or number of arguments for CONFIG SET - 'foo'"},
		{ErrConfigSet("port", ""), "ERR CONFIG SET failed (possibly related to argument 'port')"},
		{ErrConfigSet("port", ConfigNotInteger), "ERR CONFIG SET failed (possibly related to argument 'port') - argument couldn't be parsed into an integer"},
		{ErrConfigSet("x", ConfigNotOneOf("a", "b")), "ERR CONFIG SET failed (possibly related to argument 'x') - argument(s) must be one of the following: a, b"},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
