package luks

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// xexKey is AES between two additions of a tweak, which is doubled from block to
// block: the inner part of XTS. With a tweak of zero it is AES alone.
type xexKey interface {
	// encrypt and decrypt work at whole blocks of 16 bytes; dst is src or apart
	// from it. The tweak is that of the first block, and then the one that follows
	// the last. Safe for concurrent use.
	encrypt(dst, src []byte, tweak *[16]byte)
	decrypt(dst, src []byte, tweak *[16]byte)
	// wipe forgets the key as well as it can.
	wipe()
}

// xts is XTS-AES as IEEE 1619 describes it, for whole sectors, with their numbers
// in units of 512 bytes as tweaks: Linux' aes-xts-plain64.
type xts struct {
	data, tweak xexKey
	sector      int    // bytes
	offset      uint64 // added to the sectors' numbers, 512 bytes each
}

// newXTS takes a key of 32 or 64 bytes: AES-128 or AES-256.
func newXTS(key []byte, sector int, offset uint64) *xts {
	half := len(key) / 2
	return &xts{data: newKey(key[:half]), tweak: newKey(key[half:]), sector: sector, offset: offset}
}

// tweakBatch is for how many sectors tweaks are made in one go.
const tweakBatch = 64

// encrypt encrypts whole sectors; dst is src or apart from it. The first of them
// is number first, in sectors of x.
func (x *xts) encrypt(dst, src []byte, first uint64) { x.crypt(dst, src, first, x.data.encrypt) }

// decrypt is the way back.
func (x *xts) decrypt(dst, src []byte, first uint64) { x.crypt(dst, src, first, x.data.decrypt) }

func (x *xts) crypt(dst, src []byte, first uint64, work func(dst, src []byte, tweak *[16]byte)) {
	var room [tweakBatch * 16]byte
	for len(src) > 0 {
		n := min(len(src)/x.sector, tweakBatch)
		tweaks := x.tweaks(room[:n*16], first)
		for i := range n {
			at, end := i*x.sector, (i+1)*x.sector
			work(dst[at:end], src[at:end], (*[16]byte)(tweaks[i*16:]))
		}
		dst, src, first = dst[n*x.sector:], src[n*x.sector:], first+uint64(n)
	}
}

// tweaks fills room with the tweaks of the sectors from number first on.
func (x *xts) tweaks(room []byte, first uint64) []byte {
	clear(room)
	for i := 0; i < len(room); i += 16 {
		binary.LittleEndian.PutUint64(room[i:], x.offset+(first+uint64(i/16))*uint64(x.sector/512))
	}
	var none [16]byte
	x.tweak.encrypt(room, room, &none)
	return room
}

func (x *xts) wipe() {
	x.data.wipe()
	x.tweak.wipe()
}

// plainKey is an xexKey over crypto/aes, for processors without a faster one.
type plainKey struct{ block cipher.Block }

func newPlainKey(key []byte) *plainKey {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // callers have checked the length
	}
	return &plainKey{block}
}

func (k *plainKey) encrypt(dst, src []byte, tweak *[16]byte) { xex(dst, src, tweak, k.block.Encrypt) }
func (k *plainKey) decrypt(dst, src []byte, tweak *[16]byte) { xex(dst, src, tweak, k.block.Decrypt) }

// wipe cannot reach the round keys in crypto/aes.
func (k *plainKey) wipe() { k.block = nil }

func xex(dst, src []byte, tweak *[16]byte, work func(dst, src []byte)) {
	le := binary.LittleEndian
	low, high := le.Uint64(tweak[:]), le.Uint64(tweak[8:])
	for i := 0; i+16 <= len(src); i += 16 {
		out, in := dst[i:i+16:i+16], src[i:i+16:i+16]
		le.PutUint64(out, le.Uint64(in)^low)
		le.PutUint64(out[8:], le.Uint64(in[8:])^high)
		work(out, out)
		le.PutUint64(out, le.Uint64(out)^low)
		le.PutUint64(out[8:], le.Uint64(out[8:])^high)
		low, high = low<<1^high>>63*0x87, high<<1^low>>63
	}
	le.PutUint64(tweak[:], low)
	le.PutUint64(tweak[8:], high)
}
