package compare

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"
)

var le = binary.LittleEndian

// table is a partition table as it lies on a disk.
type table struct {
	label  string // "MBR", "GPT", or "" where there is none
	sector int64  // bytes
	facts  []fact
	parts  []partition
	areas  []area // of the table itself
}

type partition struct {
	number      int
	start, size int64 // bytes
	extended    bool  // it only holds others
	facts       []fact
}

// area is a part of a disk that is no partition.
type area struct {
	from, to int64
	name     string
	// table says that its content has been compared field by field.
	table bool
}

const (
	mostEntries  = 4096 // of a GPT
	mostLogical  = 256
	bootCodeSize = 440
)

// readTable finds a disk's table; none is no error.
func readTable(d region) (*table, error) {
	head := d.bytes(0, 512)
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xaa {
		return &table{}, nil
	}
	for _, sector := range []int64{512, 4096} {
		if h := d.bytes(sector, 92); len(h) == 92 && string(h[:8]) == "EFI PART" {
			return readGPT(d, head, h, sector)
		}
	}
	return readMBR(d, head)
}

// looksLikeMBR tells a table from the boot sector of a file system.
func looksLikeMBR(d region, b []byte) bool {
	used := false
	for i := range 4 {
		e := b[446+16*i : 462+16*i]
		start := int64(le.Uint32(e[8:])) * 512
		if e[0]&0x7f != 0 || e[4] != 0 && (start == 0 || start >= d.size || le.Uint32(e[12:]) == 0) {
			return false
		}
		used = used || e[4] != 0
	}
	return used
}

func mbrAreas() []area {
	return []area{{0, bootCodeSize, "boot code", false}, {bootCodeSize, 512, "MBR", true}}
}

// readMBR reads the four entries and the chain of logical partitions. Sectors are
// taken for 512 bytes: the table does not tell.
func readMBR(d region, b []byte) (*table, error) {
	if !looksLikeMBR(d, b) {
		return &table{}, nil
	}
	t := &table{label: "MBR", sector: 512, areas: mbrAreas()}
	t.facts = []fact{{"disk id", fmt.Sprintf("%08x", le.Uint32(b[440:]))}}
	for i := range 4 {
		p, ok := mbrEntry(b[446+16*i:], i+1, 0)
		if !ok {
			continue
		}
		t.parts = append(t.parts, p)
		if p.extended {
			if err := t.logical(d, p); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

func mbrEntry(e []byte, number int, base int64) (p partition, ok bool) {
	if e[4] == 0 {
		return p, false
	}
	p = partition{number: number, start: base + int64(le.Uint32(e[8:]))*512, size: int64(le.Uint32(e[12:])) * 512}
	p.extended = e[4] == 5 || e[4] == 0xf || e[4] == 0x85
	p.facts = []fact{{"type", fmt.Sprintf("%02x", e[4])}, {"boot flag", fmt.Sprintf("%02x", e[0])},
		{"CHS", hex.EncodeToString(e[1:4]) + " " + hex.EncodeToString(e[5:8])}}
	return p, true
}

// logical follows the chain of an extended partition: each sector of it names one
// partition and the next sector.
func (t *table) logical(d region, ext partition) error {
	at := ext.start
	for n := 0; ; n++ {
		b := d.bytes(at, 512)
		where := fmt.Sprintf("logical partition %d, table at byte %d", 5+n, at)
		switch {
		case n == mostLogical:
			return fmt.Errorf("%s: there are more than %d, or the chain goes round in a circle", where, mostLogical)
		case len(b) < 512:
			return fmt.Errorf("%s: it lies beyond the end of the disk", where)
		case b[510] != 0x55 || b[511] != 0xaa:
			return fmt.Errorf("%s: it has no signature", where)
		}
		t.areas = append(t.areas, area{at, at + 512, fmt.Sprintf("table of logical partition %d", 5+n), true})
		if p, ok := mbrEntry(b[446:], 5+n, at); ok {
			t.parts = append(t.parts, p)
		}
		next, ok := mbrEntry(b[462:], 0, ext.start)
		if !ok {
			return nil
		}
		at = next.start
	}
}

// readGPT reads the first table, and what can be seen of the second.
func readGPT(d region, mbr, h []byte, sector int64) (*table, error) {
	t := &table{label: "GPT", sector: sector, areas: append(mbrAreas(), area{sector, 2 * sector, "GPT header", true})}
	u64 := func(at int) int64 { return int64(le.Uint64(h[at:])) }
	array, count, size := u64(72), int64(le.Uint32(h[80:])), int64(le.Uint32(h[84:]))
	t.facts = []fact{{"disk id", guid(h[56:])}, {"sector size", fmt.Sprint(sector)},
		{"usable sectors", fmt.Sprintf("%d to %d", u64(40), u64(48))}, {"second header", fmt.Sprintf("sector %d", u64(32))},
		{"entries", fmt.Sprintf("%d of %d bytes at sector %d", count, size, array)},
		{"revision", fmt.Sprintf("%#x", le.Uint32(h[8:]))}, {"protective MBR", protective(mbr)}}
	if count > mostEntries || size < 128 || size > 4096 {
		return t, fmt.Errorf("GPT: %d entries of %d bytes; allowed: up to %d of 128 to 4096", count, size, mostEntries)
	}
	if array < 1 || array > d.size/sector {
		return t, fmt.Errorf("GPT: its entries lie at sector %d of %d", array, d.size/sector)
	}
	b := d.bytes(array*sector, int(count*size))
	if int64(len(b)) < count*size {
		return t, errors.New("GPT: the disk ends within its entries")
	}
	t.facts = append(t.facts, fact{"checksums", gptSums(h, b)})
	t.areas = append(t.areas, area{array * sector, array*sector + count*size, "GPT entries", true})
	if last := u64(32); last > 1 && last < d.size/sector {
		from := last*sector - (count*size+sector-1)/sector*sector
		t.areas = append(t.areas, area{from, last * sector, "second GPT entries", true}, area{last * sector, (last + 1) * sector, "second GPT header", true})
	}
	for i := range count {
		if p, ok := gptEntry(b[i*size:(i+1)*size], int(i)+1, sector); ok {
			t.parts = append(t.parts, p)
		}
	}
	return t, nil
}

func protective(mbr []byte) string {
	return fmt.Sprintf("id %08x, entries %s", le.Uint32(mbr[440:]), strings.TrimRight(hex.EncodeToString(mbr[446:510]), "0"))
}

// gptSums says whether the header's two checksums are right.
func gptSums(h, entries []byte) string {
	own := append([]byte(nil), h...)
	clear(own[16:20])
	text := "right"
	if crc32.ChecksumIEEE(own) != le.Uint32(h[16:]) && le.Uint32(h[12:]) == 92 {
		text = "of the header wrong"
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(h[88:]) {
		text += ", of the entries wrong"
	}
	return text
}

func gptEntry(e []byte, number int, sector int64) (p partition, ok bool) {
	if allZero(e[:16]) {
		return p, false
	}
	first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
	const most = 1 << 50 // sectors
	first = min(first, most)
	last = min(last, most)
	p = partition{number: number, start: int64(first) * sector, size: (int64(last) - int64(first) + 1) * sector}
	units := make([]uint16, 36)
	for i := range units {
		units[i] = le.Uint16(e[56+2*i:])
	}
	name, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	p.facts = []fact{{"type", guid(e)}, {"GUID", guid(e[16:])}, {"name", fmt.Sprintf("%q", name)}, {"attributes", fmt.Sprintf("%#x", le.Uint64(e[48:]))}}
	return p, true
}

// guid has its first three parts in little-endian order.
func guid(b []byte) string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(b), le.Uint16(b[4:]), le.Uint16(b[6:]), b[8:10], b[10:16])
}
