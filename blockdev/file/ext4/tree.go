package ext4

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/sparse"
)

// item is one name of the tree on its way from the walk through a reader to the
// writer.
type item struct {
	name  string
	in    *item // its folder; nil: the top
	at    *openFolder
	kind  uint8         // as the folder says; DT_UNKNOWN: ask
	ready chan struct{} // closed when a reader is done with it

	// A reader sets:
	err   error
	st    unix.Stat_t
	attrs []attr
	data  []byte         // of a short file, or a link's target
	fd    int            // of a long file; 0: none
	spans []sparse.Range // of its data

	spared bool // it came under another name: its content was not read

	// The writer sets:
	ino, parent uint32
}

func (it *item) path() string {
	if it.in == nil {
		return "/"
	}
	if it.in.in == nil {
		return "/" + it.name
	}
	return it.in.path() + "/" + it.name
}

// close lets go of what the content is in.
func (it *item) close() {
	if it.fd > 0 {
		unix.Close(it.fd) // only read
		it.fd = 0
	}
	if cap(it.data) == shortFile {
		buffers.Put((*[shortFile]byte)(it.data[:shortFile]))
	}
	it.data = nil
}

// step is what the writer gets, in the order of the walk: a folder's entries all
// come between its opening and its closing, then what is in its folders.
type step struct {
	what int
	it   *item
}

const (
	openStep = iota
	entryStep
	closeStep
)

// openFolder is a descriptor that its users share.
type openFolder struct {
	fd    int
	users atomic.Int32
}

func newOpenFolder(fd int) *openFolder {
	f := &openFolder{fd: fd}
	f.users.Store(1)
	return f
}

func (f *openFolder) release() {
	if f.users.Add(-1) == 0 {
		unix.Close(f.fd) // only read
	}
}

// reading is a walk and its readers.
type reading struct {
	v     *volume
	steps chan step
	jobs  chan *item
	all   sync.WaitGroup
	err   error // of the walk
	path  []*openFolder
}

// ahead is how many entries are read ahead of the writer.
const ahead = 64

// mostOpen is how many folders on the way to the current one are kept open.
const mostOpen = 64

func (v *volume) startReading(ctx context.Context, tree string) *reading {
	r := &reading{v: v, steps: make(chan step, ahead), jobs: make(chan *item, ahead)}
	for range v.o.Workers {
		r.all.Go(func() {
			for it := range r.jobs {
				v.read(ctx, it)
				it.at.release()
				close(it.ready)
			}
		})
	}
	r.all.Go(func() {
		defer close(r.jobs)
		defer close(r.steps)
		r.err = r.walk(ctx, tree)
	})
	return r
}

// wait ends when nothing runs any more.
func (r *reading) wait() error {
	r.all.Wait()
	return r.err
}

const openFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW

func (r *reading) walk(ctx context.Context, tree string) error {
	fd, err := openat(unix.AT_FDCWD, tree, openFlags&^unix.O_NOFOLLOW|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("opening %q: %w", tree, err)
	}
	top := &item{name: ".", kind: unix.DT_DIR}
	at := newOpenFolder(fd)
	r.path = []*openFolder{at}
	defer func() {
		for _, f := range r.path {
			if f != nil {
				f.release()
			}
		}
	}()
	if err := r.send(ctx, top, at); err != nil {
		return err
	}
	return r.folder(ctx, top)
}

// send hands an entry to the writer and to the readers.
func (r *reading) send(ctx context.Context, it *item, at *openFolder) error {
	it.ready = make(chan struct{})
	it.at = at
	if err := r.step(ctx, step{entryStep, it}); err != nil {
		return err
	}
	at.users.Add(1)
	r.jobs <- it // readers never wait for the writer
	return nil
}

func (r *reading) step(ctx context.Context, s step) error {
	select {
	case r.steps <- s:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// folder walks the folder at the end of the path.
func (r *reading) folder(ctx context.Context, it *item) error {
	depth := len(r.path) - 1
	names, err := list(r.path[depth].fd)
	if err != nil {
		return fmt.Errorf("reading the folder %q: %w", it.path(), err)
	}
	if err := r.step(ctx, step{openStep, it}); err != nil {
		return err
	}
	var folders []*item
	for _, n := range names {
		child := &item{name: n.name, in: it, kind: n.kind}
		if child.kind == unix.DT_UNKNOWN {
			if err := child.ask(r.path[depth].fd); err != nil {
				return err
			}
		}
		if child.kind == unix.DT_DIR {
			folders = append(folders, child)
		}
		if err := r.send(ctx, child, r.path[depth]); err != nil {
			return err
		}
	}
	if err := r.step(ctx, step{closeStep, it}); err != nil {
		return err
	}
	for i, child := range folders {
		folders[i] = nil
		if err := r.enter(ctx, child, depth); err != nil {
			return err
		}
	}
	return nil
}

// ask finds the kind where the folder does not tell.
func (it *item) ask(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, it.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%q: %w", it.path(), err)
	}
	it.kind = unix.DT_REG
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		it.kind = unix.DT_DIR
	} else if st.Mode&unix.S_IFMT != unix.S_IFREG {
		it.kind = unix.DT_LNK // read like all that is not opened
	}
	return nil
}

// enter walks a folder below. Far up the path folders are closed, and opened
// again through the one below: a path may be longer than descriptors last.
func (r *reading) enter(ctx context.Context, it *item, depth int) error {
	fd, err := openat(r.path[depth].fd, it.name, openFlags|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("opening the folder %q: %w", it.path(), err)
	}
	r.path = append(r.path, newOpenFolder(fd))
	if far := depth - mostOpen; far > 0 && r.path[far] != nil {
		r.path[far].release()
		r.path[far] = nil
	}
	err = r.folder(ctx, it)
	if err == nil && r.path[depth] == nil {
		err = r.reopen(depth)
	}
	last := len(r.path) - 1
	r.path[last].release()
	r.path = r.path[:last]
	return err
}

func (r *reading) reopen(depth int) error {
	fd, err := openat(r.path[depth+1].fd, "..", openFlags|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("opening a folder again: %w", err)
	}
	r.path[depth] = newOpenFolder(fd)
	return nil
}

func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// named is an entry of a folder, small: there may be a million.
type named struct {
	name string
	kind uint8
}

// list reads a folder's entries, sorted by the bytes of their names.
func list(fd int) ([]named, error) {
	var all []named
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		all = appendEntries(all, buf[:n])
	}
	slices.SortFunc(all, func(a, b named) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all, nil
}

// appendEntries reads what getdents64 gives: inode and offset of eight bytes
// each, length of two, kind, and the name up to a zero.
func appendEntries(all []named, b []byte) []named {
	for len(b) >= 19 {
		size := int(ne.Uint16(b[16:]))
		name := b[19:size]
		if end := slices.Index(name, 0); end >= 0 {
			name = name[:end]
		}
		if s := string(name); s != "." && s != ".." {
			all = append(all, named{s, b[18]})
		}
		b = b[size:]
	}
	return all
}
