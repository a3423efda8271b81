package fat

import (
	"context"
	"encoding/binary"
)

// chunk is how many entries of the FAT are made at once: even, so that those of
// 12 bits come in whole bytes.
const chunk = 1 << 16

// fats writes all copies of the FAT: two reserved entries (the media descriptor;
// the marks of a clean file system), then the runs.
func (v *volume) fats(ctx context.Context) error {
	run, left := 0, int64(0)
	if len(v.runs) > 0 {
		left = v.runs[0]
	}
	entries := v.used + 2
	values := make([]uint32, 0, min(entries, chunk))
	for at := int64(0); at < entries; at += chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		values = values[:0]
		for i := at; i < min(entries, at+chunk); i++ {
			switch {
			case i == 0:
				values = append(values, 0x0FFFFF00|uint32(v.o.Media))
			case i == 1 || left == 1:
				values = append(values, 0x0FFFFFFF) // end of the run
			default:
				values = append(values, uint32(i+1))
			}
			if i < 2 {
				continue
			}
			if left--; left == 0 && run+1 < len(v.runs) {
				run++
				left = v.runs[run]
			}
		}
		if err := v.putTable(encode(values, v.l.bits), at*int64(v.l.bits)/8); err != nil {
			return err
		}
	}
	return v.tableTails((entries*int64(v.l.bits) + 7) / 8)
}

// putTable writes a part of the FAT into every copy.
func (v *volume) putTable(b []byte, at int64) error {
	for i := range v.l.fats {
		if err := v.put(b, (v.l.reserved+i*v.l.fatSize)*v.l.sector+at); err != nil {
			return err
		}
	}
	return nil
}

// tableTails clears what is behind the last entry in use.
func (v *volume) tableTails(from int64) error {
	for i := range v.l.fats {
		start := (v.l.reserved + i*v.l.fatSize) * v.l.sector
		if err := v.zeros(start+from, start+v.l.fatSize*v.l.sector); err != nil {
			return err
		}
	}
	return nil
}

// encode packs entries, of 12 bits two into three bytes.
func encode(values []uint32, bits int) []byte {
	b := make([]byte, 0, len(values)*bits/8+2)
	for i, n := range values {
		switch {
		case bits == 32:
			b = binary.LittleEndian.AppendUint32(b, n)
		case bits == 16:
			b = binary.LittleEndian.AppendUint16(b, uint16(n))
		case i%2 == 0:
			b = append(b, byte(n), byte(n>>8&0x0F))
		default:
			b[len(b)-1] |= byte(n << 4)
			b = append(b, byte(n>>4))
		}
	}
	return b
}
