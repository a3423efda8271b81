package ext4

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c goes on with a checksum as ext4 counts: CRC-32C without the inversions
// at either end.
func crc32c(sum uint32, p []byte) uint32 {
	return ^crc32.Update(^sum, castagnoli, p)
}

// crc16 goes on with the checksum of uninit_bg: polynomial 0x8005, reflected.
func crc16(sum uint16, p []byte) uint16 {
	for _, b := range p {
		sum ^= uint16(b)
		for range 8 {
			carry := sum & 1
			sum >>= 1
			sum ^= carry * 0xa001
		}
	}
	return sum
}

// inodeSeed is where the checksums of what belongs to an inode begin. All
// generations are 0 here.
func (l *layout) inodeSeed(ino uint32) uint32 {
	var b [8]byte
	le.PutUint32(b[:], ino)
	return crc32c(l.seed, b[:])
}
