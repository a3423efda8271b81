package main

import (
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/lithify/lithify/elements"
)

// readme is what an element's README tells about it.
type readme struct {
	paragraph string // the first one, on one line
	variables []variable
}

type variable struct{ name, standard, meaning string }

func readmeOf(e elements.Element) readme {
	for _, name := range []string{"README.md", "README.rst", "README"} {
		if text, err := fs.ReadFile(e.FS, name); err == nil {
			return readme{firstParagraph(string(text)), readmeVariables(string(text))}
		}
	}
	return readme{}
}

// A line of one repeated character, above or below a title of reStructuredText.
var titleLine = regexp.MustCompile("^(=+|-+|~+|\\^+|\"+|\\*+|#+|`+)$")

// firstParagraph finds the first lines that are neither title, table nor
// directive.
func firstParagraph(text string) string {
	var found []string
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		title := strings.HasPrefix(line, "#") || titleLine.MatchString(line) ||
			i+1 < len(lines) && titleLine.MatchString(strings.TrimSpace(lines[i+1]))
		switch {
		case title || line == "" || strings.HasPrefix(line, "|") || strings.HasPrefix(line, ".. "):
			if len(found) > 0 {
				return strings.Join(found, " ")
			}
		default:
			found = append(found, line)
		}
	}
	return strings.Join(found, " ")
}

var (
	tableVariable = regexp.MustCompile("^\\|\\s*`([A-Za-z_][A-Za-z0-9_]*)`\\s*\\|([^|]*)\\|(.*)\\|\\s*$")
	rstVariable   = regexp.MustCompile("^`{0,2}([A-Z][A-Z0-9_]*_[A-Z0-9_]*)`{0,2}:?$")
)

// readmeVariables reads tables of three columns as our elements have them, and
// the definition lists of reStructuredText: the name alone, its meaning indented.
func readmeVariables(text string) []variable {
	var all []variable
	var open bool // the meaning of the last one goes on
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if m := tableVariable.FindStringSubmatch(trimmed); m != nil {
			all, open = append(all, variable{m[1], plain(m[2]), plain(m[3])}), false
		} else if m := rstVariable.FindStringSubmatch(strings.TrimPrefix(trimmed, "* ")); m != nil {
			all, open = append(all, variable{name: m[1]}), true
		} else if trimmed == "" || !open {
			open = false
		} else {
			last := &all[len(all)-1]
			if standard, ok := strings.CutPrefix(trimmed, ":Default:"); ok {
				last.standard = plain(standard)
				continue
			}
			trimmed = strings.TrimPrefix(trimmed, ":Description:")
			last.meaning = strings.TrimSpace(last.meaning + " " + plain(trimmed))
		}
	}
	return all
}

func plain(text string) string { return strings.TrimSpace(strings.ReplaceAll(text, "`", "")) }

var defaultValue = regexp.MustCompile(`\$\{(DIB_[A-Za-z0-9_]+):?[-=]([^}]*)\}`)

// variablesIn finds the variables that files of an element give a default, for
// one whose README names none.
func variablesIn(tree *elements.Tree) []variable {
	found := map[string]variable{}
	for _, f := range tree.Files() {
		text, err := tree.Open(f.Path)
		if err != nil || f.Mode&fs.ModeSymlink != 0 {
			continue // a link may lead to what only the image has
		}
		for _, m := range defaultValue.FindAllSubmatch(text, -1) {
			name := string(m[1])
			if _, known := found[name]; !known && name != "DIB_DEBUG_TRACE" {
				found[name] = variable{name: name, standard: string(m[2])}
			}
		}
	}
	var all []variable
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[name])
	}
	return all
}
