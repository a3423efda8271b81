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

// matcher finds repetitions in one cluster at a time with two hash tables, one
// over eight bytes and one over five, whose places hold the last position only.
// It is the scheme of zstd's level 3, with tables that fit the nearer caches
// and longer steps where nothing is found.
type matcher struct {
	long  [1 << longBits]uint32
	short [1 << shortBits]uint32
	// The tables are used in part for small clusters, which then stay in a
	// cache that is nearer: by so much the hashes are shifted.
	longShift, shortShift uint8
	// base is what is added to positions of this cluster in the tables, so
	// that entries of clusters before it are seen as such without clearing.
	base uint32

	src      []byte
	rep      [3]uint32 // the repeated offsets
	seqs     []sequence
	literals []byte
	anchor   int // where the literals that have no sequence yet begin
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
func (m *matcher) reset(src []byte) {
	next := uint64(m.base) + uint64(len(m.src)) + 1
	if next+uint64(len(src)) > 1<<31 {
		clear(m.long[:])
		clear(m.short[:])
		next = 1
	}
	m.longShift, m.shortShift = 64-longBits, 64-shortBits
	if len(src) <= 64<<10 {
		m.longShift, m.shortShift = 64-longBits+1, 64-shortBits+1
	}
	m.base, m.src, m.rep = uint32(next), src, [3]uint32{1, 4, 8}
}

// block finds the sequences of src[from:to], with matches that may lie in all
// that came before in the cluster.
func (m *matcher) block(from, to int) {
	if m.seqs == nil {
		m.seqs, m.literals = make([]sequence, 0, zstdBlock/4), make([]byte, 0, zstdBlock)
	}
	m.seqs, m.literals, m.anchor = m.seqs[:0], m.literals[:0], from
	src, base := m.src[:to], m.base
	ls, ss := m.longShift, m.shortShift
	limit := to - matchTail
	for i := from; i < limit; {
		v := load64(src, i)
		hl, hs := hashLong(v, ls), hashShort(v, ss)
		cl, cs := m.long[hl], m.short[hs]
		m.long[hl], m.short[hs] = base+uint32(i), base+uint32(i)
		// The last offset again, one byte on: cheapest to code.
		if r := int(m.rep[0]); r <= i && uint32(v>>8) == load32(src, i+1-r) {
			i = m.repeat(i+1, to)
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
			c1 := m.long[h1]
			m.long[h1] = base + uint32(i+1)
			if c1 >= base && load64(src, int(c1-base)) == v1 {
				at = int(c1 - base)
				i++
			}
		default:
			i += (i-m.anchor)>>5 + 1
			continue
		}
		i = m.match(i, at, to)
	}
	m.literals = append(m.literals, src[m.anchor:to]...)
}

// match takes a match of at least four bytes at i with what is at cand, longer
// if it is, and gives the position behind it.
func (m *matcher) match(i, cand, to int) int {
	src := m.src[:to]
	offset := i - cand
	end := i + 4 + matchLength(src[i+4:], src[cand+4:])
	for i > m.anchor && cand > 0 && src[i-1] == src[cand-1] {
		i--
		cand--
	}
	m.add(i, end, uint32(offset)+3)
	m.rep = [3]uint32{uint32(offset), m.rep[0], m.rep[1]}
	return m.after(i, end, to)
}

// repeat takes a match of at least four bytes with the last offset at i, which
// is behind the anchor, so that there are literals in between.
func (m *matcher) repeat(i, to int) int {
	src := m.src[:to]
	end := i + 4 + matchLength(src[i+4:], src[i+4-int(m.rep[0]):])
	m.add(i, end, 1)
	return m.after(i, end, to)
}

// after enters positions of the match [start, end) into the tables, and takes
// matches with the offset before the last while they follow at once.
func (m *matcher) after(start, end, to int) int {
	src := m.src[:to]
	limit := to - matchTail
	if end >= limit {
		return end
	}
	m.enter(start + 2)
	m.enter(end - 2)
	for end < limit {
		r := int(m.rep[1])
		if r > end || load32(src, end) != load32(src, end-r) {
			break
		}
		next := end + 4 + matchLength(src[end+4:], src[end+4-r:])
		m.enter(end)
		m.add(end, next, 1) // with no literals, 1 is the second offset
		m.rep[0], m.rep[1] = m.rep[1], m.rep[0]
		end = next
	}
	return end
}

func (m *matcher) enter(i int) {
	v := load64(m.src, i)
	m.long[hashLong(v, m.longShift)], m.short[hashShort(v, m.shortShift)] = m.base+uint32(i), m.base+uint32(i)
}

func (m *matcher) add(start, end int, value uint32) {
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
