package convert

import (
	"math/bits"
	"slices"
)

// huffmanBlock writes tokens as blocks of a deflate stream.
type huffmanBlock struct {
	acc  uint64 // bits of the block before that filled no byte
	have uint

	symbols, distances, runs huffman
	lengths                  []uint8
	ops                      []runOp
}

const (
	endOfBlock    = 256
	symbolCount   = 286
	distanceCount = 24 // of 30: those up to 4 KiB
)

// Extra bits of the length and distance symbols, and where their range begins.
var (
	lengthExtra = [29]uint8{8: 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	// lengthSlot is the symbol - 257 of each length - 3, lengthFirst the least
	// length - 3 of each symbol.
	lengthSlot, lengthFirst = lengthSlots()
)

func lengthSlots() (slots [256]uint8, first [29]uint8) {
	n := 0
	for s, extra := range lengthExtra[:28] {
		first[s] = uint8(n)
		for range 1 << extra {
			slots[min(n, 255)] = uint8(s)
			n++
		}
	}
	slots[255], first[28] = 28, 255 // 258 has a symbol of its own
	return slots, first
}

// distanceSlot gives the symbol of a distance - 1, and how many extra bits it has.
func distanceSlot(d uint32) (slot, extra uint32) {
	if d < 4 {
		return d, 0
	}
	n := uint32(bits.Len32(d)) - 2
	return 2*n + 2 + d>>n&1, n
}

// append writes one block, with codes made for it or the fixed ones, whichever
// is smaller. The last one is filled up to a byte.
func (b *huffmanBlock) append(dst []byte, tokens []token, last bool) []byte {
	b.count(tokens)
	b.symbols.build(symbolCount, 15)
	b.distances.build(distanceCount, 15)
	ops, header := b.describe()
	w := newBitWriter(dst, 6*len(tokens)+512)
	w.acc, w.have = b.acc, b.have
	final := uint64(0)
	if last {
		final = 1
	}
	if fixed := fixedSymbols.cost(&b.symbols) + fixedDistances.cost(&b.distances); fixed <=
		header+b.symbols.cost(&b.symbols)+b.distances.cost(&b.distances) {
		w.add(final|1<<1, 3)
		writeTokens(&w, tokens, &fixedSymbols, &fixedDistances)
	} else {
		w.add(final|2<<1, 3)
		b.writeHeader(&w, ops)
		writeTokens(&w, tokens, &b.symbols, &b.distances)
	}
	if last {
		b.acc, b.have = 0, 0
		return w.pad()
	}
	w.flush()
	b.acc, b.have = w.acc, w.have
	return w.out[:w.pos]
}

func (b *huffmanBlock) count(tokens []token) {
	clear(b.symbols.counts[:])
	clear(b.distances.counts[:])
	for _, t := range tokens {
		if t&tokenMatch == 0 {
			b.symbols.counts[t&0xff]++
			continue
		}
		b.symbols.counts[endOfBlock+1+int(lengthSlot[t>>16&0xff])]++
		slot, _ := distanceSlot(uint32(t & 0xffff))
		b.distances.counts[slot]++
	}
	b.symbols.counts[endOfBlock] = 1
	b.distances.counts[0] = max(b.distances.counts[0], 1) // some readers want one
}

// writeTokens writes the tokens and the end of the block.
func writeTokens(w *bitWriter, tokens []token, symbols, distances *huffman) {
	for _, t := range tokens {
		if t&tokenMatch == 0 {
			w.add(uint64(symbols.codes[t&0xff]), uint(symbols.lengths[t&0xff]))
			w.flush()
			continue
		}
		length, distance := t>>16&0xff, uint32(t&0xffff)
		ls := lengthSlot[length]
		w.add(uint64(symbols.codes[endOfBlock+1+int(ls)]), uint(symbols.lengths[endOfBlock+1+int(ls)]))
		w.add(uint64(length)-uint64(lengthFirst[ls]), uint(lengthExtra[ls]))
		slot, extra := distanceSlot(distance)
		w.add(uint64(distances.codes[slot]), uint(distances.lengths[slot]))
		w.add(uint64(distance)&(1<<(extra&15)-1), uint(extra))
		w.flush()
	}
	w.add(uint64(symbols.codes[endOfBlock]), uint(symbols.lengths[endOfBlock]))
	w.flush()
}

// huffman is a set of symbols with their codes.
type huffman struct {
	counts  [symbolCount + 2]uint32
	lengths [symbolCount + 2]uint8
	codes   [symbolCount + 2]uint16 // the first bit lowest
	nodes   []node
}

// node is a symbol or a joint of the tree.
type node struct {
	count  uint32
	symbol int16
	parent int16
}

// build makes codes of at most limit bits for the symbols that occur.
func (h *huffman) build(n, limit int) {
	h.nodes = h.nodes[:0]
	for s, c := range h.counts[:n] {
		h.lengths[s] = 0
		if c > 0 {
			h.nodes = append(h.nodes, node{count: c, symbol: int16(s)})
		}
	}
	slices.SortFunc(h.nodes, func(a, b node) int {
		if a.count != b.count {
			return int(a.count) - int(b.count)
		}
		return int(a.symbol) - int(b.symbol)
	})
	used := len(h.nodes)
	per := h.depths(used)
	limitDepths(&per, limit)
	// The most frequent symbols, which are last, get the shortest codes.
	next := used
	for length := 1; length <= limit; length++ {
		for range per[length] {
			next--
			h.lengths[h.nodes[next].symbol] = uint8(length)
		}
	}
	h.assign(n)
}

// depths joins the nodes, rarest first, to a tree, and counts the symbols at
// each depth. A single symbol gets depth one.
func (h *huffman) depths(used int) (per [64]int) {
	if used == 1 {
		per[1] = 1
		return per
	}
	leaf, joint := 0, used
	for len(h.nodes) < 2*used-1 {
		sum := uint32(0)
		for range 2 {
			least := leaf
			if leaf == used || joint < len(h.nodes) && h.nodes[joint].count < h.nodes[leaf].count {
				least = joint
				joint++
			} else {
				leaf++
			}
			h.nodes[least].parent = int16(len(h.nodes))
			sum += h.nodes[least].count
		}
		h.nodes = append(h.nodes, node{count: sum})
	}
	h.nodes[len(h.nodes)-1].count = 0 // from here on the depth
	for i := len(h.nodes) - 2; i >= 0; i-- {
		h.nodes[i].count = h.nodes[h.nodes[i].parent].count + 1
		if i < used {
			per[min(h.nodes[i].count, 63)]++
		}
	}
	return per
}

// limitDepths moves what is too deep up to the limit and makes room for it by
// moving others down, the deepest first.
func limitDepths(per *[64]int, limit int) {
	room := 1 << limit
	for depth := 1; depth < len(per); depth++ {
		if depth > limit {
			per[limit] += per[depth]
			per[depth] = 0
		}
	}
	for depth := 1; depth <= limit; depth++ {
		room -= per[depth] << (limit - depth)
	}
	for ; room < 0; room++ {
		per[limit]--
		depth := limit - 1
		for per[depth] == 0 {
			depth--
		}
		per[depth]--
		per[depth+1] += 2
	}
}

// assign numbers the codes of each length in the order of their symbols.
func (h *huffman) assign(n int) {
	var per, next [17]uint16
	for _, l := range h.lengths[:n] {
		per[l]++
	}
	per[0] = 0
	for l := 1; l < len(next); l++ {
		next[l] = (next[l-1] + per[l-1]) << 1
	}
	for s, l := range h.lengths[:n] {
		if l > 0 {
			h.codes[s] = bits.Reverse16(next[l]) >> (16 - l)
			next[l]++
		}
	}
}

// cost is the number of bits that symbols with the counts of of take.
func (h *huffman) cost(of *huffman) int {
	n := 0
	for s, c := range of.counts {
		n += int(c) * int(h.lengths[s])
	}
	return n
}

// The fixed codes of the format.
var fixedSymbols, fixedDistances = fixedCodes()

func fixedCodes() (symbols, distances huffman) {
	for s := range 288 {
		switch {
		case s < 144 || s > 279:
			symbols.lengths[s] = 8
		case s < 256:
			symbols.lengths[s] = 9
		default:
			symbols.lengths[s] = 7
		}
	}
	symbols.assign(288)
	for s := range 30 {
		distances.lengths[s] = 5
	}
	distances.assign(30)
	return symbols, distances
}
