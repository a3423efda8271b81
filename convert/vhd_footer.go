package convert

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Numbers of Microsoft's Virtual Hard Disk Image Format Specification 1.0. All
// are big-endian in the file.
const (
	vhdFooterSize = 512
	vhdHeaderSize = 1024
	vhdBlock      = 2 << 20
	vhdNone       = 1<<64 - 1 // an offset that leads nowhere
	vhdFixedType  = 2
	vhdDynamic    = 3
	vhdMaxSize    = 2040 << 30 // the largest disk
)

// vhdEpoch is when VHD's time begins.
var vhdEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// vhdFooter is what says that a file is a VHD. The creator is "win ", as Hyper-V
// writes it: readers take the disk's size from the creators they know to round
// it to cylinders, and QEMU (since 1.7) believes this one's size field. So the
// guest sees every sector and no more; cylinders, heads and sectors are filled
// in for those that look.
func vhdFooter(kind uint32, size int64, src Source, o Options) ([]byte, error) {
	id, err := o.imageID(fmt.Sprintf("vhd %d", kind), src)
	if err != nil {
		return nil, err
	}
	b := make([]byte, vhdFooterSize)
	copy(b, "conectix")
	binary.BigEndian.PutUint32(b[8:], 2)        // features: this bit is always set
	binary.BigEndian.PutUint32(b[12:], 0x10000) // version 1.0
	binary.BigEndian.PutUint64(b[16:], vhdNone)
	if kind == vhdDynamic {
		binary.BigEndian.PutUint64(b[16:], vhdFooterSize) // its header is behind this copy
	}
	binary.BigEndian.PutUint32(b[24:], uint32(max(0, o.now().Sub(vhdEpoch)/time.Second)))
	copy(b[28:], "win ")
	binary.BigEndian.PutUint32(b[32:], 0x60001) // version of the creator
	copy(b[36:], "Wi2k")
	binary.BigEndian.PutUint64(b[40:], uint64(size)) // when made
	binary.BigEndian.PutUint64(b[48:], uint64(size)) // now
	cylinders, heads, sectors := vhdGeometry(size / sectorSize)
	binary.BigEndian.PutUint16(b[56:], uint16(cylinders))
	b[58], b[59] = byte(heads), byte(sectors)
	binary.BigEndian.PutUint32(b[60:], kind)
	copy(b[68:84], id[:])
	binary.BigEndian.PutUint32(b[64:], vhdChecksum(b))
	return b, nil
}

// vhdChecksum is the complement of the sum of all bytes; the checksum's own
// place must be zero.
func vhdChecksum(b []byte) uint32 {
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	return ^sum
}

// vhdGeometry is the specification's appendix on CHS: the first of the shapes
// that ATA disks have in which the sectors fit.
func vhdGeometry(total int64) (cylinders, heads, sectors int64) {
	total = min(total, 65535*16*255)
	if total >= 65535*16*63 {
		return total / 255 / 16, 16, 255
	}
	sectors = 17
	tracks := total / sectors
	heads = max(4, (tracks+1023)/1024)
	if tracks >= heads*1024 || heads > 16 {
		sectors, heads = 31, 16
		tracks = total / sectors
	}
	if tracks >= heads*1024 {
		sectors, heads = 63, 16
		tracks = total / sectors
	}
	return tracks / heads, heads, sectors
}

func checkVHDSize(size int64) error {
	if size > vhdMaxSize {
		return fmt.Errorf("a disk of %d bytes is too large for VHD; allowed: up to %d (2040 GiB); vhdx and qcow2 hold larger ones",
			size, int64(vhdMaxSize))
	}
	return nil
}
