package fat

import (
	"encoding/binary"
	"time"
	"unicode/utf16"
)

const entrySize = 32 // bytes

// Attributes of an entry.
const (
	attrVolume  = 0x08
	attrFolder  = 0x10
	attrArchive = 0x20
	attrLong    = 0x0F
)

// entry is one record of a folder (fatgen103, "FAT Directory Structure").
type entry struct {
	name    shortName
	attr    byte
	cluster int64
	size    int64
	mtime   time.Time
	created time.Time // also the day of the last reading
}

func (e entry) appendTo(b []byte) []byte {
	day, clock, hundredths := dosTime(e.created)
	mday, mclock, _ := dosTime(e.mtime)
	b = append(b, e.name[:]...)
	b = append(b, e.attr, 0, hundredths)
	for _, v := range []uint16{clock, day, day, uint16(e.cluster >> 16), mclock, mday, uint16(e.cluster)} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, uint32(e.size))
}

// dosTime returns a time as FAT has it: day, time in steps of two seconds, and
// hundredths of a second beyond. What is out of its range becomes its nearest.
func dosTime(t time.Time) (day, clock uint16, hundredths byte) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	} else if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	day = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return day, clock, byte(t.Second()%2*100 + t.Nanosecond()/1e7)
}

// appendLong appends the entries of a long name, last part first.
func appendLong(b []byte, name string, short shortName) []byte {
	units := utf16.Encode([]rune(name))
	count := (len(units) + 12) / 13
	if len(units)%13 != 0 {
		units = append(units, 0)
	}
	for len(units)%13 != 0 {
		units = append(units, 0xFFFF)
	}
	sum := checksum(short)
	for i := count; i > 0; i-- {
		order := byte(i)
		if i == count {
			order |= 0x40
		}
		part := units[(i-1)*13 : i*13]
		b = appendUnits(append(b, order), part[:5])
		b = appendUnits(append(b, attrLong, 0, sum), part[5:11])
		b = appendUnits(append(b, 0, 0), part[11:])
	}
	return b
}

func appendUnits(b []byte, units []uint16) []byte {
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// checksum ties a long name to its short one.
func checksum(s shortName) (sum byte) {
	for _, c := range s {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// folder returns a folder's entries. parent is its parent's cluster, 0 when that
// is the root folder, on FAT32 too.
func (v *volume) folder(n *node, parent int64) []byte {
	var b []byte
	if n.path == "" {
		if v.o.Label != "" {
			b = v.entry(entry{name: padLabel(v.o.Label), attr: attrVolume, mtime: *v.o.Time}, b)
		}
	} else {
		b = v.entry(entry{name: padded([]byte("."), nil), attr: attrFolder, cluster: n.first, mtime: n.mtime}, b)
		b = v.entry(entry{name: padded([]byte(".."), nil), attr: attrFolder, cluster: parent, mtime: n.mtime}, b)
	}
	for _, c := range n.children {
		if c.long {
			b = appendLong(b, c.name, c.short)
		}
		e := entry{name: c.short, attr: attrArchive, cluster: c.first, size: c.size, mtime: c.mtime}
		if c.dir {
			e.attr, e.size = attrFolder, 0
		}
		b = v.entry(e, b)
	}
	return b
}

// entry appends an entry with the volume's time, which its own may not pass.
func (v *volume) entry(e entry, b []byte) []byte {
	e.created = *v.o.Time
	if e.mtime.After(e.created) {
		e.mtime = e.created
	}
	return e.appendTo(b)
}

func padLabel(label string) (s shortName) {
	copy(s[:], "           ")
	copy(s[:], label)
	return s
}
