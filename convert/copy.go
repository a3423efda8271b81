package convert

import (
	"context"
	"fmt"
	"os"
	"sync"
)

const (
	rawChunk = 256 << 10 // what is read and written at once; it stays in a core's cache
	rawBlock = 4 << 10   // the block of the file systems that keep holes
)

// copier copies what is not zero from a disk to places in a file. Each worker
// reads a stretch and writes it at once, while it is in the cache; in which
// order that happens does not show in the file.
type copier struct {
	src     Source
	dst     *os.File
	options Options
	// place gives the byte of dst where that of src goes. A stretch never
	// crosses a multiple of rawChunk.
	place func(off int64) int64

	mu     sync.Mutex
	next   int64 // where to look for data
	end    int64 // of the data that next is in
	done   int64 // bytes behind, holes before next included
	failed error // the first error
}

// run ends when all is copied, or with the first error; no goroutine is left.
func (c *copier) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range c.options.workerCount(rawChunk) {
		wg.Go(func() {
			buf := make([]byte, rawChunk)
			for c.step(ctx, buf) {
			}
		})
	}
	wg.Wait()
	return c.failed
}

// step copies one stretch; false when there is none, or an error.
func (c *copier) step(ctx context.Context, buf []byte) bool {
	off, n, err := c.take(ctx)
	if err == nil && n > 0 {
		err = c.copy(buf[:n], off)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.failed == nil {
			c.failed = err
		}
		return false
	}
	if n > 0 {
		c.done = max(c.done, off+int64(n))
		c.options.progress(c.done, c.src.Size)
	}
	return n > 0
}

// take gives the next stretch with data.
func (c *copier) take(ctx context.Context) (off int64, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return 0, 0, nil // another worker's
	}
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	if c.next >= c.end {
		if c.next, c.end, err = c.src.nextData(c.next); err != nil {
			return 0, 0, err
		}
	}
	off = c.next
	c.next = min(c.end, (off/rawChunk+1)*rawChunk)
	return off, int(c.next - off), nil
}

func (c *copier) copy(p []byte, off int64) error {
	if err := c.src.read(p, off); err != nil {
		return err
	}
	to := c.place(off)
	return runs(p, rawBlock, func(from, end int) error {
		if _, err := c.dst.WriteAt(p[from:end], to+int64(from)); err != nil {
			return fmt.Errorf("writing the image: %w", err)
		}
		return nil
	})
}

// hasData tells whether a stretch of the disk holds anything but zeros. It
// reads little where the first bytes say so.
func (s Source) hasData(off, end int64, buf []byte) (bool, error) {
	for n := int64(rawBlock); off < end; n = min(2*n, int64(len(buf))) {
		p := buf[:min(n, end-off)]
		if err := s.read(p, off); err != nil {
			return false, err
		}
		if !isZero(p) {
			return true, nil
		}
		off += int64(len(p))
	}
	return false, nil
}
