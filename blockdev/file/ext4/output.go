package ext4

import (
	"bytes"
	"io"
	"sync"
)

// output writes behind the caller's back, in the order of the calls, and joins
// what lies end to end. Offsets are bytes of the file system; what lies beyond
// its end (a file system that ran full) is dropped.
type output struct {
	w      io.WriterAt
	offset int64 // of the file system
	size   int64 // of it
	zeros  bool  // the target may hold old data
	buf    []byte
	at     int64 // where buf goes
	free   chan []byte
	jobs   chan job
	done   chan struct{}
	mu     sync.Mutex
	err    error // the first
	kernel *kernel
}

type job struct {
	buf  []byte
	at   int64
	back bool // buf belongs to free
}

// Few large buffers: one that fills, one that is written, some that read ahead.
const (
	bufferSize  = 256 << 10
	bufferCount = 12
	piece       = 4096 // the unit of holes in the target
)

func newOutput(w io.WriterAt, l *layout) *output {
	o := &output{w: w, offset: l.o.Offset, size: l.blocks * l.bs, zeros: l.o.NotEmpty, kernel: kernelFor(w)}
	o.free = make(chan []byte, bufferCount)
	for range bufferCount {
		o.free <- make([]byte, bufferSize)
	}
	o.jobs, o.done = make(chan job, 64), make(chan struct{})
	go o.run()
	return o
}

func (o *output) run() {
	defer close(o.done)
	for j := range o.jobs {
		if o.failed() == nil {
			o.fail(o.write(j.buf, j.at))
		}
		if j.back {
			o.free <- j.buf[:bufferSize]
		}
	}
}

func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *output) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

// put writes a copy of p.
func (o *output) put(p []byte, at int64) {
	for len(p) > 0 {
		if o.buf != nil && (at != o.at+int64(len(o.buf)) || len(o.buf) == bufferSize) {
			o.flush()
		}
		if o.buf == nil {
			o.buf, o.at = (<-o.free)[:0], at
		}
		n := min(len(p), bufferSize-len(o.buf))
		o.buf = append(o.buf, p[:n]...)
		p, at = p[n:], at+int64(n)
	}
}

// flush sends what put has collected on its way.
func (o *output) flush() {
	if o.buf != nil {
		o.jobs <- job{o.buf, o.at, true}
		o.buf = nil
	}
}

// small writes p, which is the output's from now on, without ending what put
// collects: p lies elsewhere.
func (o *output) small(p []byte, at int64) { o.jobs <- job{p, at, false} }

// give writes a buffer that came from free.
func (o *output) give(p []byte, at int64) {
	o.flush()
	o.jobs <- job{p, at, true}
}

// close waits until all is written.
func (o *output) close() error {
	o.flush()
	close(o.jobs)
	<-o.done
	o.kernel.close()
	return o.failed()
}

var nothing [bufferSize]byte

// write leaves out the pieces that are zero in the target already.
func (o *output) write(p []byte, at int64) error {
	p = p[:max(0, min(int64(len(p)), o.size-at))]
	if o.zeros {
		return o.writeAt(p, at)
	}
	from := 0 // where what is to be written begins
	for i := 0; i < len(p); {
		n := min(len(p)-i, int(piece-(at+int64(i))%piece))
		if bytes.Equal(p[i:i+n], nothing[:n]) {
			if err := o.writeAt(p[from:i], at+int64(from)); err != nil {
				return err
			}
			from = i + n
		}
		i += n
	}
	return o.writeAt(p[from:], at+int64(from))
}

func (o *output) writeAt(p []byte, at int64) error {
	if len(p) == 0 {
		return nil
	}
	_, err := o.w.WriteAt(p, o.offset+at)
	return err
}

// clear zeroes a range where the target may hold something else.
func (o *output) clear(at, n int64) {
	for o.zeros && n > 0 {
		k := min(n, bufferSize)
		o.small(nothing[:k], at)
		at, n = at+k, n-k
	}
}
