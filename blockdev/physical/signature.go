package physical

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Signature is a mark by which a format is recognised.
type Signature struct {
	Name   string // such as "gpt", "ext2, ext3 or ext4"
	Offset int64  // of the mark, bytes
}

// mark is where a format has its magic number. A negative offset counts from the
// end, in bytes.
type mark struct {
	name  string
	at    int64
	magic string
}

// marks are those of formats that disks carry, from their specifications and the
// kernel's headers (uapi/linux/magic.h, linux/raid/md_p.h, linux/swap.h).
// A boot sector's 55 AA stands for MBR, FAT, exFAT, NTFS and BitLocker alike.
var marks = []mark{
	{"partition table or boot sector", 510, "\x55\xaa"},
	{"gpt", 512, "EFI PART"}, {"gpt", 4096, "EFI PART"}, {"copy of a gpt", -512, "EFI PART"}, {"copy of a gpt", -4096, "EFI PART"},
	{"Apple partition map", 512, "PM\x00\x00"}, {"BSD label", 512, "\x57\x45\x56\x82"}, {"BSD label", 64, "\x57\x45\x56\x82"}, {"Sun label", 508, "\xda\xbe"},
	{"ext2, ext3 or ext4", 1080, "\x53\xef"},
	{"xfs", 0, "XFSB"}, {"btrfs", 0x10040, "_BHRfS_M"}, {"btrfs", 0x4000040, "_BHRfS_M"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"}, {"erofs", 1024, "\xe2\xe1\xf5\xe0"}, {"squashfs", 0, "hsqs"}, {"cramfs", 0, "\x45\x3d\xcd\x28"},
	{"hfs+", 1024, "H+\x00"}, {"hfs+", 1024, "HX\x00"}, {"hfs", 1024, "BD"}, {"apfs", 32, "NXSB"},
	{"jfs", 0x8000, "JFS1"}, {"reiserfs", 0x10034, "ReIsEr"}, {"nilfs2", 1030, "\x34\x34"}, {"ocfs2", 8192, "OCFSV2"}, {"gfs2", 0x10000, "\x01\x16\x19\x70"},
	{"bcache or bcachefs", 4120, "\xc6\x85\x73\xf6"},
	{"iso9660", 0x8001, "CD001"}, {"udf", 0x8001, "BEA01"}, {"udf", 0x8001, "NSR0"}, {"udf", 0x8801, "NSR0"},
	{"swap", 4086, "SWAPSPACE2"}, {"swap", 16374, "SWAPSPACE2"}, {"swap", 65526, "SWAPSPACE2"}, {"swap", 4086, "SWAP-SPACE"}, {"hibernated swap", 4086, "S1SUSPEND"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"LVM physical volume", 0, "LABELONE"}, {"LVM physical volume", 512, "LABELONE"}, {"LVM physical volume", 1024, "LABELONE"}, {"LVM physical volume", 1536, "LABELONE"},
	{"md array's member", 0, "\xfc\x4e\x2b\xa9"}, {"md array's member", 4096, "\xfc\x4e\x2b\xa9"},
	{"dm-verity", 0, "verity\x00\x00"}, {"dm-integrity", 0, "integrt\x00"}, {"Ceph", 0, "bluestore block device"}, {"VDO", 0, "dmvdo001"},
	{"firmware RAID (Intel)", -1024, "Intel Raid ISM Cfg Sig."}, {"firmware RAID (DDF)", -512, "\xde\x11\xde\x11"}, {"firmware RAID (DDF)", -512, "\x11\xde\x11\xde"},
	{"DRBD", -4096 + 60, "\x83\x74\x02\x6b"},
}

// signatures reads a device of so many bytes and tells what it carries.
func signatures(r io.ReaderAt, size int64) ([]Signature, error) {
	all := slices.Clone(marks)
	// LUKS2 has a second header at one of these places.
	for at := int64(0x4000); at <= 0x400000; at *= 2 {
		all = append(all, mark{"LUKS", at, "SKUL\xba\xbe"})
	}
	// md metadata 1.0 and 0.90 lie before the end, aligned (mdadm's md_p.h).
	sectors := size / 512
	all = append(all, mark{"md array's member", (sectors - 16) &^ 7 * 512, "\xfc\x4e\x2b\xa9"})
	for _, magic := range []string{"\xfc\x4e\x2b\xa9", "\xa9\x2b\x4e\xfc"} {
		all = append(all, mark{"md array's member", size&^0xffff - 0x10000, magic})
	}
	var found []Signature
	for _, m := range all {
		if m.at < 0 {
			m.at += size
		}
		there, err := has(r, size, m)
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, Signature{m.name, m.at})
		}
	}
	zfs, err := zfsLabel(r, size)
	return append(found, zfs...), err
}

func has(r io.ReaderAt, size int64, m mark) (bool, error) {
	if m.at < 0 || m.at+int64(len(m.magic)) > size {
		return false, nil
	}
	got := make([]byte, len(m.magic))
	if _, err := r.ReadAt(got, m.at); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading byte %d: %w", m.at, err)
	}
	return string(got) == m.magic, nil
}

// zfsLabel looks for uberblocks, every KiB of the second half of the first label
// (OpenZFS, vdev_impl.h).
func zfsLabel(r io.ReaderAt, size int64) ([]Signature, error) {
	const half = 128 << 10
	if size < 2*half {
		return nil, nil
	}
	label := make([]byte, half)
	if _, err := r.ReadAt(label, half); err != nil {
		return nil, fmt.Errorf("reading byte %d: %w", half, err)
	}
	for at := 0; at < half; at += 1024 {
		if binary.LittleEndian.Uint64(label[at:]) == 0x00bab10c || bytes.HasPrefix(label[at:], []byte("\x00\x00\x00\x00\x00\xba\xb1\x0c")) {
			return []Signature{{"zfs", half + int64(at)}}, nil
		}
	}
	return nil, nil
}

// names lists what was found, each once.
func names(all []Signature) string {
	var words []string
	for _, s := range all {
		if !slices.Contains(words, s.Name) {
			words = append(words, s.Name)
		}
	}
	return strings.Join(words, ", ")
}
