package compare

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Report says where two images differ.
type Report struct {
	A string `json:"a"`
	B string `json:"b"`
	// Equal says that nothing differs of what was compared.
	Equal bool `json:"equal"`
	// Summary is the answer in one line.
	Summary  string     `json:"summary"`
	Sections []*Section `json:"sections,omitempty"`
}

// Section is what differs in one part of the images.
type Section struct {
	// Name is the part: "partition table", "partition 2 (ext4)".
	Name        string       `json:"name"`
	Differences []Difference `json:"differences,omitempty"`
	// More is how many further differences there are, MoreOf of which kinds.
	More   int            `json:"more,omitempty"`
	MoreOf map[string]int `json:"moreOf,omitempty"`
	// Notes are about the comparison, or sum differences up.
	Notes []string `json:"notes,omitempty"`

	max   int
	minor []Difference // of times alone: shown where there is room
}

// Difference is one thing that is not alike: a file, a field, a stretch of bytes.
type Difference struct {
	// Item is a file's path, or the name of a field or area; "" for the whole.
	Item    string   `json:"item,omitempty"`
	Changes []Change `json:"changes"`
	// Detail has lines for people: where contents differ, and what is there.
	Detail []string `json:"detail,omitempty"`
	// First and Bytes are set where contents differ: the offset of the first
	// byte that does, and how many do.
	First *int64 `json:"first,omitempty"`
	Bytes int64  `json:"bytes,omitempty"`
}

// Change is a property that has two values. "" stands for what is not there.
type Change struct {
	What string `json:"what"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// text is all changes on a line.
func (d *Difference) text() string {
	var all []string
	for _, c := range d.Changes {
		switch {
		case c.What != theContent || d.First == nil:
			all = append(all, c.String())
		case d.Bytes > 0:
			all = append(all, fmt.Sprintf("content differs at byte %d (%s)", *d.First, plural(d.Bytes, "byte")))
		default:
			all = append(all, fmt.Sprintf("content differs at byte %d", *d.First))
		}
	}
	return strings.Join(all, "; ")
}

func (c Change) String() string {
	switch {
	case c.What == onlyIn && c.B == "":
		return "only in A: " + c.A
	case c.What == onlyIn:
		return "only in B: " + c.B
	case c.A == "" && c.B == "":
		return c.What
	}
	return fmt.Sprintf("%s %s ≠ %s", c.What, orNone(c.A), orNone(c.B))
}

const (
	onlyIn     = "only in"
	theContent = "content"
)

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// minorChanges say nothing about what is in a file.
var minorChanges = []string{"mtime", "atime", "ctime", "created", "accessed", "generation"}

func (d *Difference) isMinor() bool {
	return !slices.ContainsFunc(d.Changes, func(c Change) bool { return !slices.Contains(minorChanges, c.What) })
}

// add keeps a difference, or counts it where there are too many.
func (s *Section) add(d Difference) {
	switch {
	case d.isMinor() && len(s.minor) < s.max:
		s.minor = append(s.minor, d)
	case !d.isMinor() && len(s.Differences) < s.max:
		s.Differences = append(s.Differences, d)
	default:
		s.count(d)
	}
}

func (s *Section) count(d Difference) {
	s.More++
	if s.MoreOf == nil {
		s.MoreOf = map[string]int{}
	}
	for _, c := range d.Changes {
		s.MoreOf[c.What]++
	}
}

func (s *Section) change(item, what, a, b string) {
	if a != b {
		s.add(Difference{Item: item, Changes: []Change{{what, a, b}}})
	}
}

func (s *Section) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// finish lets differences of times follow, as far as there is room.
func (s *Section) finish() {
	room := s.max - len(s.Differences)
	for i, d := range s.minor {
		if i < room {
			s.Differences = append(s.Differences, d)
		} else {
			s.count(d)
		}
	}
	s.minor = nil
}

func (s *Section) found() int { return len(s.Differences) + len(s.minor) + s.More }

func (r *Report) section(name string, o Options) *Section {
	s := &Section{Name: name, max: o.max()}
	r.Sections = append(r.Sections, s)
	return s
}

func (r *Report) found() (n int) {
	for _, s := range r.Sections {
		n += s.found()
	}
	return n
}

// finish drops sections that have nothing to say.
func (r *Report) finish() {
	r.Sections = slices.DeleteFunc(r.Sections, func(s *Section) bool {
		s.finish()
		return len(s.Differences) == 0 && len(s.Notes) == 0 && s.More == 0
	})
	found := r.found()
	if found > 0 {
		r.Equal = false
	}
	if r.Summary != "" {
		return
	}
	if r.Equal {
		r.Summary = "equal"
	} else {
		r.Summary = "different: " + plural(found, "difference")
	}
}

func plural[N int | int64](n N, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// number says how many, with the right word.
func number(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// Text writes the report for people: a line for each difference, its details
// below it.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A: %s\nB: %s\n", r.A, r.B)
	for _, s := range r.Sections {
		s.text(&b)
	}
	fmt.Fprintln(&b, r.Summary)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Section) text(b *strings.Builder) {
	fmt.Fprintf(b, "%s:\n", s.Name)
	for _, d := range s.Differences {
		item := d.Item
		if item != "" {
			item += ": "
		}
		fmt.Fprintf(b, "  %s%s\n", item, d.text())
		for _, line := range d.Detail {
			fmt.Fprintf(b, "      %s\n", line)
		}
	}
	if s.More > 0 {
		var kinds []string
		for _, what := range slices.Sorted(maps.Keys(s.MoreOf)) {
			kinds = append(kinds, fmt.Sprintf("%s %d", what, s.MoreOf[what]))
		}
		fmt.Fprintf(b, "  and %d more (%s)\n", s.More, strings.Join(kinds, ", "))
	}
	for _, n := range s.Notes {
		fmt.Fprintf(b, "  note: %s\n", n)
	}
}
