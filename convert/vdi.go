package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
)

const (
	vdiBlock  = 1 << 20
	vdiHeader = 512 // with the signature in front
	// vdiMax is where QEMU stops: as many blocks as its table can have.
	vdiMax = 0x1fffffff * vdiBlock
)

// VDI writes src into dst as a dynamic VDI of VirtualBox, version 1.1, with
// blocks of 1 MiB (format: VirtualBox's VDICore.h and QEMU's block/vdi.c). What
// was in dst is lost. The virtual size is the source's, rounded up to 512 bytes.
// Blocks without data are not in the file; in others, stretches of zeros are
// holes of the file. The bytes depend on the disk and o.ID alone. The header is
// written last.
func VDI(ctx context.Context, dst *os.File, src Source, o Options) error {
	size := roundUp(src.Size, sectorSize)
	if size > vdiMax {
		return fmt.Errorf("a disk of %d bytes is too large for VDI; allowed: up to %d", size, int64(vdiMax))
	}
	id, err := o.imageID("vdi", src)
	if err != nil {
		return err
	}
	if err := dst.Truncate(0); err != nil {
		return fmt.Errorf("emptying the VDI image: %w", err)
	}
	entries := (size + vdiBlock - 1) / vdiBlock
	layout := blockLayout{block: vdiBlock, first: roundUp(vdiHeader+4*entries, vdiBlock), stride: vdiBlock}
	places, used, err := layout.write(ctx, dst, src, o)
	if err != nil {
		return err
	}
	table := bytes.Repeat([]byte{0xff}, int(4*entries)) // no place
	for i, p := range places {
		if p >= 0 {
			binary.LittleEndian.PutUint32(table[4*i:], uint32(p))
		}
	}
	err = writePieces(dst, layout.first+int64(used)*vdiBlock,
		piece{vdiHeader, table}, piece{0, vdiHead(size, layout.first, entries, int64(used), id)})
	if err == nil {
		o.progress(src.Size, src.Size)
	}
	return err
}

// vdiHead is the header: the identity of the last change differs from the
// image's own, the parent's are none, and no geometry is said.
func vdiHead(size, data, entries, used int64, id [16]byte) []byte {
	b := make([]byte, vdiHeader)
	u32 := func(at int, v int64) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
	copy(b, "<<< Oracle VM VirtualBox Disk Image >>>\n")
	u32(0x40, 0xbeda107f)
	u32(0x44, 0x00010001) // version 1.1
	u32(0x48, 0x190)      // length of what follows
	u32(0x4c, 1)          // dynamic
	u32(0x154, vdiHeader) // the table
	u32(0x158, data)
	u32(0x168, sectorSize)
	binary.LittleEndian.PutUint64(b[0x170:], uint64(size))
	u32(0x178, vdiBlock)
	u32(0x180, entries)
	u32(0x184, used)
	copy(b[0x188:], id[:])
	id[15] ^= 1
	copy(b[0x198:], id[:])
	u32(0x1d4, sectorSize)
	return b
}
