package blockdev

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Type GUIDs that decide how a partition is filled (UEFI specification 5.3.3,
// GRUB's manual).
const (
	espGUID   = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	linuxGUID = "0fc63daf-8483-4772-8e79-3d69d8477de4"

	// BIOSBootGUID is the type of the partition that holds GRUB's core image.
	BIOSBootGUID = "21686148-6449-6e6f-744e-656564454649"
)

const (
	gptEntries   = 128
	gptEntrySize = 128
	gptNameUnits = 36 // of UTF-16
)

// gptAttributes are the bits that have names: the UEFI specification's three,
// those of Microsoft's basic data that systemd reads on Linux partitions too,
// and systemd's grow-file-system.
var gptAttributes = map[string]uint{
	"required": 0, "no-block-io": 1, "legacy-boot": 2, "grow-file-system": 59, "read-only": 60, "hidden": 62, "no-auto": 63,
}

func (p *Partition) gptFields(f *fields) {
	p.TypeGUID = linuxGUID
	if f.e.v.get("type") != nil {
		p.TypeGUID = field(f, "type", gptType)
	}
	p.ownUUID = strings.ToLower(f.text("uuid"))
	if slices.Contains(f.words("flags"), "boot") {
		p.Attributes |= 1 << gptAttributes["legacy-boot"]
	}
	for _, w := range f.words("attributes") {
		bit, err := gptAttribute(w)
		if err != nil {
			f.fail(f.place("attributes").errorf("%v", err))
		}
		p.Attributes |= 1 << bit
	}
}

func checkGPTName(s string) error {
	if n := len(utf16.Encode([]rune(s))); n > gptNameUnits {
		return fmt.Errorf("name %q: %d characters; a GPT takes at most %d", s, n, gptNameUnits)
	}
	return nil
}

// gptAttribute returns the bit of an attribute's name or number.
func gptAttribute(s string) (uint, error) {
	if bit, ok := gptAttributes[s]; ok {
		return bit, nil
	}
	bit, err := strconv.ParseUint(s, 10, 8)
	if err != nil || bit > 63 {
		return 0, fmt.Errorf("unknown attribute %q; a bit from 0 to 63 or %s", s, allowed(s, slices.Collect(maps.Keys(gptAttributes))))
	}
	return uint(bit), nil
}

func (t *Partitioning) checkUUIDs() error {
	seen := map[string]*Partition{}
	for _, p := range t.Partitions {
		if old := seen[p.ownUUID]; old != nil && p.ownUUID != "" {
			return p.at.errorf("uuid %s is used twice: by %q and %q", p.ownUUID, old.name, p.name)
		}
		seen[p.ownUUID] = p
	}
	return nil
}

// placeGPT places partitions as diskimage-builder has sgdisk do it: the first
// MiB and the last are the tables'; every partition starts on the alignment; a
// percentage is of what is then free, in whole MiB.
func placeGPT(t *Partitioning, disk, sectorSize int64) ([]PartitionPlan, error) {
	var all []PartitionPlan
	next, end := roundUp(mib, t.Align), disk/sectorSize*sectorSize-mib
	for i, p := range t.Partitions {
		free := max(0, end-next)
		size := p.Size.Of(free) / sectorSize * sectorSize
		if p.Size.Relative {
			size = size / mib * mib
		}
		if size > free || size < sectorSize {
			return nil, &SizeError{What: fmt.Sprintf("partition %q (%s)", p.name, p.Size), Needed: max(size, mib), Given: free,
				Hint: "what is free on the disk where its turn comes"}
		}
		all = append(all, PartitionPlan{
			Node: p.name, Number: i + 1, Role: RolePrimary, Start: next, Size: size,
			TypeGUID: p.TypeGUID, GUID: p.UUID, Name: p.name, Attributes: p.Attributes,
		})
		next = roundUp(next+size, max(t.Align, sectorSize))
	}
	return all, nil
}

// WriteTable writes a disk's partition table, if it has one. Bytes 0 to 439 of
// the disk are boot code and stay.
func WriteTable(w io.WriterAt, d DiskPlan) error {
	switch d.Label {
	case "mbr":
		return WriteMBR(w, d)
	case "gpt":
		return WriteGPT(w, d)
	}
	return nil
}

// WriteGPT writes a GPT: the protective MBR, the table behind it, and its copy
// at the end of the disk (UEFI specification 2.10, section 5.3).
func WriteGPT(w io.WriterAt, d DiskPlan) error {
	entries, err := gptArray(d)
	if err != nil {
		return fmt.Errorf("GPT of %q: %w", d.Node, err)
	}
	sector, last := int64(d.SectorSize), d.Size/int64(d.SectorSize)-1
	length := int64(len(entries)) / sector
	header := func(own, other, array int64) ([]byte, error) { return gptHeader(d, entries, own, other, array) }
	first, err := header(1, last, 2)
	if err != nil {
		return fmt.Errorf("GPT of %q: %w", d.Node, err)
	}
	second, err := header(last, 1, last-length)
	if err != nil {
		return fmt.Errorf("GPT of %q: %w", d.Node, err)
	}
	for _, part := range []struct {
		at   int64 // bytes
		data []byte
	}{
		{440, protectiveMBR(d)}, {sector, first}, {2 * sector, entries},
		{(last - length) * sector, entries}, {last * sector, second},
	} {
		if _, err := w.WriteAt(part.data, part.at); err != nil {
			return fmt.Errorf("GPT of %q: %w", d.Node, err)
		}
	}
	return nil
}

// protectiveMBR is bytes 440 to 511 of the disk: one entry over all of it, for
// tools that know no GPT. Its sectors are the disk's.
func protectiveMBR(d DiskPlan) []byte {
	var table [72]byte
	sectors := min(d.Size/int64(d.SectorSize)-1, 1<<32-1)
	entry := table[6:]
	copy(entry[1:4], []byte{0, 2, 0})
	entry[4] = 0xee
	copy(entry[5:8], []byte{0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], 1)
	binary.LittleEndian.PutUint32(entry[12:], uint32(sectors))
	table[70], table[71] = 0x55, 0xaa
	return table[:]
}

func gptArray(d DiskPlan) ([]byte, error) {
	sector := int64(d.SectorSize)
	b := make([]byte, gptEntries*gptEntrySize)
	for _, p := range d.Partitions {
		if p.Number < 1 || p.Number > gptEntries {
			return nil, fmt.Errorf("partition %q: number %d", p.Node, p.Number)
		}
		e := b[(p.Number-1)*gptEntrySize:][:gptEntrySize]
		kind, err := guidBytes(p.TypeGUID)
		if err != nil {
			return nil, err
		}
		own, err := guidBytes(p.GUID)
		if err != nil {
			return nil, err
		}
		copy(e, kind)
		copy(e[16:], own)
		binary.LittleEndian.PutUint64(e[32:], uint64(p.Start/sector))
		binary.LittleEndian.PutUint64(e[40:], uint64((p.Start+p.Size)/sector-1))
		binary.LittleEndian.PutUint64(e[48:], p.Attributes)
		for i, u := range utf16.Encode([]rune(p.Name)) {
			if i < gptNameUnits {
				binary.LittleEndian.PutUint16(e[56+2*i:], u)
			}
		}
	}
	return b, nil
}

// gptHeader makes one of the two headers, a whole sector. Places are sectors.
func gptHeader(d DiskPlan, entries []byte, own, other, array int64) ([]byte, error) {
	guid, err := guidBytes(d.DiskGUID)
	if err != nil {
		return nil, err
	}
	sector := int64(d.SectorSize)
	length, last := int64(len(entries))/sector, d.Size/sector-1
	h := make([]byte, sector)
	copy(h, "EFI PART")
	binary.LittleEndian.PutUint32(h[8:], 0x10000)
	binary.LittleEndian.PutUint32(h[12:], 92)
	binary.LittleEndian.PutUint64(h[24:], uint64(own))
	binary.LittleEndian.PutUint64(h[32:], uint64(other))
	binary.LittleEndian.PutUint64(h[40:], uint64(2+length))      // first usable
	binary.LittleEndian.PutUint64(h[48:], uint64(last-length-1)) // last usable
	copy(h[56:], guid)
	binary.LittleEndian.PutUint64(h[72:], uint64(array))
	binary.LittleEndian.PutUint32(h[80:], gptEntries)
	binary.LittleEndian.PutUint32(h[84:], gptEntrySize)
	binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	return h, nil
}

// guidBytes is a GUID as it lies on disk: the first three groups little-endian
// (UEFI specification, appendix A).
func guidBytes(s string) ([]byte, error) {
	b, err := uuidBytes(s)
	if err != nil {
		return nil, err
	}
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return b, nil
}

// uuidBytes are the digits as they are written.
func uuidBytes(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("UUID %q: 32 hexadecimal digits are wanted", s)
	}
	return b, nil
}
