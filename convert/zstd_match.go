package convert

import (
	"math/bits"
	"unsafe"
)

// sequence is some literals and a match behind them. value is the offset as
// zstd codes it: 1 to 3 for the repeated ones, else the distance + 3.
type sequence struct {
	literals, match, value uint32
}

// matches is what a finder makes of a block: the sequences and the literals.
type matches struct {
	src      []byte    // the cluster
	rep      [3]uint32 // the repeated offsets
	seqs     []sequence
	literals []byte
	anchor   int // where the literals that have no sequence yet begin
}

// finder finds repetitions.
type finder interface {
	// reset begins a cluster of n bytes.
	reset(n int)
	// block finds those of src[from:to], with matches that may lie in all that
	// came before in the cluster, and adds them.
	block(m *matches, from, to int)
}

// hashFinder finds them with two hash tables, one over eight bytes and one over
// five, whose places hold the last position only. It is the scheme of zstd's
// level 3, with longer steps where nothing is found, and with tables as small
// as can be, because each look waits for the cache: with two bytes a place,
// which do for clusters of 64 KiB, they fit the first-level one.
type hashFinder[T uint16 | uint32] struct {
	long  [1 << longBits]T
	short [1 << shortBits]T
	// Of each table so many bits of the hash are used.
	longShift, shortShift uint8
	// base is what is added to positions of this cluster in the tables, so
	// that entries of clusters before it are seen as such without clearing.
	// It is one at least: an empty place is zero.
	base, size uint32
}

// newFinder is the finder for clusters of this size.
func newFinder(cluster int) finder {
	if cluster <= 1<<16 {
		return &hashFinder[uint16]{longShift: 64 - 13, shortShift: 64 - 12}
	}
	return &hashFinder[uint32]{longShift: 64 - longBits, shortShift: 64 - shortBits}
}

const (
	longBits  = 16
	shortBits = 15
	// matchTail is how many bytes at the end begin no match: reads are of
	// eight bytes, one position ahead.
	matchTail = 9
)

func hashLong(v uint64, shift uint8) uint32  { return uint32(v * 0xcf1bbcdcb7a56463 >> (shift & 63)) }
func hashShort(v uint64, shift uint8) uint32 { return uint32(v << 24 * 889523592379 >> (shift & 63)) }

// load64 and load32 read without the checks of bounds, which cost a fifth of
// the time: block and the functions that it calls stay matchTail before the end.
func load64(b []byte, i int) uint64 {
	return *(*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))
}
func load32(b []byte, i int) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))
}

// reset begins a new cluster.
func (m *matches) reset(src []byte) {
	m.src, m.rep = src, [3]uint32{1, 4, 8}
	if m.seqs == nil {
		m.seqs, m.literals = make([]sequence, 0, zstdBlock/4), make([]byte, 0, zstdBlock)
	}
}

func (h *hashFinder[T]) reset(n int) {
	h.base += h.size + 1
	if limit := uint64(^T(0)) / 2; uint64(h.base)+uint64(n) > limit {
		clear(h.long[:1<<(64-h.longShift)])
		clear(h.short[:1<<(64-h.shortShift)])
		h.base = 1
	}
	h.size = uint32(n)
}

func (h *hashFinder[T]) block(m *matches, from, to int) {
	m.seqs, m.literals, m.anchor = m.seqs[:0], m.literals[:0], from
	src, base := m.src[:to], h.base
	ls, ss := h.longShift, h.shortShift
	limit := to - matchTail
	for i := from; i < limit; {
		v := load64(src, i)
		hl, hs := hashLong(v, ls), hashShort(v, ss)
		cl, cs := uint32(h.long[hl]), uint32(h.short[hs])
		h.long[hl], h.short[hs] = T(base+uint32(i)), T(base+uint32(i))
		// The last offset again, one byte on: cheapest to code.
		if r := int(m.rep[0]); r <= i && uint32(v>>8) == load32(src, i+1-r) {
			i = h.after(m, i+1, m.repeat(i+1, to), to)
			continue
		}
		var at int
		switch {
		case cl >= base && load64(src, int(cl-base)) == v:
			at = int(cl - base)
		case cs >= base && load32(src, int(cs-base)) == uint32(v):
			at = int(cs - base)
			// A long match one byte on beats a short one here.
			v1 := load64(src, i+1)
			h1 := hashLong(v1, ls)
			c1 := uint32(h.long[h1])
			h.long[h1] = T(base + uint32(i+1))
			if c1 >= base && load64(src, int(c1-base)) == v1 {
				at = int(c1 - base)
				i++
			}
		default:
			i += (i-m.anchor)>>6 + 1
			continue
		}
		start, end := m.match(i, at, to)
		i = h.after(m, start, end, to)
	}
	m.literals = append(m.literals, src[m.anchor:to]...)
}

// after enters positions of the match [start, end) into the tables, takes
// matches with the offset before the last while they follow at once, and gives
// the position behind them.
func (h *hashFinder[T]) after(m *matches, start, end, to int) int {
	src := m.src[:to]
	limit := to - matchTail
	if end >= limit {
		return end
	}
	h.enter(src, start+2)
	h.long[hashLong(load64(src, end-2), h.longShift)] = T(h.base + uint32(end-2))
	for end < limit {
		r := int(m.rep[1])
		if r > end || load32(src, end) != load32(src, end-r) {
			break
		}
		next := end + 4 + matchLength(src[end+4:], src[end+4-r:])
		h.enter(src, end)
		m.add(end, next, 1) // with no literals, 1 is the second offset
		m.rep[0], m.rep[1] = m.rep[1], m.rep[0]
		end = next
	}
	return end
}

func (h *hashFinder[T]) enter(src []byte, i int) {
	v := load64(src, i)
	h.long[hashLong(v, h.longShift)] = T(h.base + uint32(i))
	h.short[hashShort(v, h.shortShift)] = T(h.base + uint32(i))
}

// match adds a match of at least four bytes at i with what is at cand, longer
// if it is, and gives its ends.
func (m *matches) match(i, cand, to int) (start, end int) {
	src := m.src[:to]
	offset := i - cand
	end = i + 4 + matchLength(src[i+4:], src[cand+4:])
	for i > m.anchor && cand > 0 && src[i-1] == src[cand-1] {
		i--
		cand--
	}
	m.add(i, end, uint32(offset)+3)
	m.rep = [3]uint32{uint32(offset), m.rep[0], m.rep[1]}
	return i, end
}

// repeat adds a match of at least four bytes with the last offset at i, which
// is behind the anchor, so that there are literals in between.
func (m *matches) repeat(i, to int) (end int) {
	src := m.src[:to]
	end = i + 4 + matchLength(src[i+4:], src[i+4-int(m.rep[0]):])
	m.add(i, end, 1)
	return end
}

func (m *matches) add(start, end int, value uint32) {
	n := start - m.anchor
	m.seqs = append(m.seqs, sequence{uint32(n), uint32(end - start), value})
	at := len(m.literals)
	m.literals = m.literals[:at+n]
	if n <= 16 && m.anchor+16 <= len(m.src) && at+16 <= cap(m.literals) {
		// Most often: sixteen bytes at once, whatever is behind the literals.
		*(*[16]byte)(m.literals[at : at+16]) = [16]byte(m.src[m.anchor:])
	} else {
		copy(m.literals[at:], m.src[m.anchor:start])
	}
	m.anchor = end
}

// matchLength counts the bytes that a, which is not the longer, has in common
// with b from the start.
func matchLength(a, b []byte) int {
	n := 0
	b = b[:len(a)]
	for len(a)-n >= 8 {
		if x := load64(a, n) ^ load64(b, n); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for n < len(a) && a[n] == b[n] {
		n++
	}
	return n
}
