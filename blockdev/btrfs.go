package blockdev

import (
	"fmt"
	"strings"

	"github.com/lithify/lithify/blockdev/btrfs"
)

// btrfsModel is the fsModel of btrfs. Metadata is kept twice, in chunks of up to
// 256 MiB, and each file has several items in it.
type btrfsModel struct{}

const btrfsSmallest = 109 * mib // what mkfs.btrfs wants for separate data and metadata chunks, kept twice

func (btrfsModel) settle(*FSPlan) {}

func (btrfsModel) least(f *FSPlan) (int64, error) {
	// Files of up to 2 KiB lie in the metadata.
	return max(btrfsSmallest, f.Content.Bytes-f.Content.Inodes*blockSize), nil
}

func (btrfsModel) wants(f *FSPlan, room int64) (int64, error) {
	need := f.Content.Bytes + room
	need += need/16 + f.Content.Inodes*6*kib + 80*mib // checksums; items, twice; system chunks
	need += 2 * min(256*mib, need/8)                  // a metadata chunk more than is in use
	return max(btrfsSmallest+16*mib, need), nil
}

// Btrfs is what the command line of mkfs.btrfs needs beside the plan.
type Btrfs struct {
	Target     string   // a device, or a file of the file system's size
	Tree       string   // fill it from this folder (--rootdir); "" leaves it empty
	Subvolumes []string // folders of Tree that become subvolumes (--subvol, from 6.12 on)
	Version    [2]int   // of mkfs.btrfs, such as 6, 2
}

// BtrfsCommand returns the arguments of mkfs.btrfs. What newer versions turn on
// and bookworm's GRUB and kernel cannot read stays off; the user's options come
// last. The UUID is not among them: mkfs.btrfs takes none that a device of the host
// has. SetBtrfsUUID sets it.
func BtrfsCommand(fs FSPlan, b Btrfs) []string {
	args := []string{"-q", "-f", "-K", "-L", fs.Label, "--sectorsize", "4096", "--nodesize", "16384"}
	off := ""
	if fs.Profile == profileOld {
		off = "^"
	}
	newer := func(major, minor int) bool {
		return b.Version[0] > major || b.Version[0] == major && b.Version[1] >= minor
	}
	features := off + "no-holes,"
	if newer(6, 3) { // -R became part of -O
		features += off + "free-space-tree"
	} else {
		args = append(args, "-R", off+"free-space-tree")
	}
	if newer(6, 7) {
		features += ",^block-group-tree"
	}
	args = append(args, "-O", strings.TrimSuffix(features, ","))
	if b.Tree != "" {
		// Filled, it gets a size of its own; shrunk, one that can be grown to ours.
		args = append(args, "--rootdir", b.Tree, "--shrink")
	}
	for _, s := range b.Subvolumes {
		args = append(args, "--subvol", s)
	}
	args = append(args, fs.Options...)
	return append(args, b.Target)
}

// checkBtrfsOptions refuses checksums that GRUB and this program do not know, and
// what the configuration says elsewhere.
func checkBtrfsOptions(words []string) error {
	for i, w := range words {
		name, value, has := strings.Cut(w, "=")
		if !has && i+1 < len(words) {
			value = words[i+1]
		}
		switch name {
		case "--csum", "--checksum":
			if value != "crc32c" {
				return fmt.Errorf("checksum %q: allowed is crc32c", value)
			}
		case "-U", "--uuid", "-L", "--label", "-r", "--rootdir", "-u", "--subvol", "-b", "--byte-count", "--shrink":
			return fmt.Errorf("%s: it follows from the configuration; leave it out", name)
		}
	}
	return nil
}

// SetBtrfsUUID gives a btrfs that nothing has mounted the plan's UUID.
func SetBtrfsUUID(b *btrfs.Image, fs FSPlan) error {
	id, err := uuidBytes(fs.UUID)
	if err != nil {
		return fmt.Errorf("btrfs %q: %w", fs.Node, err)
	}
	return b.SetUUID([16]byte(id))
}
