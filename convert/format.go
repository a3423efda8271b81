package convert

import (
	"fmt"
	"strings"
)

// Format is one output format as the command line names it.
type Format struct {
	Name      string
	Extension string // of the output file, without a dot; "" where no file is made
	// NeedsDisk tells that it is made from the disk; else from the mounted tree.
	NeedsDisk bool
	// Compresses tells that Options.Compress matters.
	Compresses bool
}

var formats = []Format{
	{Name: "raw", Extension: "raw", NeedsDisk: true},
	{Name: "qcow2", Extension: "qcow2", NeedsDisk: true, Compresses: true},
	{Name: "tar", Extension: "tar"},
	{Name: "docker"}, // an image in a registry: package oci makes it
}

// later are formats that people know from diskimage-builder.
var later = []string{"tgz", "squashfs", "vhd", "vhd-fixed", "vhdx", "vmdk", "vdi", "aci"}

// Formats lists what can be made, in the order in which help shows it.
func Formats() []Format {
	return append([]Format(nil), formats...)
}

// NotYetError says that a known format cannot be made yet.
type NotYetError struct{ Name string }

func (e *NotYetError) Error() string {
	return fmt.Sprintf("not supported yet: format %q; allowed: %s", e.Name, allowedFormats())
}

// Lookup gives the format of a name. For one that is known and not made yet
// the error is a *NotYetError; else it names the nearest and all allowed ones.
func Lookup(name string) (Format, error) {
	names := append([]string(nil), later...)
	for _, f := range formats {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	for _, l := range later {
		if l == name {
			return Format{}, &NotYetError{Name: name}
		}
	}
	return Format{}, fmt.Errorf("unknown format %q%s; allowed: %s", name, didYouMean(name, names), allowedFormats())
}

func allowedFormats() string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// didYouMean is a half-sentence with the name nearest to what was typed, or
// nothing when none is near: at most a third of the letters, and two at least,
// may differ.
func didYouMean(typed string, names []string) string {
	best, least := "", max(2, len(typed)/3)+1
	for _, n := range names {
		if d := distance(strings.ToLower(typed), n); d < least {
			best, least = n, d
		}
	}
	if best == "" || least >= len(best) {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// distance counts the letters to insert, delete or replace on the way from a
// to b (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a) // far from any name; spares the square
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
