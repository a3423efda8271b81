package ext4

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ArgsError is an option of mke2fs that is not understood here. mke2fs may know
// it.
type ArgsError struct{ Arg, Why string }

func (e *ArgsError) Error() string { return fmt.Sprintf("option %q of mke2fs: %s", e.Arg, e.Why) }

// flag is one option of mke2fs(8).
type flag struct {
	value bool // it takes one
	set   func(o *Options, v string) error
}

func whole(to *int64) func(v string) error {
	return func(v string) (err error) {
		if *to, err = strconv.ParseInt(v, 10, 63); err == nil && *to <= 0 {
			err = strconv.ErrRange
		}
		return err
	}
}

func small(to *int, v string) error {
	var n int64
	err := whole(&n)(v)
	*to = int(n)
	return err
}

// flags are the options that a file system can be described with here. -T, -c
// and others are not among them.
var flags = map[byte]flag{
	'b': {true, func(o *Options, v string) error { return small(&o.BlockSize, v) }},
	'E': {true, setExtended},
	'F': {false, func(*Options, string) error { return nil }},
	'G': {true, func(o *Options, v string) error { return small(&o.FlexGroups, v) }},
	'i': {true, func(o *Options, v string) error { return whole(&o.BytesPerInode)(v) }},
	'I': {true, func(o *Options, v string) error { return small(&o.InodeSize, v) }},
	'J': {true, setJournal},
	'L': {true, func(o *Options, v string) error { o.Label = v; return nil }},
	'm': {true, setReserved},
	'M': {true, func(o *Options, v string) error { o.LastMounted = v; return nil }},
	'N': {true, func(o *Options, v string) error { return whole(&o.Inodes)(v) }},
	'O': {true, func(o *Options, v string) error { return o.Features.change(v) }},
	'q': {false, func(*Options, string) error { return nil }},
	't': {true, setType},
	'U': {true, func(o *Options, v string) error { return parseUUID(v, &o.UUID) }},
	'v': {false, func(*Options, string) error { return nil }},
}

// ParseArgs reads mke2fs' options, one or two words each, into o, as far as
// they can be had here; the first other one is an *ArgsError. The type (-t)
// comes first and brings the features that the profiles of this project give
// it, which -O then changes.
func ParseArgs(words []string, o *Options) error {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if len(word) < 2 || word[0] != '-' {
			return &ArgsError{word, "it is no option"}
		}
		f, known := flags[word[1]]
		if !known || !f.value && len(word) > 2 {
			return &ArgsError{word, "not known here"}
		}
		value := word[2:]
		if f.value && value == "" {
			if len(words) == 0 {
				return &ArgsError{word, "it needs a value"}
			}
			value, words = words[0], words[1:]
		}
		err := f.set(o, value)
		if errors.As(err, new(*ArgsError)) {
			return err
		}
		if err != nil {
			return &ArgsError{"-" + word[1:2] + " " + value, err.Error()}
		}
	}
	return nil
}

func setType(o *Options, v string) error {
	types := map[string]func() Features{"ext2": Ext2, "ext3": Ext3, "ext4": Ext4}
	features, ok := types[v]
	if !ok {
		return fmt.Errorf("allowed: ext2, ext3, ext4")
	}
	o.Features = features()
	return nil
}

func setReserved(o *Options, v string) error {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n >= 0 && n <= 50) { // nor NaN
		return fmt.Errorf("allowed: 0 to 50")
	}
	if o.Reserved = n; n == 0 {
		o.Reserved = -1
	}
	return nil
}

func setJournal(o *Options, v string) error {
	size, ok := strings.CutPrefix(v, "size=")
	if !ok {
		return fmt.Errorf("allowed: size=MEGABYTES")
	}
	if err := whole(&o.JournalSize)(size); err != nil {
		return err
	}
	if o.JournalSize > 1<<30 {
		return strconv.ErrRange
	}
	o.JournalSize <<= 20
	return nil
}

// setExtended reads -E. What says how mke2fs is to write says nothing here.
func setExtended(o *Options, v string) error {
	for word := range strings.SplitSeq(v, ",") {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "", "nodiscard", "discard", "lazy_itable_init", "lazy_journal_init", "assume_storage_prezeroed":
		case "hash_seed":
			err = parseUUID(value, &o.HashSeed)
		case "resize":
			err = whole(&o.ResizeBlocks)(value)
		case "root_owner":
			o.RootOwner, err = parseOwner(value)
		case "offset":
			o.Offset, err = strconv.ParseInt(value, 10, 63)
		default:
			return &ArgsError{"-E " + name, "not known here"}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseOwner reads UID:GID; "": whoever runs this, as mke2fs has it.
func parseOwner(v string) (*Owner, error) {
	if v == "" {
		return &Owner{uint32(os.Getuid()), uint32(os.Getgid())}, nil
	}
	user, group, ok := strings.Cut(v, ":")
	uid, err := strconv.ParseUint(user, 10, 32)
	gid, err2 := strconv.ParseUint(group, 10, 32)
	if !ok || err != nil || err2 != nil {
		return nil, fmt.Errorf("root_owner %q: allowed: UID:GID", v)
	}
	return &Owner{uint32(uid), uint32(gid)}, nil
}

func parseUUID(v string, to *[16]byte) error {
	b, err := hex.DecodeString(strings.ReplaceAll(v, "-", ""))
	if err != nil || len(b) != 16 || len(v) != 36 {
		return fmt.Errorf("it is no UUID")
	}
	copy(to[:], b)
	return nil
}

// featureNames are mke2fs'.
var featureNames = map[string]Features{
	"has_journal": {Compat: HasJournal}, "ext_attr": {Compat: ExtAttr}, "resize_inode": {Compat: ResizeInode},
	"dir_index": {Compat: DirIndex}, "orphan_file": {Compat: OrphanFile},
	"filetype": {Incompat: FileType}, "meta_bg": {Incompat: MetaBG}, "extent": {Incompat: Extents},
	"extents": {Incompat: Extents}, "64bit": {Incompat: Bit64}, "flex_bg": {Incompat: FlexBG}, "metadata_csum_seed": {Incompat: CsumSeed},
	"sparse_super": {ROCompat: SparseSuper}, "large_file": {ROCompat: LargeFile}, "huge_file": {ROCompat: HugeFile},
	"uninit_bg": {ROCompat: GDTCsum}, "dir_nlink": {ROCompat: DirNlink}, "extra_isize": {ROCompat: ExtraIsize},
	"metadata_csum": {ROCompat: MetadataCsum},
}

// change reads the value of -O: names of features to add, with ^ before them to
// take away.
func (f *Features) change(v string) error {
	for word := range strings.SplitSeq(v, ",") {
		name, off := strings.CutPrefix(word, "^")
		bits, known := featureNames[name]
		switch {
		case word == "":
		case !known:
			return fmt.Errorf("feature %q is not known here", name)
		case off:
			f.Compat, f.Incompat, f.ROCompat = f.Compat&^bits.Compat, f.Incompat&^bits.Incompat, f.ROCompat&^bits.ROCompat
		default:
			f.Compat, f.Incompat, f.ROCompat = f.Compat|bits.Compat, f.Incompat|bits.Incompat, f.ROCompat|bits.ROCompat
		}
	}
	return nil
}
