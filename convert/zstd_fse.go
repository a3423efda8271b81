package convert

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// bitWriter collects bits from the lowest up. Room for them is made by flush,
// which must be called before 64 of them have come together.
type bitWriter struct {
	out  []byte // room is made by grow
	pos  int    // what of out is written
	acc  uint64
	have uint
}

// newBitWriter appends at most n bytes to out.
func newBitWriter(out []byte, n int) bitWriter {
	pos := len(out)
	out = slices.Grow(out, n+8)
	return bitWriter{out: out[:pos+n+8], pos: pos}
}

func (w *bitWriter) add(v uint64, n uint) {
	w.acc |= v << (w.have & 63)
	w.have += n
}

// flush leaves less than eight bits.
func (w *bitWriter) flush() {
	binary.LittleEndian.PutUint64(w.out[w.pos:], w.acc)
	w.pos += int(w.have >> 3)
	w.acc >>= w.have & 56
	w.have &= 7
}

// pad fills up the last byte with zeros and gives all that was written.
func (w *bitWriter) pad() []byte {
	w.flush()
	if w.have > 0 {
		w.pos++
	}
	return w.out[:w.pos]
}

// fseTable codes symbols by finite state entropy (RFC 8878, 4.1).
type fseTable struct {
	log     uint
	states  [1 << maxTableLog]uint16
	symbols [maxSymbols]fseSymbol
}

type fseSymbol struct {
	deltaBits  uint32
	deltaState int32
}

const (
	maxTableLog = 9
	maxSymbols  = 53
)

// build makes the table from probabilities in units of 1/2^log; -1 is one unit
// for a rare symbol, which gets a place at the end.
func (t *fseTable) build(norm []int16, log uint) {
	t.log = log
	size := 1 << log
	var place [1 << maxTableLog]uint8
	spread(place[:size], norm)
	var next [maxSymbols]int
	total := 0
	for s, n := range norm {
		next[s] = total
		if n < 0 {
			n = 1
		}
		t.symbols[s] = symbolFor(int(n), total, log)
		total += int(n)
	}
	for u := range size {
		s := place[u]
		t.states[next[s]] = uint16(size + u)
		next[s]++
	}
}

func symbolFor(n, before int, log uint) fseSymbol {
	if n <= 1 {
		return fseSymbol{uint32(log<<16) - 1<<log, int32(before - 1)}
	}
	most := log - uint(bits.Len(uint(n-1))-1)
	return fseSymbol{uint32(most<<16) - uint32(n)<<most, int32(before - n)}
}

// spread gives every symbol its places in the table, as the format demands.
func spread(place []uint8, norm []int16) {
	size := len(place)
	high := size - 1
	for s, n := range norm {
		if n == -1 {
			place[high] = uint8(s)
			high--
		}
	}
	pos, step, mask := 0, size>>1+size>>3+3, size-1
	for s, n := range norm {
		for range n {
			place[pos] = uint8(s)
			for pos = (pos + step) & mask; pos > high; {
				pos = (pos + step) & mask
			}
		}
	}
}

// start is the state that codes s as the first symbol, at no cost.
func (t *fseTable) start(s uint8) uint32 {
	sym := &t.symbols[s]
	n := (sym.deltaBits + 1<<15) >> 16
	v := n<<16 - sym.deltaBits
	return uint32(t.states[int32(v>>n)+sym.deltaState])
}

// encode codes s and gives the next state.
func (t *fseTable) encode(w *bitWriter, state uint32, s uint8) uint32 {
	sym := &t.symbols[s]
	n := (state + sym.deltaBits) >> 16 & 15
	w.add(uint64(state)&(1<<n-1), uint(n))
	return uint32(t.states[int32(state>>n)+sym.deltaState])
}

// tableLog is how fine the probabilities of n symbols are worth telling.
func tableLog(n, maxSymbol int, limit uint) uint {
	log := min(limit, uint(bits.Len(uint(n-1))-1)-2)
	least := min(uint(bits.Len(uint(n))), uint(bits.Len(uint(maxSymbol)))+1)
	return max(log, least, 5)
}

// normalize scales counts, whose sum is total, to a sum of 2^log, with at least
// one for each symbol that occurs.
func normalize(norm []int16, counts []uint32, total int, log uint) {
	size := 1 << log
	left, largest := size, 0
	for s, c := range counts {
		n := 0
		if c > 0 {
			n = max(1, (int(c)*size+total/2)/total)
		}
		norm[s] = int16(n)
		left -= n
		if norm[s] > norm[largest] {
			largest = s
		}
	}
	if left >= 0 || int(norm[largest])+left > int(norm[largest])/2 {
		norm[largest] += int16(left)
		return
	}
	for s := 0; left < 0; s = (s + 1) % len(norm) { // many rare symbols
		if norm[s] > 1 {
			norm[s]--
			left++
		}
	}
}

// writeNorm appends the description of a table.
func writeNorm(out []byte, norm []int16, log uint) []byte {
	w := newBitWriter(out, 128)
	w.add(uint64(log-5), 4)
	remaining, threshold, width := 1<<log+1, 1<<log, log+1
	for s := 0; s < len(norm) && remaining > 1; {
		n := int(norm[s])
		s++
		most := 2*threshold - 1 - remaining
		remaining -= max(n, -n)
		v := n + 1
		if v >= threshold {
			v += most
		}
		if v < most {
			w.add(uint64(v), width-1)
		} else {
			w.add(uint64(v), width)
		}
		w.flush()
		for remaining < threshold {
			width--
			threshold >>= 1
		}
		if n == 0 {
			s = writeZeros(&w, norm, s)
		}
	}
	return w.pad()
}

// writeZeros tells how many of the symbols from s on do not occur either, and
// gives the next that does.
func writeZeros(w *bitWriter, norm []int16, s int) int {
	n := 0
	for s+n < len(norm) && norm[s+n] == 0 {
		n++
	}
	s += n
	for ; n >= 3; n -= 3 {
		w.add(3, 2)
		w.flush()
	}
	w.add(uint64(n), 2)
	w.flush()
	return s
}
