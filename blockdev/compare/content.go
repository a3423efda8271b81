package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

func checksum(s string) uint32 { return crc32.ChecksumIEEE([]byte(s)) }

// content compares what two files hold, and where their holes are.
func (w *walk) content(a, b *node, d *Difference) (err error) {
	if w.same != nil && w.same(a, b) {
		return nil
	}
	ca, errA := w.a.open(a)
	cb, errB := w.b.open(b)
	defer func() {
		for _, c := range []content{ca, cb} {
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		}
	}()
	if err := sideErrors(errA, errB); err != nil {
		return err
	}
	return compareContents(w.ctx, side{ca, a.size}, side{cb, b.size}, d, w.o)
}

// side is one of two contents.
type side struct {
	sparse
	size int64
}

// holeless is content whose holes nobody knows.
type holeless interface{ holeless() }

func (s side) knowsHoles() bool {
	_, no := s.sparse.(holeless)
	return !no
}

// compareContents adds to d what differs.
func compareContents(ctx context.Context, a, b side, d *Difference, o Options) error {
	if a.size != b.size {
		d.Changes = append(d.Changes, Change{"size", fmt.Sprint(a.size), fmt.Sprint(b.size)})
	}
	found, err := differSmall(ctx, a, b, min(a.size, b.size))
	if err != nil {
		return err
	}
	if !found.any() && a.size == b.size {
		return compareHoles(a, b, d)
	}
	first := found.first
	if !found.any() {
		first = min(a.size, b.size)
		d.Detail = append(d.Detail, fmt.Sprintf("the first %d bytes are equal, the rest is in one alone", first))
	} else {
		d.Changes = append(d.Changes, Change{What: theContent})
	}
	d.First, d.Bytes = &first, found.bytes
	inside, err := lookInside(ctx, a, b, o)
	if err != nil {
		return err
	}
	if len(inside) == 0 {
		inside = excerpts(a, b, first, 0)
	}
	d.Detail = append(d.Detail, inside...)
	return nil
}

// differSmall is differ for files, of which there are many: in one goroutine, and
// without spans.
func differSmall(ctx context.Context, a, b sparse, size int64) (*difference, error) {
	if size > 8*diffChunk {
		return differ(ctx, a, b, size)
	}
	d := &difference{first: -1}
	pa, pb := make([]byte, size), make([]byte, size)
	if err := errors.Join(fill(a, pa, 0, "A"), fill(b, pb, 0, "B")); err != nil {
		return nil, err
	}
	if !bytes.Equal(pa, pb) {
		d.first, d.bytes = countBytes(pa, pb)
	}
	return d, nil
}

// mostHoles is how many stretches of data of a file are looked at.
const mostHoles = 100_000

// compareHoles tells of files that are equal but for where nothing is allocated.
func compareHoles(a, b side, d *Difference) error {
	if !a.knowsHoles() || !b.knowsHoles() {
		return nil
	}
	da, errA := dataSpans(a)
	db, errB := dataSpans(b)
	if err := sideErrors(errA, errB); err != nil {
		return err
	}
	if slices.Equal(da, db) {
		return nil
	}
	for i := 0; ; i++ {
		var sa, sb span
		if i < len(da) {
			sa = da[i]
		}
		if i < len(db) {
			sb = db[i]
		}
		if sa != sb {
			d.Changes = append(d.Changes, Change{"holes: data", spanText(sa), spanText(sb)})
			return nil
		}
	}
}

func spanText(s span) string {
	if s.From == s.To {
		return "none"
	}
	return fmt.Sprintf("at bytes %d–%d", s.From, s.To-1)
}

// dataSpans are the stretches that are no holes; nil where that is not known.
func dataSpans(c side) ([]span, error) {
	var all []span
	for off := int64(0); off < c.size && len(all) < mostHoles; {
		from, to, err := c.NextData(off)
		if err != nil {
			return nil, err
		}
		if from < to {
			all = append(all, span{From: from, To: to})
		}
		if off = to; from >= c.size {
			break
		}
	}
	return all, nil
}
