package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes in bytes. BIOS reads sectors of 512 bytes, whatever the disk calls its own.
const (
	sectorSize = 512
	codeSize   = 0x1b8 // of boot.img in sector 0; disk id and partition table follow
)

// Fields of boot.img (GRUB's include/grub/i386/pc/boot.h).
const (
	bootParams      = 0x03 // BIOS parameter block, left as the disk has it
	bootParamsEnd   = 0x5a
	bootCoreSector  = 0x5c // u64: first sector of core.img
	bootDrive       = 0x64 // byte: 0xff, the drive the BIOS started from
	bootDriveCheck  = 0x66 // two bytes: NOPs instead of a jump over the check of DL, as on every hard disk
	noOperation     = 0x90
	signatureOffset = 0x1fe
)

// The block list at the end of core.img's first sector says where the rest is:
// u64 first sector, u16 number of sectors, u16 segment to load it to.
const (
	listStart   = 0x1f4
	listLength  = 0x1fc
	listSegment = 0x1fe
	maxCore     = 0xa0000 - 0x8000 // conventional memory above core.img's place
	coreSegment = 0x820            // core.img's second sector goes to 0x8200, the first lies at 0x8000
)

// gap is room for core.img, in sectors.
type gap struct {
	first, length uint64
	what          string // for messages
}

// checked refuses files that are not what they are called.
func checked(c *code) (*code, error) {
	if len(c.boot) != sectorSize || binary.LittleEndian.Uint16(c.boot[signatureOffset:]) != 0xaa55 {
		return nil, fmt.Errorf("boot.img is not a boot sector: %d bytes", len(c.boot))
	}
	if len(c.core) < 2*sectorSize {
		return nil, fmt.Errorf("core.img is too short: %d bytes", len(c.core))
	}
	if len(c.core) > maxCore {
		return nil, fmt.Errorf("core.img has %d bytes, a BIOS can load %d", len(c.core), maxCore)
	}
	if got := binary.LittleEndian.Uint16(c.core[listSegment:]); got != coreSegment {
		return nil, fmt.Errorf("core.img is not of GRUB for %s: load segment %#x at byte %#x, %#x expected", biosPlatform, got, listSegment, coreSegment)
	}
	return c, nil
}

// disk is what placing needs of an image file.
type disk interface {
	io.ReaderAt
	io.WriterAt
}

func placeOn(d disk, c *code) (bool, error) {
	sector0 := make([]byte, sectorSize)
	if _, err := d.ReadAt(sector0, 0); err != nil {
		return false, fmt.Errorf("reading sector 0: %w", err)
	}
	room, err := findRoom(d, sector0)
	if errors.Is(err, errNoTable) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	core, err := layCore(c.core, room)
	if err != nil {
		return false, err
	}
	if _, err := d.WriteAt(core, int64(room.first)*sectorSize); err != nil {
		return false, fmt.Errorf("writing core.img: %w", err)
	}
	if _, err := d.WriteAt(laySector0(c.boot, sector0, room.first), 0); err != nil {
		return false, fmt.Errorf("writing sector 0: %w", err)
	}
	return true, nil
}

// layCore gives core.img in whole sectors with its block list filled in.
func layCore(img []byte, room gap) ([]byte, error) {
	sectors := (uint64(len(img)) + sectorSize - 1) / sectorSize
	if sectors > room.length {
		return nil, fmt.Errorf("core.img needs %d sectors of %d bytes, %s has %d: start the first partition later (align) or put fewer modules into core.img",
			sectors, sectorSize, room.what, room.length)
	}
	out := make([]byte, sectors*sectorSize)
	copy(out, img)
	binary.LittleEndian.PutUint64(out[listStart:], room.first+1)
	binary.LittleEndian.PutUint16(out[listLength:], uint16(sectors-1))
	binary.LittleEndian.PutUint16(out[listSegment:], coreSegment)
	return out, nil
}

// laySector0 puts boot.img's code into a sector that keeps its parameter block, disk id and table.
func laySector0(img, old []byte, core uint64) []byte {
	out := make([]byte, sectorSize)
	copy(out, old)
	copy(out[:bootParams], img)
	copy(out[bootParamsEnd:codeSize], img[bootParamsEnd:codeSize])
	binary.LittleEndian.PutUint64(out[bootCoreSector:], core)
	out[bootDrive] = 0xff
	out[bootDriveCheck], out[bootDriveCheck+1] = noOperation, noOperation
	return out
}
