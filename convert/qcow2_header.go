package convert

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// checkVersion refuses what a version 2 image cannot say.
func checkVersion(o Options) error {
	if !o.Format.Version2 {
		return nil
	}
	if o.Compress && o.Format.Compression != Zlib {
		return errors.New("a qcow2 image of version 2 (compat=0.10) is compressed with zlib only")
	}
	if o.Format.LazyRefcounts {
		return errors.New("a qcow2 image of version 2 (compat=0.10) has no lazy_refcounts")
	}
	return nil
}

// header is what the image begins with. Version 2 ends before the feature bits,
// its reference counts are always 16 bits wide; version 3 has the fields up to
// compression_type, and one extension that lets readers without zstd name what
// they miss.
func (w *qcow2Writer) header(refTable, refClusters int64) []byte {
	h := &headerBytes{b: make([]byte, 0, minCluster)}
	h.b = append(h.b, "QFI\xfb"...)
	version := int64(3)
	if w.options.Format.Version2 {
		version = 2
	}
	h.u32(version)
	h.u64(0) // no backing file
	h.u32(0)
	h.u32(int64(log2(w.cluster)))
	h.u64(roundUp(w.src.Size, 512))
	h.u32(0) // not encrypted
	h.u32(int64(len(w.l1)))
	h.u64(w.l1Offset)
	h.u64(refTable)
	h.u32(refClusters)
	h.u32(0) // no snapshots
	h.u64(0)
	if version == 3 {
		h.version3(w.options)
	}
	h.u64(0) // end of the extensions
	return h.b
}

// headerBytes collects big-endian numbers.
type headerBytes struct{ b []byte }

func (h *headerBytes) u32(v int64) { h.b = binary.BigEndian.AppendUint32(h.b, uint32(v)) }
func (h *headerBytes) u64(v int64) { h.b = binary.BigEndian.AppendUint64(h.b, uint64(v)) }

func (h *headerBytes) version3(o Options) {
	const headerLength, feature = 112, 1 << 3
	zstd := o.Compress && o.Format.Compression == Zstd
	h.u64(flag(zstd, feature))                // incompatible features
	h.u64(flag(o.Format.LazyRefcounts, 1<<0)) // compatible features
	h.u64(0)                                  // autoclear features
	h.u32(refcountOrder)
	h.u32(headerLength)
	h.u64(flag(zstd, 1<<56)) // compression_type is the first of these bytes
	if zstd {
		h.u32(0x6803f857) // feature name table: kind, bit, name in 46 bytes
		h.u32(48)
		name := make([]byte, 46)
		copy(name, "compression type")
		h.b = append(append(h.b, 0, 3), name...)
	}
}

func flag(on bool, v int64) int64 {
	if on {
		return v
	}
	return 0
}

// checkQcow2Options looks at what compat=0.10 forbids beside it.
func checkQcow2Options(o *FormatOptions, given map[string]bool) error {
	if !o.Version2 {
		return nil
	}
	if given["compression_type"] && o.Compression != Zlib {
		return fmt.Errorf("compat=0.10 cannot be had with compression_type=%s; allowed: zlib", o.Compression)
	}
	if o.LazyRefcounts {
		return errors.New("compat=0.10 cannot be had with lazy_refcounts=on")
	}
	o.Compression = Zlib
	return nil
}
