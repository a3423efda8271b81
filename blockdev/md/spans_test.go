package md

import (
	"math/rand/v2"
	"testing"
)

// TestSpans compares with one bool for each byte.
func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		const size = 40
		var bytes [size]bool
		var s spans
		for range 12 {
			n := span{r.Int64N(size), r.Int64N(size + 1)}
			s = s.add(n)
			for i := n.lo; i < n.hi; i++ {
				bytes[i] = true
			}
			in := span{r.Int64N(size), size}
			checkSpans(t, s, span{0, size}, bytes[:], true)
			checkSpans(t, s.within(in), in, bytes[:], true)
			checkSpans(t, s.missing(in), in, bytes[:], false)
		}
	}
}

// checkSpans: exactly the bytes of r that are value lie in s, and spans that touch
// are one.
func checkSpans(t *testing.T, s spans, r span, bytes []bool, value bool) {
	t.Helper()
	last := int64(-1)
	in := map[int64]bool{}
	for _, e := range s {
		if e.lo <= last || e.lo >= e.hi {
			t.Fatalf("%v: not ascending, or not joined", s)
		}
		for i := e.lo; i < e.hi; i++ {
			in[i] = true
		}
		last = e.hi
	}
	for i, b := range bytes {
		if at := int64(i); in[at] != (b == value && at >= r.lo && at < r.hi) {
			t.Fatalf("%v of %v: byte %d", s, r, i)
		}
	}
}
