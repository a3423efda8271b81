package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"github.com/lithify/lithify/blockdev"
	"golang.org/x/sys/unix"
)

// Fields of an ext superblock (kernel: Documentation/filesystems/ext4/super.rst).
const (
	superAt         = 1024
	superSize       = 1024
	superMagic      = 0x38  // u16, 0xef53
	superState      = 0x3a  // u16: unmounted cleanly, errors seen
	superIncompat   = 0x60  // u32
	superROFeatures = 0x64  // u32
	superLastMount  = 0x88  // 64 bytes
	superChecksum   = 0x3fc // u32, where roMetadataCsum is set
	roMetadataCsum  = 0x400
	stateClean      = 1
	incompatRecover = 0x4 // the journal must be replayed
)

// setLastMounted writes where a file system was last mounted, as tune2fs -M
// does: the kernel noted a path of this host. tune2fs would also wait until the
// whole image is on the host's disk. Nothing has the image mounted.
func setLastMounted(image string, f *blockdev.FSPlan) error {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var sb [superSize]byte
	if _, err := file.ReadAt(sb[:], f.Offset+superAt); err != nil {
		return errors.Join(fmt.Errorf("reading the superblock: %w", err), file.Close())
	}
	if binary.LittleEndian.Uint16(sb[superMagic:]) != 0xef53 {
		return errors.Join(fmt.Errorf("no ext superblock at %d of %s", f.Offset, image), file.Close())
	}
	// Unmounting tells of no write that failed.
	if binary.LittleEndian.Uint16(sb[superState:]) != stateClean || binary.LittleEndian.Uint32(sb[superIncompat:])&incompatRecover != 0 {
		return errors.Join(fmt.Errorf("it was not written to its end: %w", unix.EIO), file.Close())
	}
	field := sb[superLastMount : superLastMount+64]
	clear(field)
	copy(field[:63], f.MountPoint)
	if binary.LittleEndian.Uint32(sb[superROFeatures:])&roMetadataCsum != 0 {
		// The kernel's crc32c starts with all ones and is not inverted.
		sum := ^crc32.Checksum(sb[:superChecksum], crc32.MakeTable(crc32.Castagnoli))
		binary.LittleEndian.PutUint32(sb[superChecksum:], sum)
	}
	_, err = file.WriteAt(sb[:], f.Offset+superAt)
	return errors.Join(err, file.Close())
}
