package convert

import "math/bits"

// zlibWindow is how far back a match may lie: QEMU reads with a window of 12
// bits.
const zlibWindow = 4 << 10

// deflater makes one raw deflate stream (RFC 1951) of each cluster. General
// encoders have windows eight times as large; with chains this short every
// match in reach can be looked at, and one stream is as small as zlib's in a
// third of its time.
type deflater struct {
	// head is the last position with a hash, plus base; chain is how far
	// before each position the one before with its hash is, 0 where that is
	// out of reach.
	head  [1 << deflateBits]uint32
	chain [zlibWindow]uint16
	base  uint32
	size  uint32

	tokens []token
	block  huffmanBlock
}

const (
	deflateBits = 13
	// deflateDepth is how many earlier places are looked at for a match.
	deflateDepth = 12
	// deflateGood is the length of a match that is taken without a look
	// whether the next byte begins a better one.
	deflateGood = 32
	minMatch    = 4 // what the hash covers; shorter ones are not looked for
	maxMatch    = 258
	// blockTokens is how many tokens share their codes.
	blockTokens = 6 << 10
)

// token is a literal, or a match: tokenMatch | length-3 << 16 | distance-1.
type token uint32

const tokenMatch = 1 << 31

func (d *deflater) compress(dst, p []byte) ([]byte, error) {
	d.reset(len(p))
	i, length, distance := 0, 0, 0 // of the match at i that is waiting for a better one
	limit := len(p) - minMatch - 4 // reads are of eight bytes
	for i < limit {
		if length == 0 {
			length, distance = d.longest(p, i, minMatch-1)
		}
		if length == 0 {
			d.tokens = append(d.tokens, token(p[i]))
			i++
		} else if next, at := d.better(p, i+1, limit, length); next > 0 {
			d.tokens = append(d.tokens, token(p[i]))
			i, length, distance = i+1, next, at
			continue
		} else {
			d.tokens = append(d.tokens, token(tokenMatch|(length-3)<<16|(distance-1)))
			i = d.skip(p, i, i+length, limit, length < deflateGood)
			length = 0
		}
		if len(d.tokens) >= blockTokens {
			dst = d.block.append(dst, d.tokens, false)
			d.tokens = d.tokens[:0]
		}
	}
	for ; i < len(p); i++ {
		d.tokens = append(d.tokens, token(p[i]))
	}
	return d.block.append(dst, d.tokens, true), nil
}

func (d *deflater) reset(n int) {
	d.tokens = d.tokens[:0]
	d.base += d.size + zlibWindow + 1 // all that is in head is out of reach
	if uint64(d.base)+uint64(n) > 1<<31 {
		clear(d.head[:])
		d.base = zlibWindow + 1
	}
	d.size = uint32(n)
}

// better gives the match at i if that one is longer than length, and enters i.
func (d *deflater) better(p []byte, i, limit, length int) (int, int) {
	if length >= deflateGood || i >= limit {
		return 0, 0
	}
	return d.longest(p, i, length)
}

// skip enters the positions of a match; the first of them, and the second if
// it was looked at, are there already. It gives the match's end.
func (d *deflater) skip(p []byte, start, end, limit int, second bool) int {
	from := start + 1
	if second {
		from++
	}
	for i := from; i < min(end, limit); i++ {
		d.enter(p, i)
	}
	return end
}

// enter makes i the last position with its hash and gives the distance to the
// one before, 0 when it is out of reach.
func (d *deflater) enter(p []byte, i int) int {
	h := load32(p, i) * 2654435761 >> (32 - deflateBits)
	at := d.base + uint32(i)
	distance := at - d.head[h]
	d.head[h] = at
	if distance > zlibWindow {
		distance = 0
	}
	d.chain[i%zlibWindow] = uint16(distance)
	return int(distance)
}

// longest enters i and looks for the longest match at i that is longer than
// least, 0 when there is none.
func (d *deflater) longest(p []byte, i, least int) (length, distance int) {
	step := d.enter(p, i)
	most := min(len(p)-i, maxMatch)
	if least >= most {
		return 0, 0
	}
	from := i
	for range deflateDepth {
		if step == 0 {
			break
		}
		if from -= step; i-from > zlibWindow {
			break
		}
		// The byte that would make it longer differs most often.
		if p[from+least] == p[i+least] && load32(p, from) == load32(p, i) {
			if n := common(p[i:i+most], p[from:]); n > least {
				length, distance, least = n, i-from, n
				if n >= most {
					break
				}
			}
		}
		step = int(d.chain[from%zlibWindow])
	}
	return length, distance
}

// common counts the bytes that a has in common with b, which is not shorter.
func common(a, b []byte) int {
	n := 0
	for n+8 <= len(a) {
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
