package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errNoTable marks a disk without partitions: a bare file system, which has no room for core.img.
var errNoTable = errors.New("no partition table")

// Places in an MBR, and types found there.
const (
	tableOffset = 0x1be
	entrySize   = 16
	entryType   = 4
	entryStart  = 8
	typeEmpty   = 0x00
	typeGPT     = 0xee
)

// biosBoot is the type GUID of the BIOS-boot partition,
// 21686148-6449-6E6F-744E-656564454649, in the mixed byte order of a GPT.
var biosBoot = [16]byte([]byte("Hah!IdontNeedEFI"))

// findRoom reads the partition table and says where core.img may lie.
func findRoom(d disk, sector0 []byte) (gap, error) {
	if binary.LittleEndian.Uint16(sector0[signatureOffset:]) != 0xaa55 {
		return gap{}, errNoTable
	}
	first := uint64(0)
	for i := range 4 {
		entry := sector0[tableOffset+i*entrySize:][:entrySize]
		switch start := uint64(binary.LittleEndian.Uint32(entry[entryStart:])); {
		case entry[entryType] == typeGPT:
			return findBIOSBoot(d)
		case entry[entryType] != typeEmpty && (first == 0 || start < first):
			first = start
		}
	}
	if first == 0 {
		return gap{}, errNoTable
	}
	return gap{first: 1, length: first - 1, what: "the gap before the first partition"}, nil
}

// Places in a GPT header and its entries, in bytes.
const (
	gptSignature  = "EFI PART"
	gptTable      = 72 // u64: first sector of the entries
	gptCount      = 80 // u32
	gptEntrySize  = 84 // u32
	gptEntryFirst = 32 // u64, in an entry
	gptEntryLast  = 40 // u64, in an entry: the last sector itself
	gptMaxEntries = 1024
)

// findBIOSBoot finds the BIOS-boot partition of a GPT with 512-byte sectors.
func findBIOSBoot(d disk) (gap, error) {
	header := make([]byte, sectorSize)
	if _, err := d.ReadAt(header, sectorSize); err != nil {
		return gap{}, fmt.Errorf("reading the GPT header: %w", err)
	}
	if string(header[:len(gptSignature)]) != gptSignature {
		return gap{}, fmt.Errorf("reading the GPT header: no %q in sector 1 (a disk with 4096-byte sectors does not boot by BIOS)", gptSignature)
	}
	count, size := binary.LittleEndian.Uint32(header[gptCount:]), binary.LittleEndian.Uint32(header[gptEntrySize:])
	if count > gptMaxEntries || size < 128 || size > 4096 {
		return gap{}, fmt.Errorf("reading the GPT header: %d entries of %d bytes", count, size)
	}
	entries := make([]byte, count*size)
	if _, err := d.ReadAt(entries, int64(binary.LittleEndian.Uint64(header[gptTable:])*sectorSize)); err != nil {
		return gap{}, fmt.Errorf("reading the GPT's entries: %w", err)
	}
	return searchBIOSBoot(entries, int(size))
}

func searchBIOSBoot(entries []byte, size int) (gap, error) {
	for ; len(entries) >= size; entries = entries[size:] {
		if [16]byte(entries) != biosBoot {
			continue
		}
		first, last := binary.LittleEndian.Uint64(entries[gptEntryFirst:]), binary.LittleEndian.Uint64(entries[gptEntryLast:])
		if first < 2 || last < first || last >= 1<<54 {
			return gap{}, fmt.Errorf("reading the GPT: BIOS-boot partition from sector %d to %d", first, last)
		}
		return gap{first: first, length: last - first + 1, what: "the BIOS-boot partition"}, nil
	}
	return gap{}, errors.New("finding room for core.img: the GPT has no BIOS-boot partition (type EF02)")
}
