package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/sparse"
)

var ne = binary.NativeEndian

// shortFile is what is read at once, by the readers; longer files are only
// opened, and read by the writer.
const shortFile = 128 << 10

var buffers = sync.Pool{New: func() any { return new([shortFile]byte) }}

// read learns of an entry what the writer needs. It runs beside others and
// touches nothing but the item.
func (v *volume) read(ctx context.Context, it *item) {
	if it.err = context.Cause(ctx); it.err != nil {
		return
	}
	if it.kind == unix.DT_REG {
		it.err = v.readFile(it)
	} else {
		it.err = v.readOther(it)
	}
}

// readOther reads what is not opened: folders, links, devices.
func (v *volume) readOther(it *item) (err error) {
	if err := unix.Fstatat(it.at.fd, it.name, &it.st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if v.spared(it) {
		return nil
	}
	if it.st.Mode&unix.S_IFMT == unix.S_IFLNK {
		b := make([]byte, 4096)
		n, err := unix.Readlinkat(it.at.fd, it.name, b)
		if err != nil {
			return fmt.Errorf("readlink: %w", err)
		}
		it.data = b[:n:n]
	}
	// There is no such call relative to a descriptor before Linux 6.13.
	path := "/proc/self/fd/" + strconv.Itoa(it.at.fd) + "/" + it.name
	it.attrs, err = readAttrs(
		func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
	return err
}

// spared says whether the file is there already under another name.
func (v *volume) spared(it *item) bool {
	isFolder := it.st.Mode&unix.S_IFMT == unix.S_IFDIR
	it.spared = !isFolder && it.st.Nlink > 1 && v.came(it.key())
	return it.spared
}

func (v *volume) readFile(it *item) error {
	fd, err := openat(it.at.fd, it.name, openFlags|unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	it.fd = fd
	if err := unix.Fstat(fd, &it.st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if it.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it was a file and is none any more")
	}
	if v.spared(it) {
		return nil
	}
	it.attrs, err = readAttrs(
		func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
	if err != nil || it.st.Size == 0 {
		return err
	}
	if it.spans, err = v.spans(fd, &it.st); err != nil || it.st.Size >= shortFile {
		return err
	}
	return v.readShort(it)
}

// readShort reads all of a file, and one byte more to see that it ends.
func (v *volume) readShort(it *item) error {
	buf := buffers.Get().(*[shortFile]byte)
	it.data = buf[:0]
	n := 0
	for n <= int(it.st.Size) && !v.full.Load() {
		k, err := pread(it.fd, buf[n:it.st.Size+1], int64(n))
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		n += k
		if k == 0 || n == int(it.st.Size) { // it was asked for more
			break
		}
	}
	if n != int(it.st.Size) && !v.full.Load() {
		return fmt.Errorf("it was changed meanwhile: of %d bytes there are %d", it.st.Size, n)
	}
	it.data = buf[:n]
	return unix.Close(it.letGo())
}

func (it *item) letGo() int {
	fd := it.fd
	it.fd = 0
	return fd
}

func pread(fd int, b []byte, at int64) (int, error) {
	for {
		n, err := unix.Pread(fd, b, at)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// spans finds the parts that are no holes, such that it does not show on what
// the tree lies.
func (v *volume) spans(fd int, st *unix.Stat_t) ([]sparse.Range, error) {
	if has, err := sparse.Has(fd, st); err != nil || !has {
		return []sparse.Range{{From: 0, To: st.Size}}, err
	}
	return sparse.Data(fd, st.Size, v.bs)
}

// readAttrs reads extended attributes by the calls for a path or a descriptor.
func readAttrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) ([]attr, error) {
	n, err := list(nil)
	if n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing extended attributes: %w", err)
	}
	names := make([]byte, 64<<10) // the kernel's limit for lists and values
	if n, err = list(names); err != nil {
		return nil, fmt.Errorf("listing extended attributes: %w", err)
	}
	var all []attr
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(names[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		k, err := get(string(name), value)
		if err != nil {
			return nil, fmt.Errorf("reading extended attribute %q: %w", name, err)
		}
		a, ok, err := newAttr(string(name), bytes.Clone(value[:k]))
		if err != nil {
			return nil, fmt.Errorf("extended attribute %q: %w", name, err)
		}
		if ok {
			all = append(all, a)
		}
	}
	return all, nil
}
