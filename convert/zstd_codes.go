package convert

import "math/bits"

// The codes of lengths and the predefined probabilities, RFC 8878, 3.1.1.3.2.

// literalBits and matchBits are how many bits follow each code.
var (
	literalBits = [36]uint8{16: 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	matchBits   = [53]uint8{32: 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

// smallLiteral and smallMatch are the codes of lengths below 64 and of matches
// below 128+3; above, each power of two has its code.
var (
	smallLiteral = smallCodes(literalBits[:], 64)
	smallMatch   = smallCodes(matchBits[:], 128)
)

func smallCodes(extra []uint8, limit int) (codes [128]uint8) {
	length := 0
	for code, n := range extra {
		for range 1 << n {
			if length == limit {
				return codes
			}
			codes[length] = uint8(code)
			length++
		}
	}
	return codes
}

func literalCode(n uint32) uint8 {
	if n < 64 {
		return smallLiteral[n]
	}
	return uint8(bits.Len32(n) - 1 + 19)
}

// matchCode is the code of a match of n bytes, three at least.
func matchCode(n uint32) uint8 {
	if n -= 3; n < 128 {
		return smallMatch[n]
	}
	return uint8(bits.Len32(n) - 1 + 36)
}

// predefined are the tables for few sequences, which need no description.
var predefined = [3]fseTable{
	literalCodes: predefine(6, []int16{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2,
		1, 1, 1, 1, 1, -1, -1, -1, -1}),
	offsetCodes: predefine(5, []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1}),
	matchCodes: predefine(6, []int16{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
		1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1}),
}

func predefine(log uint, norm []int16) (t fseTable) {
	t.build(norm, log)
	return t
}
