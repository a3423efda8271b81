package convert

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// StreamKinds are the ways in which Compress compresses, the usual one first.
func StreamKinds() []string { return []string{"gzip", "zstd", "xz", "none"} }

// Compress gives a writer that compresses what it gets to w, by several cores. What
// comes out depends on what goes in alone, not on the cores, and is what Linux reads
// as an initial ramdisk: one gzip member, one zstd frame with a window of 8 MiB, or
// one xz stream with CRC32. Close ends it, writes what is left and frees everything,
// after an error too; w is not closed.
func Compress(kind string, w io.Writer) (io.WriteCloser, error) {
	switch kind {
	case "gzip":
		return gzipCloser{newGzip(w, runtime.GOMAXPROCS(0))}, nil
	case "zstd":
		// Two of its stages run beside each other, always: with one it would
		// take another path, whose output need not be the same.
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(8<<20))
	case "xz":
		return newXz(w, runtime.GOMAXPROCS(0)), nil
	case "none":
		return plain{w}, nil
	}
	return nil, fmt.Errorf("compressing: unknown kind %q; allowed are %v", kind, StreamKinds())
}

type gzipCloser struct{ *gzipStream }

func (z gzipCloser) Close() error { return z.close() }

// plain leaves things as they are.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }
