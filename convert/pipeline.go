package convert

import (
	"context"
	"runtime"
	"sync"
)

// job is one stretch of the disk on its way from a worker to the writer.
type job struct {
	off   int64         // where on the disk
	in    []byte        // its bytes, filled up with zeros to the format's block
	out   []byte        // what the worker made of them, and
	parts []part        // which piece of that is whose
	runs  []plainRun    // what after is to write
	done  chan struct{} // closed by the worker; err and the above are then set
	err   error
}

// work is what a worker does with a job. Each worker has its own, so that it
// may keep an encoder.
type work func(*job) error

// pipeline reads src in stretches of size chunk, lets workers have them in any
// order and gives them to sink in the order of the disk. Stretches that are
// holes are left out. At most depth jobs are under way, and their buffers are
// used again, so memory does not depend on the disk.
type pipeline struct {
	src     Source
	chunk   int // bytes, a multiple of align
	align   int // what the last stretch is filled up to with zeros
	depth   int
	workers []work
	sink    func(*job) error
	// after, when set, is called for each job behind sink, several at a time:
	// for what takes long and needs no order.
	after work
}

// run ends when everything has gone to sink, or with the first error in the
// order of the disk; none of its goroutines is left then.
func (p *pipeline) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg, tail sync.WaitGroup
	defer wg.Wait()
	defer tail.Wait()
	defer cancel(nil)

	todo, ordered := make(chan *job), make(chan *job, p.depth)
	free := make(chan *job, p.depth)
	for range p.depth {
		free <- &job{}
	}
	for _, w := range p.workers {
		wg.Go(func() { p.worker(w, todo) })
	}
	var feedErr error
	wg.Go(func() {
		defer close(ordered)
		defer close(todo)
		feedErr = p.feed(ctx, free, todo, ordered)
	})
	for j := range ordered {
		<-j.done
		if j.err == nil {
			j.err = p.sink(j)
		}
		if j.err != nil {
			return j.err
		}
		if p.after == nil {
			free <- j
			continue
		}
		tail.Go(func() {
			if err := p.after(j); err != nil {
				cancel(err) // the first one is what run gives
			}
			free <- j
		})
	}
	tail.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return feedErr
}

// feed hands out jobs for all data until none is left or ctx ends.
func (p *pipeline) feed(ctx context.Context, free <-chan *job, todo, ordered chan<- *job) error {
	chunk := int64(p.chunk)
	for off := int64(0); ; off += chunk {
		start, _, err := p.src.nextData(off)
		if err != nil {
			return err
		}
		if start >= p.src.Size {
			return context.Cause(ctx)
		}
		off = start / chunk * chunk
		var j *job
		select {
		case j = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		j.off, j.done = off, make(chan struct{})
		ordered <- j // never blocks: it has room for every job there is
		select {
		case todo <- j:
		case <-ctx.Done():
			j.err = context.Cause(ctx)
			close(j.done)
			return j.err
		}
	}
}

func (p *pipeline) worker(w work, todo <-chan *job) {
	for j := range todo {
		if j.in == nil {
			j.in = make([]byte, p.chunk)
		}
		left := roundUp(p.src.Size-j.off, int64(p.align))
		j.in = j.in[:min(int64(p.chunk), left)]
		if j.err = p.src.read(j.in, j.off); j.err == nil {
			j.err = w(j)
		}
		close(j.done)
	}
}

func roundUp(n, to int64) int64 {
	return (n + to - 1) / to * to
}

// jobMemory is what jobs may take together, beyond two for each worker.
const jobMemory = 48 << 20

// workerCount is the number of workers that o asks for, within a budget of
// memory when each takes cost bytes.
func (o Options) workerCount(cost int) int {
	const budget = 96 << 20
	n := o.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return max(1, min(n, budget/cost))
}
