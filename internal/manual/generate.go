package manual

// Files are what Generate makes.
var Files = []Word{
	{"quipu.1", "", "the manual page of the program"},
	{"quipu.conf.5", "", "the manual page of the settings"},
	{"quipu.conf", "", "the commented configuration, with all defaults"},
	{"bash", "", "completion for bash"},
	{"zsh", "", "completion for zsh"},
	{"fish", "", "completion for fish"},
}

// Generate makes one of Files; ok is false if there is no such one.
func (p *Program) Generate(name string) (text string, ok bool) {
	write, ok := map[string]func() string{
		"quipu.1": p.Man, "quipu.conf.5": ManConf, "quipu.conf": Conf, "bash": p.Bash, "zsh": p.Zsh, "fish": p.Fish,
	}[name]
	if !ok {
		return "", false
	}
	return write(), true
}
