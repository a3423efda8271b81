package convert

// runOp is a code length, or a run of them: symbol 16 repeats the last 3 to 6
// times, 17 and 18 are runs of 3 to 10 and of 11 to 138 zeros.
type runOp struct{ symbol, extra uint8 }

var runExtra = [19]uint8{16: 2, 17: 3, 18: 7}

// runOrder is the order in which the lengths of the run symbols are told.
var runOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// describe says how the lengths of both codes are told, and in how many bits.
func (b *huffmanBlock) describe() (ops []runOp, cost int) {
	symbols := b.symbols.used(endOfBlock+1, symbolCount)
	distances := b.distances.used(1, distanceCount)
	b.lengths = append(append(b.lengths[:0], symbols...), distances...)
	b.ops = runOps(b.ops[:0], b.lengths)
	clear(b.runs.counts[:])
	for _, op := range b.ops {
		b.runs.counts[op.symbol]++
		cost += int(runExtra[op.symbol])
	}
	for s := 0; b.runs.counts[s] == uint32(len(b.ops)); s++ {
		b.runs.counts[s+1]++ // this code must not have one symbol alone
	}
	b.runs.build(len(runOrder), 7)
	for _, op := range b.ops {
		cost += int(b.runs.lengths[op.symbol])
	}
	return b.ops, cost + 14 + 3*b.runOrderUsed()
}

// used gives the lengths up to the last symbol that occurs, and least at least.
func (h *huffman) used(least, most int) []uint8 {
	for most > least && h.lengths[most-1] == 0 {
		most--
	}
	return h.lengths[:most]
}

func (b *huffmanBlock) runOrderUsed() int {
	n := len(runOrder)
	for n > 4 && b.runs.lengths[runOrder[n-1]] == 0 {
		n--
	}
	return n
}

// runOps packs lengths into runs.
func runOps(ops []runOp, lengths []uint8) []runOp {
	for i := 0; i < len(lengths); {
		n := 1
		for i+n < len(lengths) && lengths[i+n] == lengths[i] {
			n++
		}
		l := lengths[i]
		i += n
		if l != 0 {
			ops = append(ops, runOp{symbol: l})
			n--
		}
		ops = repeatOps(ops, l, n)
	}
	return ops
}

// repeatOps adds n more lengths l; one that is not zero is there already.
func repeatOps(ops []runOp, l uint8, n int) []runOp {
	for n >= 3 {
		switch {
		case l != 0:
			k := min(n, 6)
			ops, n = append(ops, runOp{16, uint8(k - 3)}), n-k
		case n <= 10:
			ops, n = append(ops, runOp{17, uint8(n - 3)}), 0
		default:
			k := min(n, 138)
			ops, n = append(ops, runOp{18, uint8(k - 11)}), n-k
		}
	}
	for range n {
		ops = append(ops, runOp{symbol: l})
	}
	return ops
}

// writeHeader tells the codes of the block.
func (b *huffmanBlock) writeHeader(w *bitWriter, ops []runOp) {
	distances := len(b.distances.used(1, distanceCount))
	order := b.runOrderUsed()
	w.add(uint64(len(b.lengths)-distances-257), 5)
	w.add(uint64(distances-1), 5)
	w.add(uint64(order-4), 4)
	w.flush()
	for _, s := range runOrder[:order] {
		w.add(uint64(b.runs.lengths[s]), 3)
		w.flush()
	}
	for _, op := range ops {
		w.add(uint64(b.runs.codes[op.symbol]), uint(b.runs.lengths[op.symbol]))
		w.add(uint64(op.extra), uint(runExtra[op.symbol]))
		w.flush()
	}
}
