package blockdev

import (
	"encoding/binary"
	"fmt"
	"io"
)

const sector = 512 // the only one an MBR knows

// mbrTable places partitions in an MBR, as diskimage-builder does:
//
//	next = align
//	primary:  start = next; next = aligned end
//	logical:  before the first, an extended partition from next to the end of the disk;
//	          its own table (EBR) at next, start = next + align; next = aligned end
//	free room = disk - next - align, in both cases
//
// want(p, free) is the size of a partition where free bytes are left.
func placeMBR(t *Partitioning, disk int64) ([]PartitionPlan, error) {
	if disk/sector > 1<<32-1 {
		return nil, fmt.Errorf("an MBR ends at 2 TiB; the disk has %s", FormatSize(disk))
	}
	var all []PartitionPlan
	next, logical := t.Align, 5
	for _, p := range t.Partitions {
		pp := PartitionPlan{Node: p.name, Number: len(all) + 1, Role: RolePrimary, Start: next, Type: p.Type, Boot: p.Boot}
		free := disk - next - t.Align
		if !p.Primary {
			if logical == 5 {
				all = append(all, PartitionPlan{Number: len(all) + 1, Role: RoleExtended, Start: next, Size: disk/sector*sector - next, Type: 0x0f})
			}
			pp.Role, pp.Number, pp.EBR, pp.Start = RoleLogical, logical, next, next+t.Align
			logical++
		}
		pp.Size = p.Size.Of(free) / sector * sector
		if pp.Size > free || pp.Size < sector {
			return nil, &SizeError{What: fmt.Sprintf("partition %q (%s)", p.name, p.Size), Needed: max(pp.Size, sector), Given: max(free, 0)}
		}
		all = append(all, pp)
		next = roundUp(pp.Start+pp.Size, t.Align)
	}
	return all, nil
}

// WriteMBR writes a disk's partition table: bytes 440 to 511 of the first
// sector (what is before them is boot code and stays) and the sector of each
// logical partition's own table.
func WriteMBR(w io.WriterAt, d DiskPlan) error {
	var table [72]byte
	binary.LittleEndian.PutUint32(table[0:], d.DiskID)
	slot := 0
	for _, p := range d.Partitions {
		if p.Role == RoleLogical {
			continue
		}
		if slot == 4 {
			return fmt.Errorf("MBR of %q: more than four entries", d.Node)
		}
		putEntry(table[6+16*slot:], p.Boot, p.Type, p.Start/sector, p.Start/sector, p.Size/sector)
		slot++
	}
	table[70], table[71] = 0x55, 0xaa
	if _, err := w.WriteAt(table[:], 440); err != nil {
		return fmt.Errorf("MBR of %q: %w", d.Node, err)
	}
	return writeLogical(w, d)
}

// writeLogical writes the chain of logical partitions: in each table the
// partition, counted from that table, and the next table, counted from the
// extended partition.
func writeLogical(w io.WriterAt, d DiskPlan) error {
	var extended int64
	var logical []PartitionPlan
	for _, p := range d.Partitions {
		switch p.Role {
		case RoleExtended:
			extended = p.Start
		case RoleLogical:
			logical = append(logical, p)
		}
	}
	for i, p := range logical {
		var ebr [sector]byte
		putEntry(ebr[446:], p.Boot, p.Type, p.Start/sector, (p.Start-p.EBR)/sector, p.Size/sector)
		if i+1 < len(logical) {
			n := logical[i+1]
			length := n.Start + n.Size - n.EBR
			putEntry(ebr[462:], false, 0x05, n.EBR/sector, (n.EBR-extended)/sector, length/sector)
		}
		ebr[510], ebr[511] = 0x55, 0xaa
		if _, err := w.WriteAt(ebr[:], p.EBR); err != nil {
			return fmt.Errorf("table of logical partition %q: %w", p.Node, err)
		}
	}
	return nil
}

// putEntry writes one table entry: first is the sector on the disk (for CHS),
// start the same from where the entry counts.
func putEntry(b []byte, boot bool, kind byte, first, start, length int64) {
	if boot {
		b[0] = 0x80
	}
	copy(b[1:4], chs(first))
	b[4] = kind
	copy(b[5:8], chs(first+length-1))
	binary.LittleEndian.PutUint32(b[8:], uint32(start))
	binary.LittleEndian.PutUint32(b[12:], uint32(length))
}

// chs returns the old address of a sector with 255 heads and 63 sectors per
// track, what every tool and BIOS takes for large disks; beyond cylinder 1023 it
// is the last one.
func chs(lba int64) []byte {
	const heads, perTrack = 255, 63
	c, h, s := lba/(heads*perTrack), lba/perTrack%heads, lba%perTrack+1
	if c > 1023 {
		c, h, s = 1023, heads-1, perTrack
	}
	return []byte{byte(h), byte(s) | byte(c>>8)<<6, byte(c)}
}

// checkOrder: an MBR has four slots; the extended partition takes one, reaches
// to the end of the disk, and so must come last.
func (t *Partitioning) checkOrder() error {
	slots, logical := 0, false
	for _, p := range t.Partitions {
		switch {
		case p.Primary && logical:
			return p.at.errorf("partition %q is primary after a logical one; primary ones come first", p.name)
		case p.Primary || !logical:
			slots++
		}
		logical = !p.Primary
		if slots > 4 {
			return p.at.errorf("partition %q is one too many: an MBR holds four primary partitions, "+
				"or three and the extended one that holds the logical ones", p.name)
		}
	}
	return nil
}
