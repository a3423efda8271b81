package convert

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
)

// Format is one output format as the command line names it. It is data for the
// caller and the way to its writer: Disk or Tree, as NeedsDisk says. One that
// has neither (docker) is made by another package.
type Format struct {
	Name      string
	Extension string // of the output file, without a dot; "" where no file is made
	// NeedsDisk tells that it is made from the disk; else from the mounted tree.
	NeedsDisk bool
	// Compresses tells that Options.Compress matters.
	Compresses bool
	// Tools are host programs without which it cannot be made.
	Tools []string

	disk    diskWriter
	tree    treeWriter
	options []option // what --qemu-img-options may say
	// check, when set, looks at options together; given are the keys that the
	// user typed.
	check func(o *FormatOptions, given map[string]bool) error
}

// A diskWriter writes src into dst, open for writing, whatever was in it.
type diskWriter func(ctx context.Context, dst *os.File, src Source, o Options) error

// A treeWriter writes what is at root into dst, open for writing and empty.
type treeWriter func(ctx context.Context, dst *os.File, root string, o TreeOptions) error

// HasOptions says whether --qemu-img-options may say something about the format.
func (f Format) HasOptions() bool { return len(f.options) > 0 }

// formats is the one list of what there is, in the order in which help shows it.
var formats = []Format{
	{Name: "raw", Extension: "raw", NeedsDisk: true, disk: Raw},
	{Name: "qcow2", Extension: "qcow2", NeedsDisk: true, Compresses: true, disk: qcow2File,
		options: qcow2Options, check: checkQcow2Options},
	{Name: "vhd", Extension: "vhd", NeedsDisk: true, disk: VHD},
	// Another name than vhd's, so that one run can make both.
	{Name: "vhd-fixed", Extension: "fixed.vhd", NeedsDisk: true, disk: VHDFixed},
	{Name: "vhdx", Extension: "vhdx", NeedsDisk: true, disk: VHDX},
	{Name: "vdi", Extension: "vdi", NeedsDisk: true, disk: VDI},
	{Name: "vmdk", Extension: "vmdk", NeedsDisk: true, disk: VMDK, options: vmdkOptions},
	{Name: "tar", Extension: "tar", tree: tarFile},
	{Name: "tgz", Extension: "tgz", tree: Tgz},
	{Name: "squashfs", Extension: "squash", Tools: []string{"mksquashfs"}, tree: Squashfs, options: squashfsOptions},
	{Name: "docker"}, // an image in a registry: package oci makes it
}

// Disk writes the disk src as format f into dst, which is open for writing and
// may be of any length. The caller closes dst and, after an error, removes it.
func Disk(ctx context.Context, f Format, dst *os.File, src Source, o Options) error {
	if f.disk == nil {
		return fmt.Errorf("format %q is not made from a disk", f.Name)
	}
	return f.disk(ctx, dst, src, o)
}

// Tree writes the tree at root as format f into dst, which is open for writing
// and empty. The caller closes dst and, after an error, removes it.
func Tree(ctx context.Context, f Format, dst *os.File, root string, o TreeOptions) error {
	if f.tree == nil {
		return fmt.Errorf("format %q is not made from a tree", f.Name)
	}
	return f.tree(ctx, dst, root, o)
}

func qcow2File(ctx context.Context, dst *os.File, src Source, o Options) error {
	return Qcow2(ctx, dst, src, o)
}

func tarFile(ctx context.Context, dst *os.File, root string, o TreeOptions) error {
	return Tar(ctx, dst, root, o)
}

// instead says what to use in place of formats that people know and that are
// not made here, and why.
var instead = map[string]string{
	"aci": "the App Container format has had no reader since rkt ended in 2020; use docker or tar",
}

// Formats lists what can be made, in the order in which help shows it.
func Formats() []Format {
	return append([]Format(nil), formats...)
}

// RefusedError says that a known format is not made here, and why.
type RefusedError struct{ Name string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("format %q is not made: %s; allowed: %s", e.Name, instead[e.Name], allowedFormats())
}

// Lookup gives the format of a name. For one that is known and not made here
// the error is a *RefusedError; else it names the nearest and all allowed ones.
func Lookup(name string) (Format, error) {
	var names []string
	for _, f := range formats {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	if instead[name] != "" {
		return Format{}, &RefusedError{Name: name}
	}
	for known := range instead {
		names = append(names, known)
	}
	sort.Strings(names) // the nearest must not depend on a map's order
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
