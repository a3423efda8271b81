package convert

import (
	"encoding/binary"
	"fmt"
)

// appender writes to a file what mostly goes to its end, in large pieces.
type appender struct {
	dst Target
	off int64 // where buf belongs
	buf []byte
}

const appendSize = 1 << 20

// write takes p over; its place may be anywhere.
func (a *appender) write(off int64, p []byte) error {
	if off != a.off+int64(len(a.buf)) || len(a.buf)+len(p) > appendSize {
		if err := a.flush(); err != nil {
			return err
		}
		a.off = off
	}
	if len(p) >= appendSize {
		return a.writeAt(off, p)
	}
	if a.buf == nil {
		a.buf = make([]byte, 0, appendSize)
	}
	a.buf = append(a.buf, p...)
	return nil
}

func (a *appender) flush() error {
	if len(a.buf) == 0 {
		return nil
	}
	p := a.buf
	a.buf = a.buf[:0]
	return a.writeAt(a.off, p)
}

func (a *appender) writeAt(off int64, p []byte) error {
	if _, err := a.dst.WriteAt(p, off); err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	return nil
}

// writeTable writes numbers of eight bytes.
func (a *appender) writeTable(off int64, table []uint64) error {
	const step = 8 << 10
	b := make([]byte, 8*min(step, len(table)))
	for len(table) > 0 {
		n := min(step, len(table))
		putTable(b, table[:n])
		if err := a.write(off, b[:8*n]); err != nil {
			return err
		}
		table, off = table[n:], off+int64(8*n)
	}
	return nil
}

// Reference counts are 16 bits wide, QEMU's own choice. No host cluster is
// shared by more compressed clusters than that can tell: the smallest that our
// zstd makes of a cluster of 2 MiB is 73 bytes, of 64 KiB 11.
const (
	refcountOrder = 4
	refcountBytes = 1 << refcountOrder / 8
)

// hostClusters hands out the clusters of the file, from front to back, and
// counts references. The block that counts a stretch of clusters takes its own
// cluster when the first of the stretch is handed out, stays in memory while
// clusters of the stretch may gain references, and is written then.
type hostClusters struct {
	file    *appender
	cluster int64 // bytes
	next    int64 // the first free cluster
	packing int64 // the cluster that compressed data is being put into; -1 when none

	table []uint64           // where each block is
	open  map[int64][]uint16 // the blocks still in memory, by place in table
	spare []uint16
	raw   []byte
}

func newHostClusters(file *appender, cluster int64) *hostClusters {
	return &hostClusters{file: file, cluster: cluster, packing: -1,
		open: map[int64][]uint16{}, raw: make([]byte, cluster)}
}

// perBlock is the number of clusters that one block counts.
func (h *hostClusters) perBlock() int64 { return h.cluster / refcountBytes }

// alloc gives n clusters in a row, used once, as an offset in the file.
func (h *hostClusters) alloc(n int64) (int64, error) {
	off, err := h.reserve(n)
	for i := range n {
		h.count(off/h.cluster + i)
	}
	return off, err
}

// reserve is alloc without a reference, for compressed data, which counts by use.
func (h *hostClusters) reserve(n int64) (int64, error) {
	start := h.next
	h.next += n
	first := len(h.table)
	for int64(len(h.table))*h.perBlock() < h.next {
		h.open[int64(len(h.table))] = h.newBlock()
		h.table = append(h.table, uint64(h.next*h.cluster))
		h.next++
	}
	for _, off := range h.table[first:] {
		h.count(int64(off) / h.cluster)
	}
	if first == len(h.table) {
		return start * h.cluster, nil
	}
	return start * h.cluster, h.writeBlocks(func(i int64) bool {
		return i < start/h.perBlock() && i != h.packing/h.perBlock()
	})
}

// use counts a reference to each cluster that [from, to) touches, and has the
// last of them as the one that may be used again.
func (h *hostClusters) use(from, to int64) {
	h.packing = (to - 1) / h.cluster
	for c := from / h.cluster; c <= h.packing; c++ {
		h.count(c)
	}
}

func (h *hostClusters) count(c int64) {
	h.open[c/h.perBlock()][c%h.perBlock()]++
}

func (h *hostClusters) newBlock() []uint16 {
	if b := h.spare; b != nil {
		h.spare = nil
		clear(b)
		return b
	}
	return make([]uint16, h.perBlock())
}

// writeBlocks writes and forgets the open blocks that are done.
func (h *hostClusters) writeBlocks(done func(i int64) bool) error {
	for i, b := range h.open {
		if !done(i) {
			continue
		}
		for k, n := range b {
			binary.BigEndian.PutUint16(h.raw[k*refcountBytes:], n)
		}
		if err := h.file.write(int64(h.table[i]), h.raw); err != nil {
			return err
		}
		delete(h.open, i)
		h.spare = b
	}
	return nil
}

// finish takes and writes the refcount table, which also counts itself, and
// all blocks that are left. It gives the table's place, its length in clusters
// and the end of the file.
func (h *hostClusters) finish() (table, clusters, end int64, err error) {
	clusters = h.tableClusters()
	if table, err = h.alloc(clusters); err != nil {
		return 0, 0, 0, err
	}
	if err = h.writeBlocks(func(int64) bool { return true }); err != nil {
		return 0, 0, 0, err
	}
	return table, clusters, h.next * h.cluster, h.file.writeTable(table, h.table)
}

// tableClusters is the length of a table that has room for the blocks there
// are and for those that taking the table itself will add.
func (h *hostClusters) tableClusters() int64 {
	for n := int64(1); ; {
		used, blocks := h.next+n, int64(len(h.table))
		for blocks*h.perBlock() < used {
			blocks++
			used++
		}
		need := roundUp(blocks*8, h.cluster) / h.cluster
		if need <= n {
			return n
		}
		n = need
	}
}
