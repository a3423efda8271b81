package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// occurrence is an option as it stood on the command line.
type occurrence struct {
	option option
	where  string // as messages name it: -o, --image-size
	value  string
}

// commandLine is a split command line.
type commandLine struct {
	given    []occurrence // in order
	elements []string
}

// splitCommandLine parses args by the rules of GNU getopt_long: options and
// elements in any order, "--" ends the options, long options may be shortened
// as long as they stay unambiguous, -xuo NAME and -oNAME are taken apart.
//
// The shapes are put into pflag's own first, because pflag knows no
// abbreviations and reads -o=x in another way.
func splitCommandLine(args []string) (commandLine, error) {
	words, err := normalise(args, optionTable())
	if err != nil {
		return commandLine{}, err
	}
	var line commandLine
	cmd := newCreateCommand(&line)
	cmd.SetArgs(words)
	err = cmd.Execute()
	return line, err
}

// newCreateCommand is disk-image-create for cobra: it collects what was given
// into line, and its flags are what completion scripts are made from.
func newCreateCommand(line *commandLine) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "disk-image-create [OPTION]... ELEMENT...",
		Short:                 "Build a disk image from elements",
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, elements []string) error {
			line.elements = elements
			return nil
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	for _, p := range optionTable() {
		if p.long == "help" { // cobra's own; it must be a real bool
			cmd.SetHelpFunc(func(*cobra.Command, []string) {
				line.given = append(line.given, occurrence{option: p, where: "--help"})
			})
			continue
		}
		addFlag(cmd.Flags(), p, line)
	}
	addCompletions(cmd)
	return cmd
}

func addFlag(flags *pflag.FlagSet, p option, line *commandLine) {
	f := flags.VarPF(&recorder{option: p, line: line}, p.long, p.short, p.help)
	if p.value == "" {
		f.NoOptDefVal = "true"
	}
}

// recorder is a pflag.Value that only notes that it was set: the meaning comes
// later, when the environment has been read.
type recorder struct {
	option option
	line   *commandLine
}

func (r *recorder) String() string { return "" }
func (r *recorder) Type() string   { return r.option.value }

func (r *recorder) Set(v string) error {
	where := "--" + r.option.long
	if r.option.short != "" && r.option.ours {
		where = "-" + r.option.short
	}
	r.line.given = append(r.line.given, occurrence{option: r.option, where: where, value: v})
	return nil
}

// normalise rewrites args into --long=value words, then "--" and the elements.
func normalise(args []string, table []option) ([]string, error) {
	n := normaliser{table: table}
	for len(args) > 0 {
		word := args[0]
		var err error
		args = args[1:]
		switch {
		case word == "--":
			n.elements = append(n.elements, args...)
			args = nil
		case strings.HasPrefix(word, "--"):
			args, err = n.long(word[2:], args)
		case len(word) > 1 && word[0] == '-':
			args, err = n.short(word[1:], args)
		default:
			n.elements = append(n.elements, word)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(append(n.options, "--"), n.elements...), nil
}

type normaliser struct {
	table             []option
	options, elements []string
}

// add notes an option; pflag takes =value for those without a value too, so
// that is left out for them.
func (n *normaliser) add(p option, value string) {
	word := "--" + p.long
	if p.value != "" {
		word += "=" + value
	}
	n.options = append(n.options, word)
}

// long takes one --word (given without dashes) and returns the arguments left.
func (n *normaliser) long(word string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(word, "=")
	p, err := findLong(n.table, name)
	switch {
	case err != nil:
		return nil, err
	case p.value == "" && hasValue:
		return nil, usagef("option --%s takes no value, but was given %q", p.long, value)
	case p.value != "" && !hasValue:
		if len(rest) == 0 {
			return nil, usagef("option --%s needs a value: --%s %s", p.long, p.long, p.value)
		}
		value, rest = rest[0], rest[1:]
	}
	n.add(p, value)
	return rest, nil
}

// short takes a cluster of letters (given without the dash): the first that
// needs a value takes the rest of the cluster, or the next argument.
func (n *normaliser) short(letters string, rest []string) ([]string, error) {
	for letters != "" {
		_, size := utf8.DecodeRuneInString(letters) // one byte where it is no UTF-8
		letter, tail := letters[:size], letters[size:]
		letters = tail
		at := slices.IndexFunc(n.table, func(p option) bool { return p.short == letter })
		if at < 0 {
			return nil, usagef("unknown option %q; --help lists the options", "-"+letter)
		}
		p := n.table[at]
		if p.value == "" {
			n.add(p, "")
			continue
		}
		if tail == "" {
			if len(rest) == 0 {
				return nil, usagef("option -%s needs a value: -%s %s", letter, letter, p.value)
			}
			tail, rest = rest[0], rest[1:]
		}
		n.add(p, tail)
		return rest, nil
	}
	return rest, nil
}

// findLong finds a long option by its name or an unambiguous beginning. DIB's
// own names are searched before ours, so that what was an abbreviation for DIB
// stays one.
func findLong(table []option, name string) (option, error) {
	var dibs, ours []option
	for _, p := range table {
		switch {
		case p.long == name:
			return p, nil
		case name == "" || !strings.HasPrefix(p.long, name):
		case p.ours:
			ours = append(ours, p)
		default:
			dibs = append(dibs, p)
		}
	}
	found := dibs
	if len(found) == 0 {
		found = ours
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return option{}, unknownOption(table, name)
	}
	return option{}, usagef("option %q may mean %s", "--"+name, orList(longNames(found)))
}

func unknownOption(table []option, name string) error {
	if near := nearest("--"+name, longNames(table)); near != "" {
		return usagef("unknown option %q; did you mean %s?", "--"+name, near)
	}
	return usagef("unknown option %q; --help lists the options", "--"+name)
}

func longNames(table []option) []string {
	names := make([]string, len(table))
	for i, p := range table {
		names[i] = "--" + p.long
	}
	return names
}

// orList joins words for people: a, b or c.
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return fmt.Sprintf("%s or %s", strings.Join(words[:last], ", "), words[last])
}

// nearest returns the word of allowed that a typo was probably meant to be, or
// nothing when none is near: up to a third of the letters may differ.
func nearest(typed string, allowed []string) string {
	best, at := len(typed)/3+1, ""
	for _, w := range allowed {
		if d := editDistance(typed, w); d < best || d == best && at == "" {
			best, at = d, w
		}
	}
	return at
}

// editDistance counts the letters to insert, delete, replace, or swap with
// their neighbour (optimal string alignment).
func editDistance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
