package fat

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Options say where a file system lies and how it is shaped. Only Size has no
// default.
type Options struct {
	Offset int64 // bytes from the start of the target
	Size   int64 // bytes; a part of a sector at the end is left alone

	SectorSize    int    // bytes: 512 (also 0), 1024, 2048 or 4096; not less than the disk's
	HiddenSectors uint32 // sectors before the partition on its disk

	// Bits is 12, 16 or 32. With 0 it is what mkfs.fat takes: FAT32 from 512 MiB
	// on; below that FAT12 or FAT16, whichever clusters of 2 KiB (or one sector)
	// give, doubled until one of them can count them. A type whose number of
	// clusters the size and SectorsPerCluster do not give is an error: mkfs.fat
	// warns of FAT32 with less than 65525 clusters, but others read it as FAT16.
	Bits int
	// ESP makes Bits 0 mean FAT32 wherever it is possible (from 33 MiB, with
	// 4096-byte sectors from about 257 MiB), else FAT12 or FAT16. The UEFI
	// specification (13.3) asks for FAT32 on a fixed disk's system partition, and
	// has firmware read FAT12 and FAT16 too.
	ESP bool

	SectorsPerCluster int  // a power of two up to 128, a cluster up to 64 KiB; 0: by size
	FATs              int  // copies of the FAT: 1 or 2 (also 0)
	RootEntries       int  // of the root folder of FAT12 and FAT16, rounded up to sectors; 0: 512
	Reserved          int  // sectors before the first FAT, at least; 0: 1, on FAT32 32
	Media             byte // media descriptor; 0: 0xF8, a fixed disk
	NoAlign           bool // else Reserved grows until clusters are aligned in the partition

	Label string // up to 11 characters, written in upper case; "": none
	ID    uint32 // serial number; 0: from the time of writing

	// Time is the time of writing: when everything was created and last read, and
	// the latest time of modification (later ones become it). nil: now. With a
	// Time, the same tree and options give the same bytes.
	Time *time.Time

	// NotEmpty says that the target may hold other than zeros. Then zeros are
	// written where the file system needs them. Else they are left out, so that a
	// sparse file stays sparse.
	NotEmpty bool

	// Skip, when set, is asked for every folder of the tree (slash-separated,
	// relative to it) whether to leave its content out, as of a mount point. The
	// folder itself is written, empty.
	Skip func(path string) bool
}

const (
	labelMax       = 11
	clusterMax     = 64 << 10 // bytes; what Linux, Windows NT and mkfs.fat go up to
	noLabel        = "NO NAME"
	defaultEntries = 512
	defaultMedia   = 0xF8
	// Reserved sectors of FAT32 in use: boot sector, FSInfo, and copies at 6, 7.
	minReserved32 = 8
)

// complete checks the options other than Size and Offset and fills in defaults.
func (o Options) complete() (Options, error) {
	o.SectorSize = orDefault(o.SectorSize, 512)
	o.FATs = orDefault(o.FATs, 2)
	o.RootEntries = orDefault(o.RootEntries, defaultEntries)
	if o.Media == 0 {
		o.Media = defaultMedia
	}
	if o.Time == nil {
		now := time.Now()
		o.Time = &now
	}
	if o.ID == 0 {
		// mkfs.fat's idea: seconds and parts of them. Never 0, which blkid hides.
		o.ID = uint32(o.Time.Unix())<<8 ^ uint32(o.Time.UnixMicro()) | 1
	}
	var err error
	if o.Label, err = CleanLabel(o.Label); err != nil {
		return o, err
	}
	return o, o.check()
}

func orDefault(n, d int) int {
	if n == 0 {
		return d
	}
	return n
}

func (o Options) check() error {
	switch {
	case !powerOfTwo(o.SectorSize) || o.SectorSize < 512 || o.SectorSize > 4096:
		return fmt.Errorf("sector size %d: allowed are 512, 1024, 2048 and 4096", o.SectorSize)
	case o.Bits != 0 && o.Bits != 12 && o.Bits != 16 && o.Bits != 32:
		return fmt.Errorf("FAT of %d bits: allowed are 12, 16 and 32", o.Bits)
	case o.FATs != 1 && o.FATs != 2:
		return fmt.Errorf("%d FATs: allowed are 1 and 2", o.FATs)
	case o.RootEntries < 1 || o.RootEntries > 65535/128*128:
		return fmt.Errorf("%d root folder entries: allowed are 1 to %d", o.RootEntries, 65535/128*128)
	case o.Reserved < 0 || o.Reserved > 32768:
		return fmt.Errorf("%d reserved sectors: allowed are 1 to 32768", o.Reserved)
	case o.Media != 0xF0 && o.Media < 0xF8:
		return fmt.Errorf("media descriptor 0x%02X: allowed are 0xF0 and 0xF8 to 0xFF", o.Media)
	}
	return o.checkCluster()
}

func (o Options) checkCluster() error {
	n := o.SectorsPerCluster
	if n == 0 {
		return nil
	}
	if !powerOfTwo(n) || n > 128 {
		return fmt.Errorf("%d sectors per cluster: allowed are 1, 2, 4, 8, 16, 32, 64 and 128", n)
	}
	if n*o.SectorSize > clusterMax {
		return fmt.Errorf("%d sectors per cluster of %d bytes each: a cluster has at most %d bytes", n, o.SectorSize, clusterMax)
	}
	return nil
}

func powerOfTwo(n int) bool { return n > 0 && bits.OnesCount(uint(n)) == 1 }

// CleanLabel returns a volume label as it is written: in upper case, without
// spaces at the end; or an error that says what is allowed. mkfs.fat would take bytes of
// a code page too; readers do not agree on which, so ASCII it is.
func CleanLabel(label string) (string, error) {
	s := strings.TrimRight(label, " ")
	// Before upper case, which makes ASCII letters of some that are none.
	for i, r := range s {
		if r < ' ' || r > '~' || strings.ContainsRune(`"*+,./:;<=>?[\]|`, r) || r == ' ' && i == 0 {
			return "", fmt.Errorf("label %q: character %q is not allowed; allowed are letters, digits, inner spaces and !#$%%&'()-@^_`{}~", label, r)
		}
	}
	up := strings.ToUpper(s)
	if up == noLabel {
		return "", nil // what the boot sector says where there is none
	}
	if len(up) > labelMax {
		return "", fmt.Errorf("label %q: it has %d characters; at most %d are allowed", label, len(up), labelMax)
	}
	return up, nil
}

// ParseID reads a serial number: up to eight hexadecimal digits, or XXXX-XXXX as
// blkid shows it.
func ParseID(s string) (uint32, error) {
	digits := s
	if len(s) == 9 && s[4] == '-' {
		digits = s[:4] + s[5:]
	}
	id, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || len(digits) > 8 || id == 0 {
		return 0, badID(s)
	}
	return uint32(id), nil
}

func badID(s string) error {
	return fmt.Errorf("volume ID %q: allowed are 1 to 8 hexadecimal digits, not all zero, or XXXX-XXXX", s)
}

// FormatID returns a serial number as blkid shows it.
func FormatID(id uint32) string { return fmt.Sprintf("%04X-%04X", id>>16, id&0xFFFF) }
