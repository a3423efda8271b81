package luks

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/cpu"
)

// hardware is whether this processor has instructions for AES.
var hardware = cpu.X86.HasAES && cpu.X86.HasSSE41

// In xts_amd64.s; dst and src are the same or apart. The tweak is that of the
// first block and is left as that of the block after the last.
//
//go:noescape
func encryptXEX(keys *byte, rounds int, dst, src, tweak *byte, blocks int)

//go:noescape
func decryptXEX(keys *byte, rounds int, dst, src, tweak *byte, blocks int)

// substitute is SubWord of FIPS 197.
//
//go:noescape
func substitute(word uint32) uint32

// invertMix is InvMixColumns of FIPS 197.
//
//go:noescape
func invertMix(dst, src *byte)

// fastKey is an AES key made ready for the processor's instructions: the round
// keys in both directions, ours to wipe.
type fastKey struct {
	rounds   int
	enc, dec [15 * 16]byte
}

// newFastKey expands a key of 16 or 32 bytes as FIPS 197, 5.2 says.
func newFastKey(key []byte) *fastKey {
	words := len(key) / 4
	k := &fastKey{rounds: words + 6}
	copy(k.enc[:], key)
	round := uint32(1)
	for i := words; i < 4*(k.rounds+1); i++ {
		w := binary.LittleEndian.Uint32(k.enc[4*(i-1):])
		switch {
		case i%words == 0:
			w = substitute(bits.RotateLeft32(w, -8)) ^ round
			round = round<<1 ^ round>>7*0x11b
		case words == 8 && i%words == 4:
			w = substitute(w)
		}
		w ^= binary.LittleEndian.Uint32(k.enc[4*(i-words):])
		binary.LittleEndian.PutUint32(k.enc[4*i:], w)
	}
	copy(k.dec[:16], k.enc[16*k.rounds:])
	copy(k.dec[16*k.rounds:], k.enc[:16])
	for i := 1; i < k.rounds; i++ {
		invertMix(&k.dec[16*i], &k.enc[16*(k.rounds-i)])
	}
	return k
}

func (k *fastKey) encrypt(dst, src []byte, tweak *[16]byte) {
	if len(src) > 0 {
		_ = dst[len(src)-1]
		encryptXEX(&k.enc[0], k.rounds, &dst[0], &src[0], &tweak[0], len(src)/16)
	}
}

func (k *fastKey) decrypt(dst, src []byte, tweak *[16]byte) {
	if len(src) > 0 {
		_ = dst[len(src)-1]
		decryptXEX(&k.dec[0], k.rounds, &dst[0], &src[0], &tweak[0], len(src)/16)
	}
}

func (k *fastKey) wipe() {
	clear(k.enc[:])
	clear(k.dec[:])
}

// newKey makes an AES key of 16 or 32 bytes ready.
func newKey(key []byte) xexKey {
	if hardware {
		return newFastKey(key)
	}
	return newPlainKey(key)
}
