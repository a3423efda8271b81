package elements

import (
	"slices"
	"strings"
)

// AssembleOptions are what changes the list of elements besides the names that
// the user typed.
type AssembleOptions struct {
	SkipBase bool   // leave base out (-n)
	Arch     string // architecture of the target in Debian's spelling
}

// Assemble returns the elements to resolve for a build of names: base first,
// and for "vm" a layout of the disk when none was named.
func Assemble(names []string, o AssembleOptions) []string {
	var all []string
	if !o.SkipBase {
		all = append(all, "base")
	}
	all = append(all, names...)
	if slices.Contains(names, "vm") && !slices.ContainsFunc(names, isLayout) {
		all = append(all, defaultLayout(o.Arch))
	}
	return all
}

func isLayout(name string) bool { return strings.HasPrefix(name, "block-device-") }

// defaultLayout compares whole names: in diskimage-builder "arm" counts as
// arm64, which gives a 32-bit board a layout it cannot boot from.
func defaultLayout(arch string) string {
	if arch == "arm64" || arch == "aarch64" {
		return "block-device-efi"
	}
	return "block-device-mbr"
}
