package lvm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
)

const (
	labelSector = 1
	// metadataStart is where the metadata area begins, with its header; all
	// before it, label included, is one write.
	metadataStart = 4096
	// textStart is where LVM puts the first text of a group, from metadataStart.
	textStart = sector

	checksumStart = 0xf597a6cf

	extensionVersion = 2
	extensionInUse   = 1 // a group has the physical volume
)

var le = binary.LittleEndian

// checksum is LVM's CRC-32: the common polynomial with a start of its own and
// nothing inverted at the ends. crc32.Update inverts at both.
func checksum(data []byte) uint32 {
	return ^crc32.Update(^uint32(checksumStart), crc32.IEEETable, data)
}

// metadataSize returns the size of the metadata area: all up to the extents.
func metadataSize(alignment int64) int64 { return DataStart(alignment) - metadataStart }

// WriteMetadata writes label and metadata of every physical volume, each to the
// device at its position. Written are the first 4096 bytes of a device, the
// metadata area's header, and the text; the label comes last. The rest is left
// as it is: on devices that were zero, equal groups give equal bits.
func (l *Layout) WriteMetadata(pvs []Device) error {
	if err := l.checkDevices(pvs); err != nil {
		return err
	}
	for i, d := range pvs {
		if err := l.writeFront(i, d); err != nil {
			return fmt.Errorf("writing the metadata of physical volume %q: %w", l.group.pvName(i), err)
		}
	}
	return nil
}

func (l *Layout) checkDevices(pvs []Device) error {
	if len(pvs) != len(l.group.Volumes) {
		return fmt.Errorf("volume group %q has %d physical volumes; %d devices were given", l.group.Name, len(l.group.Volumes), len(pvs))
	}
	return nil
}

func (l *Layout) writeFront(i int, d Device) error {
	p := l.group.Volumes[i]
	// The text's last sector is filled up: no rest of an older one looks like
	// more of it.
	area := make([]byte, textStart+(len(l.text)+sector-1)/sector*sector)
	copy(area, areaHeader(metadataSize(p.DataAlignment), l.text))
	copy(area[textStart:], l.text)
	if _, err := d.WriteAt(area, metadataStart); err != nil {
		return err
	}
	front := make([]byte, metadataStart)
	copy(front[labelSector*sector:], label(p))
	_, err := d.WriteAt(front, 0)
	return err
}

// label returns the sector by which LVM knows a physical volume.
func label(p Physical) []byte {
	b := make([]byte, sector)
	copy(b, "LABELONE")
	le.PutUint64(b[8:], labelSector)
	le.PutUint32(b[20:], 32) // where the physical volume's header begins
	copy(b[24:], "LVM2 001")

	copy(b[32:], strings.ReplaceAll(p.ID, "-", ""))
	le.PutUint64(b[64:], uint64(p.Size))
	// Places are pairs of start and size. The extents' size 0 is "to the end";
	// a pair of zeros ends a list.
	le.PutUint64(b[72:], uint64(DataStart(p.DataAlignment)))
	le.PutUint64(b[104:], metadataStart)
	le.PutUint64(b[112:], uint64(metadataSize(p.DataAlignment)))
	le.PutUint32(b[136:], extensionVersion)
	le.PutUint32(b[140:], extensionInUse)

	le.PutUint32(b[16:], checksum(b[20:]))
	return b
}

// areaHeader returns the first sector of a metadata area of that size.
func areaHeader(size int64, text []byte) []byte {
	b := make([]byte, sector)
	copy(b[4:], " LVM2 x[5A%r0N*>")
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], metadataStart)
	le.PutUint64(b[32:], uint64(size))

	le.PutUint64(b[40:], textStart)
	le.PutUint64(b[48:], uint64(len(text)))
	le.PutUint32(b[56:], checksum(text))

	le.PutUint32(b, checksum(b[4:]))
	return b
}
