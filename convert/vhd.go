package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
)

// VHD writes src into dst as a dynamic VHD, after Microsoft's Virtual Hard Disk
// Image Format Specification 1.0, with blocks of 2 MiB. What was in dst is
// lost. The virtual size is the source's, rounded up to 512 bytes; more than
// 2040 GiB is an error. Blocks without data are not in the file; in others,
// stretches of zeros are holes of the file.
//
// The bytes depend on the disk, o.Time and o.ID alone. The footer's copy in
// front is written last; an interrupted run leaves nothing that passes for an
// image.
func VHD(ctx context.Context, dst *os.File, src Source, o Options) error {
	size := roundUp(src.Size, sectorSize)
	if err := checkVHDSize(size); err != nil {
		return err
	}
	if err := dst.Truncate(0); err != nil {
		return fmt.Errorf("emptying the VHD image: %w", err)
	}
	footer, err := vhdFooter(vhdDynamic, size, src, o)
	if err != nil {
		return err
	}
	// Data begins at a multiple of 4 KiB, with the block's bitmap just before:
	// readers go by the table, and file systems like it so.
	const table = vhdFooterSize + vhdHeaderSize
	entries := max(1, (size+vhdBlock-1)/vhdBlock)
	layout := blockLayout{block: vhdBlock, first: roundUp(table+4*entries+vhdBitmap, rawBlock), stride: vhdBlock + rawBlock}
	places, used, err := layout.write(ctx, dst, src, o)
	if err != nil {
		return err
	}
	if err := writeVHDBitmaps(dst, layout, used); err != nil {
		return err
	}
	end := layout.first - vhdBitmap
	if used > 0 {
		end = layout.first + int64(used-1)*layout.stride + vhdBlock
	}
	err = writePieces(dst, end+vhdFooterSize,
		piece{table, vhdTable(layout, places, entries)},
		piece{vhdFooterSize, vhdHeader(table, entries)},
		piece{end, footer},
		piece{0, footer})
	if err == nil {
		o.progress(src.Size, src.Size)
	}
	return err
}

// vhdBitmap is the length of a block's bitmap: a bit per sector.
const vhdBitmap = vhdBlock / sectorSize / 8

// writeVHDBitmaps says of each block that all of its sectors are there. Some
// readers would take a sector without its bit from a parent.
func writeVHDBitmaps(dst *os.File, l blockLayout, used int32) error {
	all := bytes.Repeat([]byte{0xff}, vhdBitmap)
	for i := range int64(used) {
		if _, err := dst.WriteAt(all, l.first+i*l.stride-vhdBitmap); err != nil {
			return fmt.Errorf("writing the image: %w", err)
		}
	}
	return nil
}

// vhdTable is the block allocation table: the sector where each block's bitmap
// begins, filled up to whole sectors.
func vhdTable(l blockLayout, places []int32, entries int64) []byte {
	b := bytes.Repeat([]byte{0xff}, int(roundUp(4*entries, sectorSize)))
	for i, p := range places {
		if p >= 0 {
			binary.BigEndian.PutUint32(b[4*i:], uint32((l.first+int64(p)*l.stride-vhdBitmap)/sectorSize))
		}
	}
	return b
}

// vhdHeader is the header that only dynamic disks have. This one has no parent.
func vhdHeader(table, entries int64) []byte {
	b := make([]byte, vhdHeaderSize)
	copy(b, "cxsparse")
	binary.BigEndian.PutUint64(b[8:], vhdNone)
	binary.BigEndian.PutUint64(b[16:], uint64(table))
	binary.BigEndian.PutUint32(b[24:], 0x10000) // version 1.0
	binary.BigEndian.PutUint32(b[28:], uint32(entries))
	binary.BigEndian.PutUint32(b[32:], vhdBlock)
	binary.BigEndian.PutUint32(b[36:], vhdChecksum(b))
	return b
}
