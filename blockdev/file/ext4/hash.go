package ext4

import "math/bits"

// nameHash is half-MD4 with a seed, as hashed folders use it
// (Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories"; the
// three rounds are those of RFC 1320, of half the words each). Bytes count as
// signed, which the superblock says. The lowest bit is free for the index.
func nameHash(seed [16]byte, name string) (major, minor uint32) {
	var state [4]uint32
	for i := range state {
		state[i] = le.Uint32(seed[4*i:])
	}
	for {
		words := hashWords(name)
		halfMD4(&state, &words)
		if len(name) <= 32 {
			break
		}
		name = name[32:]
	}
	major = state[1] &^ 1
	if major == 0xfffffffe { // it would mean the end of a folder
		major = 0xfffffffc
	}
	return major, state[2]
}

// hashWords makes eight words of the first 32 bytes; what is left is filled up
// with the length.
func hashWords(name string) (words [8]uint32) {
	pad := uint32(len(name))
	pad |= pad << 8
	pad |= pad << 16
	for i := range words {
		words[i] = pad
		for k := 4 * i; k < min(4*i+4, len(name)); k++ {
			words[i] = words[i]<<8 + uint32(int8(name[k]))
		}
	}
	return words
}

// halfMD4Order is the order of the words in the second and third round.
var halfMD4Order = [2][8]int{{1, 3, 5, 7, 0, 2, 4, 6}, {3, 7, 2, 6, 1, 5, 0, 4}}

func halfMD4(state *[4]uint32, in *[8]uint32) {
	a, b, c, d := state[0], state[1], state[2], state[3]
	round := func(f func(x, y, z uint32) uint32, word func(i int) int, add uint32, turns [4]int) {
		for i := range 8 {
			a = bits.RotateLeft32(a+f(b, c, d)+in[word(i)]+add, turns[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	round(func(x, y, z uint32) uint32 { return z ^ x&(y^z) },
		func(i int) int { return i }, 0, [4]int{3, 7, 11, 19})
	round(func(x, y, z uint32) uint32 { return x&y + (x^y)&z },
		func(i int) int { return halfMD4Order[0][i] }, 0x5a827999, [4]int{3, 5, 9, 13})
	round(func(x, y, z uint32) uint32 { return x ^ y ^ z },
		func(i int) int { return halfMD4Order[1][i] }, 0x6ed9eba1, [4]int{3, 9, 11, 15})
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}
