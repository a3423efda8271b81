package blockdev

import (
	"errors"
	"strings"
)

// SplitWords splits text like a shell: blanks part words, quotes and the
// backslash keep them together. Nothing is expanded.
func SplitWords(s string) ([]string, error) {
	var words []string
	var w strings.Builder
	open, quote := false, rune(0)
	escaped := false
	for _, c := range s {
		switch {
		case escaped:
			w.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, open = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			w.WriteRune(c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if open {
				words, open = append(words, w.String()), false
				w.Reset()
			}
		default:
			w.WriteRune(c)
			open = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote is not closed")
	}
	if open {
		words = append(words, w.String())
	}
	return words, nil
}
