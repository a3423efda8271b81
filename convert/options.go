package convert

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
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
	// Logger, when set, hears at debug level what was decided.
	Logger *slog.Logger
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

// FormatOptions are what -o gives to `qemu-img convert`, as far as we have it.
type FormatOptions struct {
	// Compression is the type of compressed clusters.
	Compression Compression
	// ClusterSize in bytes, a power of two from 512 to 2 MiB; 0 is 64 KiB.
	ClusterSize int
	// LazyRefcounts lets a hypervisor postpone reference counts. It only sets
	// a flag: what is written here is complete.
	LazyRefcounts bool
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
	{"compat", "1.1, v3 (0.10 and v2 are not supported yet)", words("1.1", "v3")},
	{"preallocation", "off (others are not supported yet)", words("off")},
	{"refcount_bits", "16 (others are not supported yet)", words("16")},
	{"extended_l2", "off (on is not supported yet)", words("off")},
}

// ParseOptions reads the comma list KEY=VALUE,… of --qemu-img-options, in
// QEMU's grammar, for one format. Formats without options accept only "". The
// last of two equal keys counts, as with qemu-img.
func ParseOptions(format, s string) (FormatOptions, error) {
	var o FormatOptions
	var known []option
	if format == "qcow2" {
		known = qcow2Options
	}
	for item := range strings.SplitSeq(s, ",") {
		if item == "" {
			continue // also what a trailing comma leaves
		}
		if err := setOption(&o, known, format, item); err != nil {
			return FormatOptions{}, fmt.Errorf("option %q of format %s: %w", item, format, err)
		}
	}
	return o, nil
}

func setOption(o *FormatOptions, known []option, format, item string) error {
	if len(known) == 0 {
		return fmt.Errorf("%s takes no options", format)
	}
	key, value, ok := strings.Cut(item, "=")
	if !ok {
		value = "on" // QEMU's short form of a switch
	}
	var names []string
	for _, k := range known {
		if names = append(names, k.name); k.name != key {
			continue
		}
		if !k.set(o, value) {
			return fmt.Errorf("value %q is not supported; allowed: %s", value, k.allowed)
		}
		return nil
	}
	return fmt.Errorf("unknown option%s; allowed: %s", didYouMean(key, names), strings.Join(names, ", "))
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
