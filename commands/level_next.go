//go:build nextlevel

package commands

// A program that knows a level more: it has INCREX from there on.
func init() {
	for i := range increxCommands {
		increxCommands[i].Level = 4
	}
}
