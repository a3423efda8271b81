package convert

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// Target is what qcow2 is written to: an *os.File, open for writing.
type Target interface {
	io.WriterAt
	Truncate(size int64) error
}

// Limits of QEMU (docs/interop/qcow2, notes on implementation limits).
const maxL1Bytes = 32 << 20

// Bits of L1 and L2 entries.
const (
	entryCopied     = 1 << 63 // refcount is one
	entryCompressed = 1 << 62
)

// Qcow2 writes src into dst as a qcow2 image of version 3, or 2 with
// o.Format.Version2, after QEMU's specification docs/interop/qcow2. What was in
// dst is lost. The virtual size is that of the source, rounded up to sectors of
// 512 bytes.
//
// Holes and clusters of zeros are left unallocated. With o.Compress a cluster
// that gets smaller is compressed on its own and packed behind the one before,
// to the byte. Everything is appended in the order of the disk, so the bytes
// depend on the disk and the format options alone; the header is written last,
// and what an interrupted run leaves is no image. Memory depends on neither the
// disk's nor the image's size.
func Qcow2(ctx context.Context, dst Target, src Source, o Options) error {
	w, err := newQcow2(dst, src, o)
	if err != nil {
		return err
	}
	if err := dst.Truncate(0); err != nil {
		return fmt.Errorf("emptying the qcow2 image: %w", err)
	}
	p := w.pipeline(o)
	o.debug("writing qcow2", "compress", o.Compress, "type", o.Format.Compression,
		"cluster_size", w.cluster, "workers", len(p.workers))
	if err := p.run(ctx); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return err
	}
	o.progress(src.Size, src.Size)
	return nil
}

// part is one cluster of a job that holds data.
type part struct {
	index      int // of the cluster in the job
	from, to   int // where its bytes are in job.out, or in job.in when it is not compressed
	compressed bool
}

// qcow2Writer is the side that puts clusters into the file, in order.
type qcow2Writer struct {
	src     Source
	options Options
	cluster int64 // bytes
	host    *hostClusters
	file    *appender

	l1       []uint64
	l1Offset int64
	l2       []uint64 // the table being filled
	l2Index  int64    // its place in l1; -1 when there is none
	l2Offset int64
	raw      []byte // scratch for tables, one cluster

	packed int64 // where the next compressed cluster may begin; 0 when nowhere
}

func newQcow2(dst Target, src Source, o Options) (*qcow2Writer, error) {
	if err := checkVersion(o); err != nil {
		return nil, err
	}
	cluster := int64(o.Format.ClusterSize)
	if cluster == 0 {
		cluster = defaultCluster
	}
	perTable := cluster / 8
	tables := max(1, roundUp(src.Size, cluster*perTable)/(cluster*perTable))
	if tables*8 > maxL1Bytes {
		return nil, fmt.Errorf("a disk of %d bytes with cluster_size=%d: QEMU opens at most %d bytes with it; allowed: larger clusters, up to 2M",
			src.Size, cluster, maxL1Bytes/8*perTable*cluster)
	}
	file := &appender{dst: dst}
	w := &qcow2Writer{src: src, options: o, cluster: cluster, file: file, host: newHostClusters(file, cluster),
		l1: make([]uint64, tables), l2: make([]uint64, perTable), l2Index: -1, raw: make([]byte, cluster)}
	if _, err := w.host.alloc(1); err != nil { // the header
		return nil, err
	}
	var err error
	w.l1Offset, err = w.host.alloc(roundUp(tables*8, cluster) / cluster)
	return w, err
}

// pipeline cuts the disk into stretches large enough that a hand-over costs
// nothing, and lets the workers run well ahead: on a busy machine one of them
// may be stopped for long in the midst of the stretch that is next.
func (w *qcow2Writer) pipeline(o Options) *pipeline {
	chunk := max(int(w.cluster), 1<<20)
	cost, worker := chunk, 0
	if o.Compress {
		chunk = max(int(w.cluster), 256<<10)
		cost, worker = 2*chunk+chunk/8, encoderCost
	}
	n := o.workerCount(2*cost + worker)
	p := &pipeline{src: w.src, chunk: chunk, align: int(w.cluster), sink: w.put, after: w.writeRuns,
		depth: max(2*n+1, min(8*n+8, jobMemory/cost))}
	for range n {
		p.workers = append(p.workers, newClusterWork(int(w.cluster), o))
	}
	return p
}

// put is the sink: it appends the clusters of a job and notes where they are.
func (w *qcow2Writer) put(j *job) error {
	j.runs = j.runs[:0]
	for _, p := range j.parts {
		guest := j.off/w.cluster + int64(p.index)
		if err := w.selectL2(guest / int64(len(w.l2))); err != nil {
			return err
		}
		var entry uint64
		var err error
		if p.compressed {
			entry, err = w.putCompressed(j.out[p.from:p.to])
		} else {
			entry, err = w.putPlain(j, p)
		}
		if err != nil {
			return err
		}
		w.l2[guest%int64(len(w.l2))] = entry
	}
	w.options.progress(j.off+int64(len(j.in)), w.src.Size)
	return nil
}

// selectL2 makes the table with this place in L1 the one to be filled. Its
// cluster is taken before those of its data, so that packed data is not cut in
// the middle of a table's stretch.
func (w *qcow2Writer) selectL2(index int64) (err error) {
	if index == w.l2Index {
		return nil
	}
	if err := w.flushL2(); err != nil {
		return err
	}
	w.l2Offset, err = w.host.alloc(1)
	w.l2Index = index
	w.l1[index] = uint64(w.l2Offset) | entryCopied
	return err
}

func (w *qcow2Writer) flushL2() error {
	if w.l2Index < 0 {
		return nil
	}
	putTable(w.raw, w.l2)
	clear(w.l2)
	return w.file.write(w.l2Offset, w.raw)
}

// putPlain finds the place for a cluster and leaves the writing to writeRuns.
// Clusters side by side on the disk and in the image are written as one.
func (w *qcow2Writer) putPlain(j *job, p part) (uint64, error) {
	off, err := w.host.alloc(1)
	if err != nil {
		return 0, err
	}
	entry := uint64(off) | entryCopied
	if n := len(j.runs); n > 0 {
		if r := &j.runs[n-1]; r.to == p.from && r.off+int64(r.to-r.from) == off {
			r.to = p.to
			return entry, nil
		}
	}
	j.runs = append(j.runs, plainRun{off, p.from, p.to})
	return entry, nil
}

// plainRun is where job.in[from:to] goes in the image.
type plainRun struct {
	off      int64
	from, to int
}

// writeRuns is called for several jobs at a time.
func (w *qcow2Writer) writeRuns(j *job) error {
	for _, r := range j.runs {
		if err := w.file.writeAt(r.off, j.in[r.from:r.to]); err != nil {
			return err
		}
	}
	return nil
}

// putCompressed packs data behind the last compressed cluster: into what is
// left of that one's host cluster, running on into the next where that follows
// at once, else at the start of a new one.
func (w *qcow2Writer) putCompressed(data []byte) (uint64, error) {
	size := int64(len(data))
	if left := roundUp(w.packed, w.cluster) - w.packed; left < size {
		next, err := w.host.reserve(1)
		if err != nil {
			return 0, err
		}
		if next != w.packed+left || left == 0 {
			w.packed = next
		}
	}
	off := w.packed
	w.packed += size
	sectors := (off+size-1)/512 - off/512
	w.host.use(off, off+size) // whole sectors would touch the same clusters
	shift := 62 - (log2(w.cluster) - 8)
	return entryCompressed | uint64(sectors)<<shift | uint64(off), w.file.write(off, data)
}

// finish writes what is known only now: the last L2 table, L1, reference
// counts and the header, and fills the file up to whole clusters.
func (w *qcow2Writer) finish() error {
	if err := w.flushL2(); err != nil {
		return err
	}
	table, clusters, end, err := w.host.finish()
	if err != nil {
		return err
	}
	if err := w.file.writeTable(w.l1Offset, w.l1); err != nil {
		return err
	}
	if err := w.file.flush(); err != nil {
		return err
	}
	if err := w.file.dst.Truncate(end); err != nil {
		return fmt.Errorf("setting the size of the qcow2 image to %d bytes: %w", end, err)
	}
	if _, err := w.file.dst.WriteAt(w.header(table, clusters), 0); err != nil {
		return fmt.Errorf("writing the header of the qcow2 image: %w", err)
	}
	return nil
}

func putTable(b []byte, table []uint64) {
	for i, e := range table {
		binary.BigEndian.PutUint64(b[i*8:], e)
	}
}

func log2(n int64) int {
	bits := 0
	for n > 1 {
		n >>= 1
		bits++
	}
	return bits
}
