package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"math"
	"os"

	"github.com/klauspost/compress/flate"
)

// vmdkLevel is klauspost's: as small as zlib's default, a grain at a time.
const vmdkLevel = 6

// vmdkStream writes the subformat streamOptimized: grains in the order of the
// disk, each a marker and a zlib stream (RFC 1950) filled up to sectors, a table
// behind the grains that it leads to, the directory behind all, and a footer.
func vmdkStream(ctx context.Context, dst *os.File, src Source, o Options) error {
	w := &vmdkStreamWriter{file: &appender{dst: dst}, next: vmdkOverhead, table: -1, src: src, options: o,
		directory: make([]uint32, vmdkTables(src.Size))}
	p := &pipeline{src: src, chunk: 4 * vmdkGrain, align: vmdkGrain, sink: w.put}
	n := o.workerCount(3*p.chunk + encoderCost)
	p.depth = max(2*n+1, 8*n)
	for range n {
		p.workers = append(p.workers, new(vmdkGrains).work)
	}
	if err := p.run(ctx); err != nil {
		return err
	}
	return w.finish()
}

// vmdkGrains is a worker: it makes the grains of a stretch.
type vmdkGrains struct{ enc *flate.Writer }

func (g *vmdkGrains) work(j *job) error {
	if err := plainClusters(j, vmdkGrain); err != nil {
		return err
	}
	out := blockBuffer(j.out[:0])
	for i := range j.parts {
		p := &j.parts[i]
		from := len(out)
		if err := g.grain(&out, (j.off+int64(p.from))/sectorSize, j.in[p.from:p.to]); err != nil {
			return fmt.Errorf("compressing the disk at byte %d: %w", j.off+int64(p.from), err)
		}
		p.from, p.to = from, len(out)
	}
	j.out = out
	return nil
}

// grain appends one: the sector on the disk, the length of the data, the data.
func (g *vmdkGrains) grain(out *blockBuffer, sector int64, p []byte) error {
	const marker = 12
	start := len(*out)
	*out = binary.LittleEndian.AppendUint64(*out, uint64(sector))
	*out = append(*out, 0, 0, 0, 0, 0x78, 0x9c) // zlib's header: deflate, window of 32 KiB, default level
	var err error
	if g.enc == nil {
		g.enc, err = flate.NewWriter(out, vmdkLevel)
	} else {
		g.enc.Reset(out)
	}
	if err == nil {
		_, err = g.enc.Write(p)
	}
	if err == nil {
		err = g.enc.Close()
	}
	*out = binary.BigEndian.AppendUint32(*out, adler32.Checksum(p))
	binary.LittleEndian.PutUint32((*out)[start+8:], uint32(len(*out)-start-marker))
	*out = append(*out, make([]byte, -(len(*out)-start)&(sectorSize-1))...)
	return err
}

// vmdkStreamWriter is the side that appends to the file, in order.
type vmdkStreamWriter struct {
	src       Source
	options   Options
	file      *appender
	next      int64 // the first free sector of the file
	grains    [vmdkTableEntries]uint32
	table     int64 // which table grains is; -1 when there is none
	directory []uint32
}

func (w *vmdkStreamWriter) put(j *job) error {
	for _, p := range j.parts {
		grain := j.off/vmdkGrain + int64(p.index)
		if table := grain / vmdkTableEntries; table != w.table {
			if err := w.flushTable(); err != nil {
				return err
			}
			w.table = table
		}
		w.grains[grain%vmdkTableEntries] = uint32(w.next)
		if err := w.append(j.out[p.from:p.to]); err != nil {
			return err
		}
	}
	w.options.progress(j.off+int64(len(j.in)), w.src.Size)
	return nil
}

// append writes whole sectors.
func (w *vmdkStreamWriter) append(p []byte) error {
	off := w.next * sectorSize
	w.next += int64(len(p)) / sectorSize
	if w.next > math.MaxUint32 {
		return fmt.Errorf("the VMDK image gets larger than 2 TiB, which its tables cannot tell; qcow2 and vhdx can")
	}
	return w.file.write(off, p)
}

// Kinds of what follows a marker without a length.
const (
	vmdkEnd       = 0
	vmdkTable     = 1
	vmdkDirectory = 2
	vmdkFooter    = 3
)

// marked appends data, filled up to sectors, behind a marker that names its
// kind, and gives the sector of the data.
func (w *vmdkStreamWriter) marked(kind uint32, data []byte) (uint32, error) {
	data = append(data, make([]byte, -len(data)&(sectorSize-1))...)
	marker := make([]byte, sectorSize)
	binary.LittleEndian.PutUint64(marker, uint64(len(data)/sectorSize))
	binary.LittleEndian.PutUint32(marker[12:], kind)
	at := w.next + 1
	return uint32(at), w.append(append(marker, data...))
}

func (w *vmdkStreamWriter) flushTable() (err error) {
	if w.table < 0 {
		return nil
	}
	w.directory[w.table], err = w.marked(vmdkTable, littleTable(w.grains[:]))
	clear(w.grains[:])
	return err
}

// finish writes the directory, the footer, which is the header with the
// directory's place, and what is in front.
func (w *vmdkStreamWriter) finish() error {
	if err := w.flushTable(); err != nil {
		return err
	}
	directory, err := w.marked(vmdkDirectory, littleTable(w.directory))
	if err != nil {
		return err
	}
	if _, err := w.marked(vmdkFooter, vmdkHead(w.src.Size, uint64(directory))); err != nil {
		return err
	}
	if _, err := w.marked(vmdkEnd, nil); err != nil {
		return err
	}
	if err := w.file.flush(); err != nil {
		return err
	}
	text, err := vmdkDescriptor(w.src, w.options)
	if err != nil {
		return err
	}
	return writePieces(w.file.dst, w.next*sectorSize, piece{sectorSize, text}, piece{0, vmdkHead(w.src.Size, vmdkAtEnd)})
}

func littleTable(table []uint32) []byte {
	var b bytes.Buffer
	for _, v := range table {
		b.Write(binary.LittleEndian.AppendUint32(nil, v))
	}
	return b.Bytes()
}
