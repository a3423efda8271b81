package fat

import "encoding/binary"

const (
	infoSector   = 1
	backupSector = 6 // and FSInfo's copy after it
)

// bootSector returns the boot sector with the BIOS parameter block (fatgen103,
// "Boot Sector and BPB Structure").
func (v *volume) bootSector() []byte {
	b := make([]byte, v.l.sector)
	le := binary.LittleEndian
	copy(b[3:], "MSWIN4.1") // the name that fatgen103 finds least trouble with
	le.PutUint16(b[11:], uint16(v.l.sector))
	b[13] = byte(v.l.perClus)
	le.PutUint16(b[14:], uint16(v.l.reserved))
	b[16] = byte(v.l.fats)
	le.PutUint16(b[17:], uint16(v.l.root*v.l.sector/entrySize))
	if v.l.total < 1<<16 && v.l.bits != 32 {
		le.PutUint16(b[19:], uint16(v.l.total))
	} else {
		le.PutUint32(b[32:], uint32(v.l.total))
	}
	b[21] = v.o.Media
	track, heads := v.l.geometry()
	le.PutUint16(b[24:], track)
	le.PutUint16(b[26:], heads)
	le.PutUint32(b[28:], v.o.HiddenSectors)
	rest, fsType := 36, "FAT12   "
	switch v.l.bits {
	case 16:
		fsType = "FAT16   "
	case 32:
		rest, fsType = 64, "FAT32   "
		le.PutUint32(b[36:], uint32(v.l.fatSize))
		le.PutUint32(b[44:], uint32(v.rootCluster()))
		le.PutUint16(b[48:], infoSector)
		le.PutUint16(b[50:], backupSector)
	}
	if v.l.bits != 32 {
		le.PutUint16(b[22:], uint16(v.l.fatSize))
	}
	v.extended(b, rest, fsType)
	return b
}

// extended fills what stands behind the type's own fields, and the code.
func (v *volume) extended(b []byte, at int, fsType string) {
	label := v.o.Label
	if label == "" {
		label = noLabel
	}
	name := padLabel(label)
	b[at] = 0x80   // first hard disk
	b[at+1] = 0    // clean: it was let go of as it should be
	b[at+2] = 0x29 // the next three are there
	binary.LittleEndian.PutUint32(b[at+3:], v.o.ID)
	copy(b[at+7:], name[:])
	copy(b[at+18:], fsType)
	code := at + 26
	b[0], b[1], b[2] = 0xEB, byte(code-2), 0x90 // jmp code; nop
	// int 0x18 (try the next boot device); hlt; jmp back to hlt
	copy(b[code:], []byte{0xCD, 0x18, 0xF4, 0xEB, 0xFD})
	b[510], b[511] = 0x55, 0xAA
}

// geometry returns sectors per track and heads for those who still ask. A track
// divides the total: mtools checks that.
func (l *layout) geometry() (track, heads uint16) {
	track = 32
	for l.total%int64(track) != 0 {
		track /= 2
	}
	return track, 64
}

// info returns the FSInfo sector of FAT32: how many clusters are free, and the
// last one given out.
func (v *volume) info() []byte {
	b := make([]byte, v.l.sector)
	le := binary.LittleEndian
	le.PutUint32(b, 0x41615252)
	le.PutUint32(b[484:], 0x61417272)
	le.PutUint32(b[488:], uint32(v.l.clusters-v.used))
	le.PutUint32(b[492:], uint32(v.used+1))
	le.PutUint32(b[508:], 0xAA550000)
	return b
}
