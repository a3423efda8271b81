package main

import (
	"regexp"
	"strings"
)

// lintIndent wants shell code indented by fours. Texts that go over several lines
// (here-documents, quotes) and continued lines are the author's own affair.
func lintIndent(f *lintFile) []finding {
	if !f.isScript() || !f.isShell() {
		return nil
	}
	var s shellLines
	return f.eachLine("indented by blanks that are no multiple of 4", func(line string) bool {
		code := s.next(line)
		blanks := len(line) - len(strings.TrimLeft(line, " "))
		return code && blanks%4 != 0 && strings.TrimSpace(line) != ""
	})
}

// shellLines follows a shell script line by line, just far enough to know which
// lines begin as code.
type shellLines struct {
	continued bool
	quote     byte // the quote that is open, or 0
	until     []hereDocument
}

type hereDocument struct {
	end  string
	tabs bool // <<-: tabs before the end do not count
}

var hereStart = regexp.MustCompile(`<<(-?)\s*(?:'([^']+)'|"([^"]+)"|\\?([A-Za-z_][\w-]*))`)

// next takes a line and tells whether it begins as code.
func (s *shellLines) next(line string) bool {
	if len(s.until) > 0 {
		if h := s.until[0]; line == h.end || h.tabs && strings.TrimLeft(line, "\t") == h.end {
			s.until = s.until[1:]
		}
		return false
	}
	code := s.quote == 0 && !s.continued
	plain := s.scan(line)
	for _, m := range hereStart.FindAllStringSubmatch(plain, -1) {
		s.until = append(s.until, hereDocument{m[2] + m[3] + m[4], m[1] == "-"})
	}
	return code
}

// scan reads the quotes of a line and returns the line without what is in a
// quote that another line began, in a comment or a here-string.
func (s *shellLines) scan(line string) string {
	s.continued = false
	from := 0
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case s.quote == '\'':
			if c == '\'' {
				s.quote = 0
			}
		case c == '\\':
			s.continued = i == len(line)-1 && s.quote == 0
			i++
		case s.quote == '"':
			if c == '"' {
				s.quote = 0
			}
		case c == '\'' || c == '"':
			s.quote = c
		case c == '#' && (i == 0 || strings.IndexByte(" \t;&|(", line[i-1]) >= 0):
			return strings.ReplaceAll(line[from:i], "<<<", "")
		}
	}
	return strings.ReplaceAll(line[from:], "<<<", "")
}
