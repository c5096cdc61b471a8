package manual

import (
	"fmt"
	"strings"
)

// Completion needs nothing but the shell itself: no package of helpers, and no call of the program, so that pressing Tab is safe
// and quick. A file is made anew with each version, as settings are in it.

// names are the names of subcommands, words or flags.
func names[T any](list []T, name func(T) string) string {
	var all []string
	for _, one := range list {
		all = append(all, name(one))
	}
	return strings.Join(all, " ")
}

// valueCases writes the cases of a shell for what stands behind a flag: one of its values, a path, or anything. Each format is for the pattern of the
// flags, and that of values for these as well.
func (p *Program) valueCases(b *strings.Builder, values, path, anything string) {
	for _, c := range p.Commands {
		var paths, free []string
		for _, f := range c.flags() {
			pattern := fmt.Sprintf("%q", c.Name+" --"+f.Name)
			switch {
			case f.Arg == "":
			case f.Path:
				paths = append(paths, pattern)
			case len(f.Values) > 0:
				fmt.Fprintf(b, values, pattern, strings.Join(f.Values, " "))
			default:
				free = append(free, pattern)
			}
		}
		if len(paths) > 0 {
			fmt.Fprintf(b, path, strings.Join(paths, "|"))
		}
		if len(free) > 0 {
			fmt.Fprintf(b, anything, strings.Join(free, "|"))
		}
	}
}

// Bash is completion for bash.
func (p *Program) Bash() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Completion of %[1]s for bash, made by "%[1]s generate bash".
_%[1]s() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} sub=${COMP_WORDS[1]} words="" paths=""
	COMPREPLY=()
	if ((COMP_CWORD > 1)) && [[ $sub == --* || -f $sub ]]; then sub=server; fi
	if ((COMP_CWORD == 1)) && [[ $cur != -* ]]; then
		words="%[2]s" paths=1
	else
		if ((COMP_CWORD == 1)); then sub=server; fi
		case "$sub $prev" in
`, p.Name, names(p.Commands, func(c Command) string { return c.Name }))
	p.valueCases(&b, "\t\t%s) words=%q ;;\n", "\t\t%s) paths=1 ;;\n", "\t\t%s) return ;;\n")
	b.WriteString("\t\t*)\n\t\t\tcase \"$sub $cur\" in\n")
	for _, c := range p.Commands {
		if list := names(c.flags(), func(f Flag) string { return "--" + f.Name }); list != "" {
			fmt.Fprintf(&b, "\t\t\t\"%s -\"*) words=%q ;;\n", c.Name, list)
		}
	}
	for _, c := range p.Commands {
		words := names(c.Words, func(w Word) string { return w.Name })
		if words == "" && !c.Files {
			continue
		}
		fmt.Fprintf(&b, "\t\t\t\"%s \"*)\n", c.Name)
		at := 2
		if words != "" {
			fmt.Fprintf(&b, "\t\t\t\tif ((COMP_CWORD == 2)); then words=%q; fi\n", words)
			at = 3
		}
		if c.Files {
			fmt.Fprintf(&b, "\t\t\t\tif ((COMP_CWORD == %d)); then paths=1; fi\n", at)
		}
		b.WriteString("\t\t\t\t;;\n")
	}
	fmt.Fprintf(&b, `			esac ;;
		esac
	fi
	local IFS=$'\n'
	if [[ $words ]]; then COMPREPLY=($(compgen -W "${words// /$'\n'}" -- "$cur")); fi
	if [[ $paths ]]; then
		compopt -o filenames 2>/dev/null
		COMPREPLY+=($(compgen -f -- "$cur"))
	fi
}
complete -F _%[1]s %[1]s
`, p.Name)
	return b.String()
}

// zshWord is a word with its description, as _describe takes it.
func zshWord(name, text string) string {
	return "'" + strings.NewReplacer(`'`, `'\''`).Replace(strings.ReplaceAll(name, ":", `\:`)+":"+text) + "'"
}

// Zsh is completion for zsh.
func (p *Program) Zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %[1]s\n# Completion of %[1]s for zsh, made by \"%[1]s generate zsh\".\n_%[1]s() {\n\tlocal -a list\n\tlocal sub=$words[2] prev=$words[CURRENT-1] cur=$words[CURRENT]\n"+
		"\tif (( CURRENT == 2 )) && [[ $cur != -* ]]; then\n\t\tlist=(\n", p.Name)
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "\t\t\t%s\n", zshWord(c.Name, c.Summary))
	}
	b.WriteString("\t\t)\n\t\t_describe -t commands subcommand list\n\t\t_files\n\t\treturn\n\tfi\n\tif [[ $sub == -* || -f $sub ]]; then sub=server; fi\n\tcase \"$sub $prev\" in\n")
	p.valueCases(&b, "\t%s) compadd -- %s; return ;;\n", "\t%s) _files; return ;;\n", "\t%s) _message value; return ;;\n")
	b.WriteString("\tesac\n\tcase \"$sub $cur\" in\n")
	for _, c := range p.Commands {
		if flags := c.flags(); len(flags) > 0 {
			fmt.Fprintf(&b, "\t\"%s -\"*)\n\t\tlist=(\n", c.Name)
			for _, f := range flags {
				fmt.Fprintf(&b, "\t\t\t%s\n", zshWord("--"+f.Name, f.Summary))
			}
			b.WriteString("\t\t)\n\t\t_describe -o option list ;;\n")
		}
	}
	for _, c := range p.Commands {
		at := 3
		if len(c.Words) > 0 || c.Files {
			fmt.Fprintf(&b, "\t\"%s \"*)\n", c.Name)
		}
		if len(c.Words) > 0 {
			b.WriteString("\t\tlist=(\n")
			for _, w := range c.Words {
				fmt.Fprintf(&b, "\t\t\t%s\n", zshWord(w.Name, w.Summary))
			}
			b.WriteString("\t\t)\n\t\t(( CURRENT == 3 )) && _describe word list\n")
			at = 4
		}
		if c.Files {
			fmt.Fprintf(&b, "\t\t(( CURRENT == %d )) && _files\n", at)
		}
		if len(c.Words) > 0 || c.Files {
			b.WriteString("\t\t;;\n")
		}
	}
	// As a file of fpath, the function defines itself when it is called first.
	fmt.Fprintf(&b, "\tesac\n}\nif [[ $funcstack[1] == _%[1]s ]]; then _%[1]s \"$@\"; else compdef _%[1]s %[1]s; fi\n", p.Name)
	return b.String()
}

// fishText is a text in quotes, as fish reads it.
func fishText(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// Fish is completion for fish.
func (p *Program) Fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion of %[1]s for fish, made by \"%[1]s generate fish\".\n", p.Name)
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a %s -d %s\n", p.Name, c.Name, fishText(c.Summary))
	}
	for _, c := range p.Commands {
		line := func(format string, args ...any) {
			fmt.Fprintf(&b, "complete -c %s -n '__fish_seen_subcommand_from %s' %s\n", p.Name, c.Name, fmt.Sprintf(format, args...))
		}
		if !c.Files {
			line("-f")
		}
		for _, w := range c.Words {
			line("-a %s -d %s", w.Name, fishText(w.Summary))
		}
		for _, f := range c.flags() {
			value := ""
			switch {
			case f.Path:
				value = "-r -F "
			case len(f.Values) > 0:
				value = "-x -a " + fishText(strings.Join(f.Values, " ")) + " "
			case f.Arg != "":
				value = "-x "
			}
			line("-l %s %s-d %s", f.Name, value, fishText(f.Summary))
		}
	}
	return b.String()
}
