package ext4

import (
	"context"
	"fmt"
)

// data gives a file its blocks and writes them.
func (v *volume) data(ctx context.Context, it *item, n *inode) error {
	n.size = it.st.Size
	m := &blockMap{}
	end := int64(0) // blocks before it have their place
	for _, s := range it.spans {
		from, to := max(end, s.From/v.bs), ceil(s.To, v.bs)
		for from < to {
			r := v.take(to - from)
			m.add(from, r)
			from += r.n
		}
		end = max(end, to)
	}
	if !v.isFull() { // else the content may not have been read
		if err := v.copyExtents(ctx, it, m); err != nil {
			return err
		}
	}
	return v.setMap(it.ino, n, m)
}

func (v *volume) copyExtents(ctx context.Context, it *item, m *blockMap) error {
	if it.fd == 0 {
		for _, e := range m.all {
			v.copyShort(it.data, e)
		}
		return nil
	}
	rest, err := v.byKernel(ctx, it, parts(m, v.bs))
	if err != nil {
		return err
	}
	c := &copier{v: v, it: it, filled: make(chan chunk, bufferCount-3)}
	c.stop, c.cancel = context.WithCancel(ctx)
	go c.readAll(rest)
	return c.writeAll()
}

// copyShort writes an extent from a file that is in memory.
func (v *volume) copyShort(data []byte, e extent) {
	from, to := e.logical*v.bs, (e.logical+e.n)*v.bs
	v.out.put(data[from:min(to, int64(len(data)))], e.at*v.bs)
	if over := to - int64(len(data)); over > 0 {
		v.out.put(nothing[:over], e.at*v.bs+int64(len(data))-from)
	}
}

// copier copies what the kernel did not of a long file: one goroutine reads ahead, the other gives to the
// output.
type copier struct {
	v      *volume
	it     *item
	filled chan chunk
	stop   context.Context
	cancel context.CancelFunc
}

type chunk struct {
	buf []byte
	at  int64
	err error
}

func (c *copier) readAll(all []part) {
	defer close(c.filled)
	for _, p := range all {
		for done := int64(0); done < p.n; {
			k := c.read(part{p.from + done, p.at + done, p.n - done})
			c.filled <- k
			if k.err != nil {
				return
			}
			done += int64(len(k.buf))
		}
	}
	if n, err := pread(c.it.fd, make([]byte, 1), c.it.st.Size); n > 0 || err != nil {
		c.filled <- chunk{err: changed(c.it, err)}
	}
}

// read fills one buffer with the beginning of a part. What is behind the file's
// end is zero.
func (c *copier) read(p part) chunk {
	if c.stop.Err() != nil {
		return chunk{err: context.Cause(c.stop)}
	}
	buf := <-c.v.out.free
	buf = buf[:min(bufferSize, p.n)]
	want := int(min(int64(len(buf)), c.it.st.Size-p.from))
	for n := 0; n < want; {
		k, err := pread(c.it.fd, buf[n:want], p.from+int64(n))
		if err != nil || k == 0 {
			c.v.out.free <- buf[:bufferSize]
			return chunk{err: changed(c.it, err)}
		}
		n += k
	}
	clear(buf[want:])
	return chunk{buf, p.at, nil}
}

func changed(it *item, err error) error {
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	return fmt.Errorf("it was changed meanwhile: it had %d bytes", it.st.Size)
}

// writeAll ends only when the reader has ended: it uses the file.
func (c *copier) writeAll() (first error) {
	defer c.cancel()
	for k := range c.filled {
		if k.err == nil && first == nil {
			first = c.v.out.failed()
		} else if first == nil {
			first = k.err
		}
		if first == nil {
			c.v.out.give(k.buf, k.at)
			continue
		}
		c.cancel()
		if k.buf != nil {
			c.v.out.free <- k.buf[:bufferSize]
		}
	}
	return first
}
