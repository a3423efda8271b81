package blockdev

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ConfigError is a user's mistake in the configuration.
type ConfigError struct {
	Head string // a text that other tools match on; it leads the message
	Path string // such as [1].partitioning.partitions[0].sizee; "" for the whole
	Line int    // from 1; 0 when unknown
	Node string // the name of the node; "" when unknown or said in Text
	Text string // what was found and what is allowed
}

func (e *ConfigError) Error() string {
	where := place{path: e.Path, line: e.Line, node: e.Node}.String()
	if e.Head != "" {
		return fmt.Sprintf("%s: %s: %s", strings.TrimSuffix(e.Head, ":"), where, e.Text)
	}
	return fmt.Sprintf("block-device configuration: %s: %s", where, e.Text)
}

func (p place) errorf(format string, args ...any) error {
	return &ConfigError{Path: p.path, Line: p.line, Text: fmt.Sprintf(format, args...)}
}

// SizeError is a size that the layout or the content does not fit into.
type SizeError struct {
	What   string // such as `file system "mkfs_root" on /`
	Needed int64  // bytes, at least
	Given  int64  // bytes
	Hint   string // what sets the size
}

func (e *SizeError) Error() string {
	s := fmt.Sprintf("%s needs %s and has %s", e.What, FormatSize(e.Needed), FormatSize(e.Given))
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// NoSpaceError is a file system that ran full while its content was copied. It
// wraps the cause, so errors.Is(err, syscall.ENOSPC) holds.
type NoSpaceError struct {
	Node       string // the mkfs node
	MountPoint string
	Size       int64 // bytes
	Explicit   bool  // the user gave the size: it never grows
	Err        error
}

func (e *NoSpaceError) Error() string {
	which := "computed"
	if e.Explicit {
		which = "given"
	}
	at := ""
	if e.MountPoint != "" {
		at = " on " + e.MountPoint
	}
	return fmt.Sprintf("file system %q%s is full (%s, %s size): %v", e.Node, at, FormatSize(e.Size), which, e.Err)
}

func (e *NoSpaceError) Unwrap() error { return e.Err }

// allowed lists words for a message, and the one that the user most likely
// meant when found is near it.
func allowed(found string, words []string) string {
	words = slices.Clone(words)
	slices.SortFunc(words, func(a, b string) int {
		if isNumber(a) && isNumber(b) {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
		}
		return strings.Compare(a, b)
	})
	s := "allowed: " + strings.Join(words, ", ")
	if near := nearest(found, words); near != "" {
		s += fmt.Sprintf("; did you mean %q?", near)
	}
	return s
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// nearest returns the word with the smallest edit distance to found, "" when
// none is near enough to be meant.
func nearest(found string, words []string) string {
	limit := len(found)/3 + 2
	best, dist := "", limit
	for _, w := range words {
		// Of equals the last: ext4 is meant more often than ext2.
		if d := distance(strings.ToLower(found), strings.ToLower(w)); d < limit && d <= dist {
			best, dist = w, d
		}
	}
	return best
}

// distance is Levenshtein's, one row at a time.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}
