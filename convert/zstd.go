package convert

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/klauspost/compress/huff0"
)

// zstdFrames makes one frame of each cluster (RFC 8878), with its size and
// without a checksum, as QEMU does. It is made for pieces of this size: see
// the package comment for what it gains over a general encoder.
type zstdFrames struct {
	find     finder
	match    matches
	literals huff0.Scratch
	codes    [3][]uint8 // of literal lengths, offsets, match lengths
	counts   [3][64]uint32
	tables   [3]fseTable
	scratch  []byte
}

const zstdBlock = 128 << 10

func newZstdFrames(cluster int) *zstdFrames {
	return &zstdFrames{find: newFinder(cluster)}
}

// compress appends the frame of p, which has 512 bytes at least, to dst.
func (z *zstdFrames) compress(dst, p []byte) ([]byte, error) {
	dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd)
	if n := len(p) - 256; n <= 0xffff {
		dst = append(dst, 1<<6|1<<5) // two bytes of size, one segment
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
	} else {
		dst = append(dst, 2<<6|1<<5)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p)))
	}
	z.find.reset(len(p))
	z.match.reset(p)
	for from := 0; from < len(p); from += zstdBlock {
		to := min(from+zstdBlock, len(p))
		var err error
		if dst, err = z.block(dst, p, from, to); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// Types of blocks and of literals.
const (
	blockRaw = iota
	blockRLE
	blockCompressed
)

func (z *zstdFrames) block(dst, p []byte, from, to int) ([]byte, error) {
	size := to - from
	if src := p[from:to]; bytes.Equal(src[1:], src[:size-1]) {
		dst = blockHeader(dst, blockRLE, size, to == len(p))
		return append(dst, src[0]), nil
	}
	reps := z.match.rep
	z.find.block(&z.match, from, to)
	body, err := z.appendLiterals(z.scratch[:0], z.match.literals)
	if err != nil {
		return dst, err
	}
	body = z.appendSequences(body, z.match.seqs)
	z.scratch = body
	if len(body) >= size {
		z.match.rep = reps // a reader of raw blocks sees no offsets
		dst = blockHeader(dst, blockRaw, size, to == len(p))
		return append(dst, p[from:to]...), nil
	}
	dst = blockHeader(dst, blockCompressed, len(body), to == len(p))
	return append(dst, body...), nil
}

func blockHeader(dst []byte, kind, size int, last bool) []byte {
	v := uint32(kind)<<1 | uint32(size)<<3
	if last {
		v |= 1
	}
	return append(dst, byte(v), byte(v>>8), byte(v>>16))
}

// appendLiterals appends the literals section, Huffman-coded where that pays.
// Each block has its own table: the clusters that have several are rare.
func (z *zstdFrames) appendLiterals(dst, lit []byte) ([]byte, error) {
	if len(lit) < 32 {
		return append(literalsHeader(dst, blockRaw, len(lit)), lit...), nil
	}
	s, one := &z.literals, len(lit) < 1<<10
	s.Reuse = huff0.ReusePolicyNone
	code := huff0.Compress4X
	if one {
		code = huff0.Compress1X
	}
	out, _, err := code(lit, s)
	switch {
	case err == huff0.ErrUseRLE:
		return append(literalsHeader(dst, blockRLE, len(lit)), lit[0]), nil
	case err == huff0.ErrIncompressible || err == nil && len(out) >= len(lit):
		return append(literalsHeader(dst, blockRaw, len(lit)), lit...), nil
	case err != nil:
		return dst, err
	}
	return append(codedHeader(dst, len(lit), len(out), one), out...), nil
}

// literalsHeader is that of literals that are raw or one repeated.
func literalsHeader(dst []byte, kind, size int) []byte {
	v := uint32(kind)
	switch {
	case size < 1<<5:
		return append(dst, byte(v|uint32(size)<<3))
	case size < 1<<12:
		v |= 1<<2 | uint32(size)<<4
		return append(dst, byte(v), byte(v>>8))
	}
	v |= 3<<2 | uint32(size)<<4
	return append(dst, byte(v), byte(v>>8), byte(v>>16))
}

// codedHeader is that of Huffman-coded literals, in one stream or four.
func codedHeader(dst []byte, size, coded int, one bool) []byte {
	format, width := uint64(3), 18
	switch n := max(size, coded); {
	case one:
		format, width = 0, 10
	case n < 1<<10:
		format, width = 1, 10
	case n < 1<<14:
		format, width = 2, 14
	}
	v := blockCompressed | format<<2 | uint64(size)<<4 | uint64(coded)<<(4+width)
	for range (4 + 2*width + 7) / 8 {
		dst = append(dst, byte(v))
		v >>= 8
	}
	return dst
}

// Kinds of codes, in the order in which their tables are described.
const (
	literalCodes = iota
	offsetCodes
	matchCodes
)

// How a table is told.
const (
	tablePredefined = iota
	tableRLE
	tableFSE
)

var tableLimit = [3]uint{9, 8, 9}

// appendSequences appends the sequences section.
func (z *zstdFrames) appendSequences(dst []byte, seqs []sequence) []byte {
	switch n := len(seqs); {
	case n == 0:
		return append(dst, 0)
	case n < 128:
		dst = append(dst, byte(n))
	case n < 0x7f00:
		dst = append(dst, byte(n>>8)+128, byte(n))
	default:
		dst = append(dst, 255, byte(n-0x7f00), byte((n-0x7f00)>>8))
	}
	z.setCodes(seqs)
	modes := len(dst)
	dst = append(dst, 0)
	var tables [3]*fseTable
	for kind := range tables {
		var mode byte
		tables[kind], mode, dst = z.table(kind, dst)
		dst[modes] |= mode << (6 - 2*kind)
	}
	return z.appendBits(dst, seqs, tables)
}

func (z *zstdFrames) setCodes(seqs []sequence) {
	for k := range z.codes {
		if cap(z.codes[k]) < len(seqs) {
			z.codes[k] = make([]uint8, len(seqs), zstdBlock/4)
		}
		z.codes[k] = z.codes[k][:len(seqs)]
	}
	clear(z.counts[:])
	ll, of, ml := z.codes[0][:len(seqs)], z.codes[1][:len(seqs)], z.codes[2][:len(seqs)]
	for i, s := range seqs {
		l, o, m := literalCode(s.literals), uint8(bits.Len32(s.value)-1), matchCode(s.match)
		ll[i], of[i], ml[i] = l, o, m
		z.counts[0][l&63]++
		z.counts[1][o&63]++
		z.counts[2][m&63]++
	}
}

// table chooses the table for one kind of codes and appends its description.
func (z *zstdFrames) table(kind int, dst []byte) (*fseTable, byte, []byte) {
	codes, counts := z.codes[kind], &z.counts[kind]
	last := maxSymbols - 1
	for counts[last] == 0 {
		last--
	}
	t := &z.tables[kind]
	if int(counts[last]) == len(codes) && len(codes) > 2 {
		var norm [maxSymbols]int16
		norm[last] = 1
		t.build(norm[:last+1], 0)
		return t, tableRLE, append(dst, byte(last))
	}
	if len(codes) < 64 {
		return &predefined[kind], tablePredefined, dst
	}
	log := tableLog(len(codes), last, tableLimit[kind])
	var norm [maxSymbols]int16
	normalize(norm[:last+1], counts[:last+1], len(codes), log)
	t.build(norm[:last+1], log)
	return t, tableFSE, writeNorm(dst, norm[:last+1], log)
}

// appendBits codes the sequences, the last one first, which is what a reader
// that begins at the end needs.
func (z *zstdFrames) appendBits(dst []byte, seqs []sequence, t [3]*fseTable) []byte {
	w := newBitWriter(dst, 10*len(seqs)+16) // 79 bits a sequence at most
	ll, of, ml := z.codes[0][:len(seqs)], z.codes[1][:len(seqs)], z.codes[2][:len(seqs)]
	i := len(seqs) - 1
	sm, so, sl := t[matchCodes].start(ml[i]), t[offsetCodes].start(of[i]), t[literalCodes].start(ll[i])
	for {
		l, m, o := ll[i], ml[i], of[i]
		w.add(uint64(seqs[i].literals)&(1<<(literalBits[l]&31)-1), uint(literalBits[l]))
		w.add(uint64(seqs[i].match-3)&(1<<(matchBits[m]&31)-1), uint(matchBits[m]))
		w.flush()
		w.add(uint64(seqs[i].value)&(1<<(o&31)-1), uint(o))
		if i--; i < 0 {
			break
		}
		so = t[offsetCodes].encode(&w, so, of[i])
		sm = t[matchCodes].encode(&w, sm, ml[i])
		sl = t[literalCodes].encode(&w, sl, ll[i])
		w.flush()
	}
	w.flush()
	for _, s := range [3]struct {
		state uint32
		log   uint
	}{{sm, t[matchCodes].log}, {so, t[offsetCodes].log}, {sl, t[literalCodes].log}} {
		w.add(uint64(s.state)&(1<<s.log-1), s.log)
	}
	w.add(1, 1) // where the reader begins
	return w.pad()
}
