package convert

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
)

// Numbers of VMware's Virtual Disk Format 5.0. Places are in sectors, numbers
// little-endian.
const (
	vmdkGrain        = 64 << 10 // bytes
	vmdkTableEntries = 512      // grains in a table
	vmdkOverhead     = 128      // sectors before the first grain
	vmdkText         = 20       // sectors for the descriptor, behind the header
	vmdkAtEnd        = 1<<64 - 1
	vmdkVersion      = 3 // streamOptimized
	vmdkDeflate      = 1 // how grains are compressed

	vmdkNewlines   = 1 << 0
	vmdkCompressed = 1 << 16
	vmdkMarkers    = 1 << 17

	// vmdkMax is what VMware's products take.
	vmdkMax = 62 << 40
)

var vmdkOptions = []option{
	{"subformat", "streamOptimized (others are not supported)", words("streamOptimized")},
}

// VMDK writes src into dst as a VMDK of the subformat streamOptimized, which is
// what clouds import and OVA files hold: one file with deflated grains of 64
// KiB, after VMware's Virtual Disk Format 5.0. Hypervisors read it; to write to
// it they convert it first. What was in dst is lost. The virtual size is the
// source's, rounded up to 512 bytes; o.Compress does not matter. The bytes
// depend on the disk and o.ID alone. The header is written last.
func VMDK(ctx context.Context, dst *os.File, src Source, o Options) error {
	if src.Size > vmdkMax {
		return fmt.Errorf("a disk of %d bytes is too large for VMDK; allowed: up to %d (62 TiB)", src.Size, int64(vmdkMax))
	}
	if err := dst.Truncate(0); err != nil {
		return fmt.Errorf("emptying the VMDK image: %w", err)
	}
	if err := vmdkStream(ctx, dst, src, o); err != nil {
		return err
	}
	o.progress(src.Size, src.Size)
	return nil
}

// vmdkTables is the number of grain tables of a disk.
func vmdkTables(size int64) int64 {
	return (size + vmdkGrain*vmdkTableEntries - 1) / (vmdkGrain * vmdkTableEntries)
}

// vmdkHead is the header of a sparse extent for a disk of size bytes, with the
// first sector of its directory.
func vmdkHead(size int64, directory uint64) []byte {
	b := make([]byte, sectorSize)
	copy(b, "KDMV")
	u64 := func(at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
	binary.LittleEndian.PutUint32(b[4:], vmdkVersion)
	binary.LittleEndian.PutUint32(b[8:], vmdkNewlines|vmdkCompressed|vmdkMarkers)
	u64(12, uint64(roundUp(size, sectorSize)/sectorSize))
	u64(20, vmdkGrain/sectorSize)
	u64(28, 1) // the descriptor
	u64(36, vmdkText)
	binary.LittleEndian.PutUint32(b[44:], vmdkTableEntries)
	u64(56, directory)
	u64(64, vmdkOverhead)
	copy(b[73:], "\n \r\n") // shows a transfer that took it for text
	binary.LittleEndian.PutUint16(b[77:], vmdkDeflate)
	return b
}

// vmdkDescriptor is the text that says what the disk is. The file's name in it
// means nothing where the text is in the file itself.
func vmdkDescriptor(src Source, o Options) ([]byte, error) {
	id, err := o.imageID("vmdk", src)
	if err != nil {
		return nil, err
	}
	sectors := roundUp(src.Size, sectorSize) / sectorSize
	content := crc32.ChecksumIEEE(id[:]) & 0x7fffffff // changes with the content; -1 and -2 have a meaning
	text := fmt.Sprintf(`# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.adapterType = "lsilogic"
ddb.uuid = "%s"
`, content, sectors, max(1, min(65535, sectors/(255*63))), vmdkUUID(id))
	b := make([]byte, vmdkText*sectorSize)
	copy(b, text)
	return b, nil
}

// vmdkUUID is VMware's way to write one: bytes with blanks, a dash in the middle.
func vmdkUUID(id [16]byte) string {
	words := strings.Fields(fmt.Sprintf("% x", id))
	return strings.Join(words[:8], " ") + "-" + strings.Join(words[8:], " ")
}
