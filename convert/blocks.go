package convert

import (
	"context"
	"fmt"
	"os"
)

// blockLayout is what the dynamic formats (vhd, vhdx, vdi) have in common: the
// disk is cut into blocks of one size, a block with data has a place of its own
// in the file, and a table tells which.
type blockLayout struct {
	block  int64 // bytes of the disk in one block, a multiple of rawChunk
	first  int64 // where the data of the first block in the file begins
	stride int64 // from one block's data in the file to the next one's
}

// write puts all blocks with data into dst, one behind the other in the order
// of the disk, and gives for each block of the disk its number in the file, -1
// where it has no data, and how many there are in the file. Blocks of 4 KiB
// that hold only zeros are not written: dst must be empty there.
//
// First it finds out which blocks have data, for which it reads little; then
// the blocks are copied in any order.
func (l blockLayout) write(ctx context.Context, dst *os.File, src Source, o Options) (places []int32, used int32, err error) {
	if places, used, err = l.survey(ctx, src); err != nil {
		return nil, 0, err
	}
	c := &copier{src: src, dst: dst, options: o, place: func(off int64) int64 {
		place := int64(places[off/l.block])
		return l.first + max(0, place)*l.stride + off%l.block // one of zeros writes nothing
	}}
	return places, used, c.run(ctx)
}

func (l blockLayout) survey(ctx context.Context, src Source) (places []int32, used int32, err error) {
	places = make([]int32, (src.Size+l.block-1)/l.block)
	for i := range places {
		places[i] = -1
	}
	buf := make([]byte, rawChunk)
	for off := int64(0); ; {
		start, end, err := src.nextData(off)
		if err != nil || start >= src.Size {
			return places, used, err
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		i := start / l.block
		off = min(end, (i+1)*l.block)
		found, err := src.hasData(start, off, buf)
		if err != nil {
			return nil, 0, err
		}
		if found {
			places[i] = used
			used++
			off = (i + 1) * l.block
		}
	}
}

// sectorSize is the unit in which all disk formats give sizes, in bytes.
const sectorSize = 512

// piece is a part of a file and where it goes.
type piece struct {
	off  int64
	data []byte
}

// writePieces writes what surrounds the blocks, in the order given, and sets
// the file's length.
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
