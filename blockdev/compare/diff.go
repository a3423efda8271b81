package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/lithify/lithify/blockdev/extread"
)

// span is a stretch of bytes, To exclusive.
type span = extread.Range

// difference is where two contents of one length differ. The zero value says that
// they do not.
type difference struct {
	// spans are in order, and whole grains: a span's ends are not exactly where
	// the difference begins and ends.
	spans []span
	bytes int64 // exactly
	first int64 // exactly; -1 for none
}

func (d *difference) any() bool { return d.bytes > 0 }

// within is what lies in a part, counted from its beginning; bytes are not known
// there.
func (d *difference) within(off, size int64) []span {
	var all []span
	for _, s := range d.spans {
		if from, to := max(s.From, off), min(s.To, off+size); from < to {
			all = append(all, span{From: from - off, To: to - off})
		}
	}
	return all
}

const (
	diffChunk  = 1 << 20 // bytes read at once
	firstGrain = 512     // bytes; spans are cut at multiples
	mostSpans  = 2 << 20 // more make the grains coarser, so that memory is bounded
)

// differ compares size bytes of two contents, on all processors. Holes are not
// read where both have one.
func differ(ctx context.Context, a, b sparse, size int64) (*difference, error) {
	w := &differWork{ctx: ctx, a: a, b: b, size: size, grain: firstGrain}
	w.result.first = -1
	var wg sync.WaitGroup
	for range max(1, min(8, runtime.GOMAXPROCS(0), int(size/diffChunk)+1)) {
		wg.Go(func() {
			bufs := [2][]byte{make([]byte, min(diffChunk, size)), make([]byte, min(diffChunk, size))}
			for w.step(&bufs) {
			}
		})
	}
	wg.Wait()
	w.merge()
	return &w.result, w.err
}

type differWork struct {
	ctx  context.Context
	a, b sparse
	size int64

	mu           sync.Mutex
	next         int64
	dataA, dataB span // the data at or after next
	err          error
	grain        int64
	result       difference
}

// step compares one stretch; false when there is none, or an error.
func (w *differWork) step(bufs *[2][]byte) bool {
	at, n, err := w.take()
	if err != nil || n == 0 {
		return w.fail(err)
	}
	pa, pb := bufs[0][:n], bufs[1][:n]
	if err := errors.Join(fill(w.a, pa, at, "A"), fill(w.b, pb, at, "B")); err != nil {
		return w.fail(err)
	}
	if !bytes.Equal(pa, pb) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.note(pa, pb, at)
	}
	return true
}

func (w *differWork) fail(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
	return false
}

func fill(r io.ReaderAt, p []byte, at int64, name string) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %s at byte %d: %w", name, at+int64(n), err)
}

// take gives the next stretch where one of the two has data.
func (w *differWork) take() (at int64, n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.next >= w.size {
		return 0, 0, nil
	}
	if err := context.Cause(w.ctx); err != nil {
		return 0, 0, err
	}
	for _, side := range []struct {
		r sparse
		d *span
	}{{w.a, &w.dataA}, {w.b, &w.dataB}} {
		if side.d.To <= w.next && side.d.From < w.size {
			from, to, err := side.r.NextData(w.next)
			if err != nil {
				return 0, 0, err
			}
			*side.d = span{From: from, To: to}
		}
	}
	at = max(w.next, min(w.dataA.From, w.dataB.From))
	if at >= w.size {
		w.next = w.size
		return 0, 0, nil
	}
	w.next = min(w.size, (at/diffChunk+1)*diffChunk)
	return at, int(w.next - at), nil
}

// note keeps where two buffers differ.
func (w *differWork) note(a, b []byte, at int64) {
	for i := int64(0); i < int64(len(a)); {
		end := min(int64(len(a)), i+w.grain-(at+i)%w.grain)
		pa, pb := a[i:end], b[i:end]
		if !bytes.Equal(pa, pb) {
			first, n := countBytes(pa, pb)
			w.result.bytes += n
			if f := at + i + first; w.result.first < 0 || f < w.result.first {
				w.result.first = f
			}
			w.add(span{From: at + i, To: at + end})
		}
		i = end
	}
}

func (w *differWork) add(s span) {
	if k := len(w.result.spans) - 1; k >= 0 && w.result.spans[k].To == s.From {
		w.result.spans[k].To = s.To
		return
	}
	if w.result.spans = append(w.result.spans, s); len(w.result.spans) >= mostSpans {
		for w.merge(); len(w.result.spans) > mostSpans/2; w.merge() {
			w.grain *= 8
		}
	}
}

// merge sorts the spans, widens them to the grain, and joins those that touch.
func (w *differWork) merge() {
	all := w.result.spans
	slices.SortFunc(all, func(a, b span) int { return int(min(1, max(-1, a.From-b.From))) })
	out := all[:0]
	for _, s := range all {
		s.From -= s.From % w.grain
		s.To = min(w.size, (s.To+w.grain-1)/w.grain*w.grain)
		if k := len(out) - 1; k >= 0 && out[k].To >= s.From {
			out[k].To = max(out[k].To, s.To)
		} else {
			out = append(out, s)
		}
	}
	w.result.spans = out
}

// countBytes finds the first that differs, and how many do.
func countBytes(a, b []byte) (first, n int64) {
	first = -1
	for i := range a {
		if a[i] != b[i] {
			if first < 0 {
				first = int64(i)
			}
			n++
		}
	}
	return first, n
}
