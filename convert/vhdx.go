package convert

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"unicode/utf16"
)

// Places and lengths of our VHDX files, in bytes. Sections are at multiples of
// 1 MiB, in the order in which they are here.
const (
	vhdxHeaders  = 64 << 10 // two, each at a multiple of this; then two region tables
	vhdxLog      = 1 << 20
	vhdxMetadata = 2 << 20
	vhdxTable    = 3 << 20
	vhdxUnit     = 1 << 20

	vhdxMax      = 64 << 40
	vhdxLogical  = sectorSize
	vhdxPhysical = 4096

	vhdxBlockPresent = 6 // a block's state
)

// VHDX writes src into dst as a dynamic VHDX of version 1, after Microsoft's
// [MS-VHDX]. What was in dst is lost. The virtual size is the source's, rounded
// up to 512 bytes; more than 64 TiB is an error. Blocks have 2 MiB, larger ones
// where there would be more than a million. Blocks without data are not in the
// file; in others, stretches of zeros are holes of the file. The bytes depend
// on the disk and o.ID alone. What makes the file a VHDX is written last.
func VHDX(ctx context.Context, dst *os.File, src Source, o Options) error {
	size := roundUp(src.Size, sectorSize)
	if size > vhdxMax {
		return fmt.Errorf("a disk of %d bytes is too large for VHDX; allowed: up to %d (64 TiB)", size, int64(vhdxMax))
	}
	if err := dst.Truncate(0); err != nil {
		return fmt.Errorf("emptying the VHDX image: %w", err)
	}
	block := int64(2 << 20)
	for size/block > 1<<20 {
		block *= 2
	}
	entries := vhdxEntries(size, block)
	tableSize := roundUp(8*max(1, entries), vhdxUnit)
	layout := blockLayout{block: block, first: vhdxTable + tableSize, stride: block}
	places, used, err := layout.write(ctx, dst, src, o)
	if err != nil {
		return err
	}
	pieces, err := vhdxPieces(src, o, size, block, tableSize)
	if err != nil {
		return err
	}
	pieces = append([]piece{{vhdxTable, vhdxBlocks(layout, places, entries)}}, pieces...)
	if err := writePieces(dst, layout.first+int64(used)*block, pieces...); err != nil {
		return err
	}
	o.progress(src.Size, src.Size)
	return nil
}

// vhdxRatio is how many blocks share one entry for a sector bitmap, which
// stands behind theirs in the table and is used for differences only.
func vhdxRatio(block int64) int64 { return (1 << 23) * vhdxLogical / block }

func vhdxEntries(size, block int64) int64 {
	blocks := (size + block - 1) / block
	return blocks + max(0, blocks-1)/vhdxRatio(block)
}

// vhdxBlocks is the block allocation table: a place in MiB and a state.
func vhdxBlocks(l blockLayout, places []int32, entries int64) []byte {
	b := make([]byte, 8*entries)
	for i, p := range places {
		if p >= 0 {
			at := int64(i) + int64(i)/vhdxRatio(l.block)
			binary.LittleEndian.PutUint64(b[8*at:], uint64(l.first+int64(p)*l.stride)|vhdxBlockPresent)
		}
	}
	return b
}

// vhdxPieces are all sections but the table; the identifier comes last. The log
// is empty.
func vhdxPieces(src Source, o Options, size, block, tableSize int64) ([]piece, error) {
	id, err := o.imageID("vhdx", src)
	if err != nil {
		return nil, err
	}
	table, regions := vhdxMetadataTable(size, block, id), vhdxRegions(tableSize)
	identifier := []byte("vhdxfile")
	for _, c := range utf16.Encode([]rune("lithify")) {
		identifier = binary.LittleEndian.AppendUint16(identifier, c)
	}
	return []piece{
		{vhdxMetadata, table},
		{3 * vhdxHeaders, regions},
		{4 * vhdxHeaders, regions},
		{1 * vhdxHeaders, vhdxHeader(0, id)},
		{2 * vhdxHeaders, vhdxHeader(1, id)}, // the one that counts
		{0, identifier},
	}, nil
}

// vhdxHeader is one of the two headers; the larger sequence number counts.
func vhdxHeader(sequence uint64, id [16]byte) []byte {
	b := make([]byte, 4<<10)
	copy(b, "head")
	binary.LittleEndian.PutUint64(b[8:], sequence)
	id[15] ^= 1
	copy(b[16:], id[:]) // of the file's last change
	id[15] ^= 3
	copy(b[32:], id[:])                            // of the data's last change
	binary.LittleEndian.PutUint16(b[66:], 1)       // version; that of the log is 0, its identity none: it is empty
	binary.LittleEndian.PutUint32(b[68:], 1<<20)   // its length
	binary.LittleEndian.PutUint64(b[72:], vhdxLog) // and place
	vhdxSum(b)
	return b
}

// vhdxSum sets a CRC-32C over all of b, in which its own place counts as zero.
func vhdxSum(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// vhdxRegions tells where the table and the metadata are.
func vhdxRegions(tableSize int64) []byte {
	b := make([]byte, 64<<10)
	copy(b, "regi")
	binary.LittleEndian.PutUint32(b[8:], 2)
	for i, r := range []struct {
		id         string
		at, length int64
	}{
		{"2dc27766-f623-4200-9d64-115e9bfd4a08", vhdxTable, tableSize},
		{"8b7ca206-4790-4b9a-b8fe-575f050f886e", vhdxMetadata, vhdxTable - vhdxMetadata},
	} {
		e := b[16+32*i:]
		copy(e, guid(r.id))
		binary.LittleEndian.PutUint64(e[16:], uint64(r.at))
		binary.LittleEndian.PutUint32(e[24:], uint32(r.length))
		binary.LittleEndian.PutUint32(e[28:], 1) // required
	}
	vhdxSum(b)
	return b
}

// vhdxMetadataTable is the metadata's section: a table, and its items behind.
func vhdxMetadataTable(size, block int64, id [16]byte) []byte {
	const items, virtual, required = 64 << 10, 1 << 1, 1 << 2
	u32 := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	b := make([]byte, items)
	copy(b, "metadata")
	for i, m := range []struct {
		id    string
		flags uint32
		value []byte
	}{
		{"caa16737-fa36-4d43-b3b6-33f0aa44e76b", required, append(u32(uint32(block)), u32(0)...)}, // block size; neither fixed nor a difference
		{"2fa54224-cd1b-4876-b211-5dbed83bf4b8", required | virtual, binary.LittleEndian.AppendUint64(nil, uint64(size))},
		{"beca12ab-b2e6-4523-93ef-c309e000c746", required | virtual, id[:]}, // page 83
		{"8141bf1d-a96f-4709-ba47-f233a8faab5f", required | virtual, u32(vhdxLogical)},
		{"cda348c7-445d-4471-9cc9-e9885251c556", required | virtual, u32(vhdxPhysical)},
	} {
		e := b[32+32*i:]
		copy(e, guid(m.id))
		binary.LittleEndian.PutUint32(e[16:], uint32(len(b)))
		binary.LittleEndian.PutUint32(e[20:], uint32(len(m.value)))
		binary.LittleEndian.PutUint32(e[24:], m.flags)
		binary.LittleEndian.PutUint16(b[10:], uint16(i+1))
		b = append(b, m.value...)
	}
	return b
}

// guid gives the bytes of a name of the form 8-4-4-4-12 as Windows stores them:
// the first three parts are numbers, little-endian.
func guid(name string) []byte {
	var a uint32
	var b, c uint16
	var d, e uint64
	// The names are constants of this package.
	fmt.Sscanf(name, "%08x-%04x-%04x-%04x-%012x", &a, &b, &c, &d, &e)
	out := binary.LittleEndian.AppendUint32(nil, a)
	out = binary.LittleEndian.AppendUint16(out, b)
	out = binary.LittleEndian.AppendUint16(out, c)
	return binary.BigEndian.AppendUint64(out, d<<48|e)
}
