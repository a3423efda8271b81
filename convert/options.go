package convert

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options rule how a disk is written. The zero value works: qcow2 with zstd
// and clusters of 64 KiB, but not compressed; all cores.
type Options struct {
	// Compress compresses the data clusters of formats that can.
	Compress bool
	// Format holds what ParseOptions made of the user's words.
	Format FormatOptions
	// Progress, when set, hears how many bytes of the disk are behind the
	// writer, holes counted, and how long the disk is. It is called often, and
	// never twice at a time.
	Progress func(done, total int64)
	// Workers is the number of goroutines that read and compress: all cores
	// when 0. Output does not depend on it. Less are used where they would
	// take more than about 100 MiB of memory.
	Workers int
	// Time is written as the time of making by the formats that have one; the
	// present when zero. With it, equal disks give equal bits.
	Time time.Time
	// ID is the image's own identity in the formats that have one. When zero it
	// is derived from the format and the disk's size and first 64 KiB, which
	// hold the identity of its partition table.
	ID [16]byte
	// Logger, when set, hears at debug level what was decided.
	Logger *slog.Logger
}

func (o Options) now() time.Time {
	if o.Time.IsZero() {
		return time.Now()
	}
	return o.Time
}

// imageID is o.ID or one that is derived; purpose tells those of one image
// apart. It has the form of a UUID of version 8 (RFC 9562), which says that its
// bits are nobody else's business.
func (o Options) imageID(purpose string, src Source) ([16]byte, error) {
	if o.ID != [16]byte{} {
		return o.ID, nil
	}
	start := make([]byte, 64<<10)
	if err := src.read(start, 0); err != nil {
		return o.ID, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "lithify %s %d\n", purpose, src.Size)
	h.Write(start)
	id := [16]byte(h.Sum(nil))
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return id, nil
}

func (o Options) progress(done, total int64) {
	if o.Progress != nil {
		o.Progress(min(done, total), total)
	}
}

func (o Options) debug(msg string, args ...any) {
	if o.Logger != nil {
		o.Logger.Debug(msg, args...)
	}
}

// TreeOptions rule how a tree is written. The zero value works.
type TreeOptions struct {
	// Exclude holds patterns (path.Match) of paths below the root, without a
	// slash in front. What matches is left out with everything in it: "dev/*"
	// empties the folder dev and keeps it.
	Exclude []string
	// Time, when set, is the latest time of change that is written; later ones
	// become it. It makes archives of equal trees equal.
	Time time.Time
	// Progress, when set, hears how many bytes of files' content are behind
	// the writer. The total is not known beforehand and given as 0.
	Progress func(done, total int64)
	// Format holds what ParseOptions made of the user's words.
	Format FormatOptions
	// Workers is the number of goroutines that look at and read files ahead of
	// the writer: twice the cores when 0. Output does not depend on it.
	Workers int
	// Logger, when set, hears at debug level what was left out.
	Logger *slog.Logger
}

// FormatOptions are what -o gives to `qemu-img convert`, as far as we have it,
// and the like for other formats. Each format looks at its own.
type FormatOptions struct {
	// Compression is the type of compressed clusters.
	Compression Compression
	// ClusterSize in bytes, a power of two from 512 to 2 MiB; 0 is 64 KiB.
	ClusterSize int
	// LazyRefcounts lets a hypervisor postpone reference counts. It only sets
	// a flag: what is written here is complete.
	LazyRefcounts bool
	// Version2 makes a qcow2 image for QEMU before 1.1. It has neither lazy
	// reference counts nor Zstd.
	Version2 bool
	// SquashfsCompressor is a compressor of mksquashfs; "" is zstd.
	SquashfsCompressor string
}

// Compression is a compression type of qcow2.
type Compression int

const (
	Zstd Compression = iota // the default: smaller than Zlib and far quicker
	Zlib                    // for readers older than QEMU 5.1
)

func (c Compression) String() string {
	return [...]string{"zstd", "zlib"}[c]
}

const (
	minCluster     = 512
	maxCluster     = 2 << 20
	defaultCluster = 64 << 10
)

// option parses one value into a FormatOptions.
type option struct {
	name, allowed string
	set           func(o *FormatOptions, value string) bool
}

var qcow2Options = []option{
	{"compression_type", "zstd, zlib", setCompression},
	{"cluster_size", "a power of two from 512 to 2M", setClusterSize},
	{"lazy_refcounts", "on, off", setLazy},
	{"compat", "1.1, v3, 0.10, v2", setCompat},
	{"preallocation", "off (others are not supported yet)", words("off")},
	{"refcount_bits", "16 (others are not supported yet)", words("16")},
	{"extended_l2", "off (on is not supported yet)", words("off")},
}

// ParseOptions reads the comma list KEY=VALUE,… of --qemu-img-options, in
// QEMU's grammar, for one format. Formats without options accept only "". The
// last of two equal keys counts, as with qemu-img.
func ParseOptions(format, s string) (FormatOptions, error) {
	f := Format{Name: format}
	for _, known := range formats {
		if known.Name == format {
			f = known
		}
	}
	if len(f.options) == 0 && strings.Trim(s, ",") != "" {
		return FormatOptions{}, fmt.Errorf("option %q of format %s: %s takes no options", strings.Trim(s, ","), format, format)
	}
	return parseOptions([]Format{f}, f.options, s)
}

// ParseAllOptions is ParseOptions for a run that makes several formats: each
// option goes to those that have it, and all of these must take its value. An
// option that only formats not asked for have is passed over; one that none
// has is a mistake.
func ParseAllOptions(asked []Format, s string) (FormatOptions, error) {
	var all []option
	for _, f := range formats {
		all = append(all, f.options...)
	}
	return parseOptions(asked, all, s)
}

// parseOptions lets every format of the list take its options from s. A key
// that is not in all is a mistake.
func parseOptions(list []Format, all []option, s string) (FormatOptions, error) {
	var o FormatOptions
	given := map[string]bool{}
	for item := range strings.SplitSeq(s, ",") {
		if item == "" {
			continue // also what a trailing comma leaves
		}
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			value = "on" // QEMU's short form of a switch
		}
		given[key] = true
		if err := knownOption(all, key); err != nil {
			return FormatOptions{}, fmt.Errorf("option %q%s: %w", item, ofFormats(list), err)
		}
		for _, f := range list {
			if err := f.setOption(&o, key, value); err != nil {
				return FormatOptions{}, fmt.Errorf("option %q of format %s: %w", item, f.Name, err)
			}
		}
	}
	for _, f := range list {
		if f.check == nil {
			continue
		}
		if err := f.check(&o, given); err != nil {
			return FormatOptions{}, fmt.Errorf("options %q of format %s: %w", s, f.Name, err)
		}
	}
	return o, nil
}

// ofFormats names the format where there is one only.
func ofFormats(list []Format) string {
	if len(list) != 1 {
		return ""
	}
	return " of format " + list[0].Name
}

func knownOption(all []option, key string) error {
	var names []string
	for _, k := range all {
		if k.name == key {
			return nil
		}
		if !slices.Contains(names, k.name) {
			names = append(names, k.name)
		}
	}
	return fmt.Errorf("unknown option%s; allowed: %s", didYouMean(key, names), strings.Join(names, ", "))
}

// setOption sets a value if the format has such an option.
func (f Format) setOption(o *FormatOptions, key, value string) error {
	for _, k := range f.options {
		if k.name == key && !k.set(o, value) {
			return fmt.Errorf("value %q is not supported; allowed: %s", value, k.allowed)
		}
	}
	return nil
}

func setCompression(o *FormatOptions, v string) bool {
	switch v {
	case "zstd":
		o.Compression = Zstd
	case "zlib":
		o.Compression = Zlib
	default:
		return false
	}
	return true
}

func setClusterSize(o *FormatOptions, v string) bool {
	n, ok := parseSize(v)
	if !ok || n < minCluster || n > maxCluster || n&(n-1) != 0 {
		return false
	}
	o.ClusterSize = int(n)
	return true
}

func setLazy(o *FormatOptions, v string) bool {
	o.LazyRefcounts = v == "on" || v == "yes" || v == "true" || v == "y"
	return o.LazyRefcounts || v == "off" || v == "no" || v == "false" || v == "n"
}

// setCompat knows QEMU's names of the two versions that are in use.
func setCompat(o *FormatOptions, v string) bool {
	o.Version2 = v == "0.10" || v == "v2"
	return o.Version2 || v == "1.1" || v == "v3"
}

// words accepts values that ask for what is done anyway.
func words(allowed ...string) func(*FormatOptions, string) bool {
	return func(_ *FormatOptions, v string) bool {
		for _, w := range allowed {
			if v == w {
				return true
			}
		}
		return false
	}
}

// parseSize reads a size as QEMU's tools do: a number of bytes, decimal or
// 0x…, or a number, maybe with a fraction, and one of the suffixes B, K, M, G,
// T (powers of 1024), in either case.
func parseSize(s string) (int64, bool) {
	if rest, hex := strings.CutPrefix(strings.ToLower(s), "0x"); hex {
		n, err := strconv.ParseUint(rest, 16, 62)
		return int64(n), err == nil
	}
	num, shift := s, 0
	if s != "" {
		if i := strings.IndexByte("BKMGT", s[len(s)-1]&^0x20); i >= 0 {
			num, shift = s[:len(s)-1], 10*i
		}
	}
	whole, frac, _ := strings.Cut(num, ".")
	if whole == "" || strings.Trim(whole+frac, "0123456789") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(num, 64)
	f *= float64(int64(1) << shift)
	return int64(f), err == nil && f < 1<<62 && f == float64(int64(f))
}
