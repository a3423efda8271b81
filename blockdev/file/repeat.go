package file

import (
	"fmt"
	"slices"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// Repeats says which file system of a graph does not come out equal to the bit
// for equal trees, times and ids: one that a foreign tool writes. The error is a
// *RepeatError.
func Repeats(g *blockdev.Graph) error {
	for _, n := range g.FileSystems() {
		if why := stray(n); why != "" {
			return &RepeatError{n.Name(), n.FSType, why}
		}
	}
	return nil
}

// Tools returns the programs of the host that this back end makes the graph's file
// systems with: it writes most of them itself.
func Tools(g *blockdev.Graph) []string {
	return blockdev.Tools(slices.DeleteFunc(slices.Clone(g.FileSystems()), func(n *blockdev.Mkfs) bool { return stray(n) == "" }))
}

// RepeatError is a file system that differs from build to build.
type RepeatError struct {
	Node, FSType, Why string
}

func (e *RepeatError) Error() string {
	return fmt.Sprintf("file system %q: %s %s; ext2, ext3, ext4 and vfat repeat", e.Node, e.FSType, e.Why)
}

// stray says why n does not repeat; empty when it does.
func stray(n *blockdev.Mkfs) string {
	switch n.FSType {
	case "vfat", "swap":
		return ""
	case "ext2", "ext3", "ext4":
	default:
		return "is written by a tool that takes times and numbers from this machine"
	}
	plan := blockdev.FSPlan{FSType: n.FSType, Label: n.Label, UUID: anyID, HashSeed: anyID, Options: n.Options}
	args, _ := blockdev.Mke2fsCommand(plan, blockdev.Mke2fs{InImage: true})
	if err := ext4.ParseArgs(args[:len(args)-2], &ext4.Options{}); err != nil {
		return fmt.Sprintf("is left to mke2fs, which writes times of the build (%v)", err)
	}
	return ""
}

// anyID stands for the ids, which are derived later.
const anyID = "6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11"
