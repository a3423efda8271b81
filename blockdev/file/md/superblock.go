package md

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

const (
	superMagic  = 0xa92b4efc
	superBytes  = 256 // before the roles
	bitmapMagic = 0x6d746962
	roleSpare   = 0xffff

	featureBitmap = 1

	// events counts the superblock's updates. It is even, as a clean array's is, and
	// above zero: to the kernel zero is an array not yet made.
	events = 2

	daemonSleep = 5 // seconds between two looks for bits to clear, as mdadm sets it
)

// superblock is the first 256 bytes of struct mdp_superblock_1, little-endian.
type superblock struct {
	Magic, Major, Features, _   uint32
	SetUUID                     [16]byte
	Name                        [32]byte
	Created                     uint64 // seconds, 40 bits
	Level, Layout               uint32
	Size                        uint64 // sectors used of each member
	Chunk                       uint32 // sectors
	Disks                       uint32
	BitmapOffset                int32    // sectors, from the superblock
	_                           [28]byte // reshape
	DataOffset, DataSize, Super uint64   // sectors
	_                           uint64   // recovery
	Number, _                   uint32   // of this member
	DeviceUUID                  [16]byte
	_                           uint8 // flags
	BadLogShift                 uint8
	BadLogSize                  uint16 // sectors
	BadLogOffset                int32  // sectors, from the superblock
	Updated, Events, Resync     uint64
	Sum, MaxDevices             uint32
	_                           [32]byte
}

// bitmapSuper is the first 256 bytes of a bitmap, little-endian.
type bitmapSuper struct {
	Magic, Version        uint32
	UUID                  [16]byte
	Events, EventsCleared uint64
	SyncSize              uint64 // sectors
	State, Chunk          uint32 // chunk in bytes
	DaemonSleep           uint32 // seconds
	WriteBehind           uint32
	_                     [192]byte
}

// WriteSuperblocks writes superblocks and bitmaps, and nothing between. Errors
// name the member, counted from 0. What is said of zeros in the package's comment
// must hold, or NeedsResync be set.
func (a Array) WriteSuperblocks(members []Device) error {
	p, err := a.plan()
	if err != nil {
		return fmt.Errorf("writing array %q: %w", a.Name, err)
	}
	id, err := a.identity()
	if err != nil {
		return fmt.Errorf("writing array %q: %w", a.Name, err)
	}
	if len(members) != p.n {
		return fmt.Errorf("writing array %q: %d members given, it has %d", a.Name, len(members), p.n)
	}
	for i, m := range members {
		if err := p.writeMember(m, i, id, a.NeedsResync && a.Level != 0); err != nil {
			return fmt.Errorf("writing array %q: member %d: %w", a.Name, i, err)
		}
	}
	return nil
}

func (p plan) writeMember(m Device, i int, id identity, dirty bool) error {
	at := p.members[i].super
	if p.bitmapSpace > 0 {
		if _, err := m.WriteAt(p.bitmap(id, dirty), (at+p.bitmapOffset)*sector); err != nil {
			return fmt.Errorf("writing its bitmap: %w", err)
		}
	}
	if _, err := m.WriteAt(p.superblock(i, id, dirty), at*sector); err != nil {
		return fmt.Errorf("writing its superblock: %w", err)
	}
	return nil
}

// superblock gives the whole 4 KiB of a member.
func (p plan) superblock(i int, id identity, dirty bool) []byte {
	m := p.members[i]
	sb := superblock{
		Magic: superMagic, Major: 1, SetUUID: id.uuid, Created: id.time, Updated: id.time, Events: events,
		Level: uint32(p.level), Layout: p.layoutNumber(), Size: uint64(p.superSize()), Chunk: uint32(p.chunk / sector),
		Disks: uint32(p.n), DataOffset: uint64(p.dataOffset), DataSize: uint64(m.dataSize), Super: uint64(m.super),
		Number: uint32(i), DeviceUUID: id.devices[i],
		Resync: math.MaxUint64, MaxDevices: p.maxDevices(),
	}
	copy(sb.Name[:], id.name)
	if m.badLog != 0 {
		sb.BadLogSize, sb.BadLogOffset = badLogSectors, int32(m.badLog)
	}
	if p.bitmapSpace > 0 {
		sb.Features, sb.BitmapOffset = featureBitmap, int32(p.bitmapOffset)
	}
	if dirty {
		sb.Resync = 0
	}
	b := encode(sb)
	for role := range p.maxDevices() {
		if role >= sb.Disks {
			role = roleSpare
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(role))
	}
	binary.LittleEndian.PutUint32(b[superBytes-40:], checksum(b))
	return append(b, make([]byte, superSectors*sector-len(b))...)
}

// maxDevices is the number of roles: what fills whole sectors.
func (p plan) maxDevices() uint32 {
	return uint32((ceil(superBytes+2*int64(p.n), sector)*sector - superBytes) / 2)
}

// checksum adds the little-endian words of a superblock whose own sum is zero,
// and the carries to that.
func checksum(b []byte) uint32 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.LittleEndian.Uint32(b))
	}
	return uint32(sum) + uint32(sum>>32)
}

// bitmap gives the whole of a member's bitmap: no bit set, or all.
func (p plan) bitmap(id identity, dirty bool) []byte {
	b := encode(bitmapSuper{
		Magic: bitmapMagic, Version: 4, UUID: id.uuid, Events: events, EventsCleared: events,
		SyncSize: uint64(p.syncSize), Chunk: uint32(p.bitmapChunk), DaemonSleep: daemonSleep,
	})
	fill := byte(0)
	if dirty {
		fill = 0xff
	}
	return append(b, bytes.Repeat([]byte{fill}, int(p.bitmapSpace*sector)-len(b))...)
}

func encode(v any) []byte {
	var b bytes.Buffer
	// The types are of fixed size, and a buffer takes everything.
	if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
		panic(err)
	}
	return b.Bytes()
}
