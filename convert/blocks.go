package convert

import (
	"context"
	"fmt"
	"os"
)

// blockLayout is what the dynamic formats (vhd, vdi, vhdx) have in common: the
// disk is cut into blocks of one size, a block with data has a place of its own
// in the file, and a table tells which.
type blockLayout struct {
	block  int64 // bytes of the disk in one block, a multiple of 4 KiB
	first  int64 // where the data of the first block in the file begins
	stride int64 // from one block's data in the file to the next one's
}

// write puts all blocks with data into dst, one behind the other in the order
// of the disk, and gives for each block of the disk its number in the file, -1
// where it has no data, and how many there are in the file. Blocks of 4 KiB
// that hold only zeros are not written: dst must be empty there.
func (l blockLayout) write(ctx context.Context, dst *os.File, src Source, o Options) (places []int32, used int32, err error) {
	places = make([]int32, (src.Size+l.block-1)/l.block)
	for i := range places {
		places[i] = -1
	}
	p := &pipeline{src: src, chunk: int(min(l.block, rawChunk)), align: sectorSize, after: func(j *job) error {
		return writePlainRuns(dst, j)
	}}
	p.sink = func(j *job) error {
		for _, part := range j.parts {
			at := j.off + int64(part.from)
			place := &places[at/l.block]
			if *place < 0 {
				*place = used
				used++
			}
			off := l.first + int64(*place)*l.stride + at%l.block
			j.runs = append(j.runs, plainRun{off, part.from, part.to})
		}
		o.progress(j.off+int64(len(j.in)), src.Size)
		return nil
	}
	n := o.workerCount(2 * p.chunk)
	p.depth = 2*n + 1
	for range n {
		p.workers = append(p.workers, findRuns)
	}
	return places, used, p.run(ctx)
}

// findRuns is a worker: it notes where in the stretch data is.
func findRuns(j *job) error {
	j.parts, j.runs = j.parts[:0], j.runs[:0]
	return runs(j.in, rawBlock, func(from, to int) error {
		j.parts = append(j.parts, part{from: from, to: to})
		return nil
	})
}

func writePlainRuns(dst *os.File, j *job) error {
	for _, r := range j.runs {
		if _, err := dst.WriteAt(j.in[r.from:r.to], r.off); err != nil {
			return fmt.Errorf("writing the image: %w", err)
		}
	}
	return nil
}

// sectorSize is the unit in which all disk formats give sizes, in bytes.
const sectorSize = 512

// pieces are parts of a file and where they go; the last one that is written
// makes it an image.
type piece struct {
	off  int64
	data []byte
}

// writePieces writes what surrounds the blocks, and sets the file's length.
func writePieces(dst Target, size int64, pieces ...piece) error {
	if err := dst.Truncate(size); err != nil {
		return fmt.Errorf("setting the size of the image to %d bytes: %w", size, err)
	}
	for _, p := range pieces {
		if _, err := dst.WriteAt(p.data, p.off); err != nil {
			return fmt.Errorf("writing the image: %w", err)
		}
	}
	return nil
}
