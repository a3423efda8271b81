package blockdev

import (
	"fmt"
	"strconv"
	"strings"
)

// xfsModel is the fsModel of xfs. Inodes come as they are needed; the log and
// what the kernel keeps back are most of the cost.
type xfsModel struct{}

const (
	xfsSmallest = 300 * mib // mkfs.xfs refuses less since 5.19
	xfsReserve  = 40 * mib  // the kernel's reserve pool, allocation group headers, trees
)

func (xfsModel) settle(*FSPlan) {}

func (xfsModel) least(f *FSPlan) (int64, error) {
	// Small folders lie in the inode, too.
	content := max(0, f.Content.Bytes-f.Content.Inline-f.Content.Dirs*blockSize) + f.Content.Inodes*512
	return max(xfsSmallest, xfsForLog(f), content+xfsLog(f)), nil
}

func (xfsModel) wants(f *FSPlan, room int64) (int64, error) {
	need := f.Content.Bytes + room + f.Content.Inodes*640 + xfsReserve + xfsLog(f)
	return max(xfsSmallest, xfsForLog(f), need+need/32), nil // reverse maps and reservations of the reflink tree
}

// xfsForLog is the size in which the log fits into one of four allocation groups.
func xfsForLog(f *FSPlan) int64 { return 4 * (xfsLog(f) + 8*mib) }

// xfsLog is the size of the log: what mkfs.xfs takes, said aloud so that other
// versions take the same.
func xfsLog(f *FSPlan) int64 {
	for i, w := range f.Options {
		v := strings.TrimPrefix(w, "-l")
		if w == "-l" && i+1 < len(f.Options) {
			v = f.Options[i+1]
		} else if v == w {
			continue
		}
		for _, s := range strings.Split(v, ",") {
			size, found := strings.CutPrefix(s, "size=")
			if n := xfsSize(size); found && n > 0 {
				return n
			}
		}
	}
	return min(max(f.Size/2048, 64*mib), gib) / mib * mib
}

// xfsSize reads a size as mkfs.xfs does, 0 where it is of another form.
func xfsSize(s string) int64 {
	unit := int64(1)
	if s != "" {
		switch s[len(s)-1] {
		case 'b':
			unit = blockSize
		case 'k':
			unit = kib
		case 'm':
			unit = mib
		case 'g':
			unit = gib
		}
	}
	n, err := strconv.ParseInt(strings.TrimRight(s, "bkmg"), 10, 32)
	if err != nil || n <= 0 {
		return 0
	}
	return n * unit
}

// XFS is what the command line of mkfs.xfs needs beside the plan.
type XFS struct {
	Target  string // a device, or a file of the file system's size
	Version [2]int // of mkfs.xfs (mkfs.xfs -V), such as 6, 1
}

// XFSCommand returns the arguments of mkfs.xfs. The features are those that the
// plan's profile names, not those of the host's version; the user's options
// come last and win: mkfs.xfs takes no suboption twice, so ours give way.
func XFSCommand(fs FSPlan, x XFS) []string {
	ours := map[string][]string{
		"m": {"crc=1", "finobt=1", "uuid=" + fs.UUID},
		"i": {"sparse=1"},
		"n": {"ftype=1"},
		"l": {fmt.Sprintf("size=%dm", xfsLog(&fs)/mib)},
	}
	add := func(from [2]int, flag, feature string) {
		if x.Version[0] > from[0] || x.Version[0] == from[0] && x.Version[1] >= from[1] {
			ours[flag] = append(ours[flag], feature)
		}
	}
	on := map[bool]string{true: "=1", false: "=0"}
	recent := fs.Profile != profileOld
	if !recent {
		ours["m"], ours["i"] = []string{"crc=1", "finobt=0", "uuid=" + fs.UUID}, []string{"sparse=0"}
	}
	add([2]int{4, 9}, "m", "rmapbt=0")
	add([2]int{4, 9}, "m", "reflink"+on[recent])
	add([2]int{5, 10}, "m", "bigtime"+on[recent])
	add([2]int{5, 10}, "m", "inobtcount"+on[recent])
	add([2]int{5, 19}, "i", "nrext64=0")
	add([2]int{6, 10}, "i", "exchange=0")
	add([2]int{6, 10}, "n", "parent=0")
	args := []string{"-q", "-f", "-K", "-L", fs.Label, "-s", fmt.Sprintf("size=%d", fs.SectorSize)}
	user := xfsSuboptions(fs.Options)
	for _, flag := range []string{"m", "i", "n", "l"} {
		var kept []string
		for _, o := range ours[flag] {
			name, _, _ := strings.Cut(o, "=")
			if !user[flag+name] {
				kept = append(kept, o)
			}
		}
		if len(kept) > 0 {
			args = append(args, "-"+flag, strings.Join(kept, ","))
		}
	}
	args = append(args, fs.Options...)
	return append(args, x.Target)
}

// xfsSuboptions returns the flag and name of every suboption that is set.
func xfsSuboptions(words []string) map[string]bool {
	set := map[string]bool{}
	flag := ""
	for _, w := range words {
		v := w
		if strings.HasPrefix(w, "-") && len(w) >= 2 {
			flag, v = w[1:2], w[2:]
		}
		for _, o := range strings.Split(v, ",") {
			name, _, _ := strings.Cut(o, "=")
			set[flag+name] = true
		}
	}
	return set
}
