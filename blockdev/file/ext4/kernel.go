package ext4

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// part is a piece of a file on its way: n bytes, whole blocks, from a byte of
// the file to a byte of the file system. What lies behind the file's end is zero.
type part struct{ from, at, n int64 }

func parts(m *blockMap, bs int64) []part {
	all := make([]part, len(m.all))
	for i, e := range m.all {
		all[i] = part{e.logical * bs, e.at * bs, e.n * bs}
	}
	return all
}

// kernel copies from file to file without a way through this process: half the
// copies that reading and writing make. What it does not do is left to them, and
// so are all errors: both see the same.
type kernel struct {
	file *os.File
	// own is the target opened once more, since sendfile(2) writes where its
	// descriptor stands; below 0: not to be had.
	own int
}

// kernelFor returns nil where the target is not a regular file.
func kernelFor(w io.WriterAt) *kernel {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	k := &kernel{file: f, own: -1}
	if fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		k.own = fd
	}
	return k
}

func (k *kernel) close() {
	if k != nil && k.own >= 0 {
		unix.Close(k.own) // what it wrote, the target's own descriptor answers for
	}
}

// kernelPiece is copied at a time, in bytes: then cancelling is looked for, and
// zeros.
const kernelPiece = 8 << 20

// byKernel copies what the kernel can and returns the rest.
func (v *volume) byKernel(ctx context.Context, it *item, all []part) (rest []part, err error) {
	k := v.out.kernel
	if k == nil {
		return all, nil
	}
	leave := func(p part) {
		if last := len(rest) - 1; last >= 0 && rest[last].from+rest[last].n == p.from && rest[last].at+rest[last].n == p.at {
			rest[last].n += p.n
		} else {
			rest = append(rest, p)
		}
	}
	for i, p := range all {
		for p.n > 0 {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			// Up to a multiple, in whole blocks: the kernel's pages are large where
			// writes are aligned.
			n := kernelPiece - (v.out.offset+p.at)%kernelPiece
			now := part{p.from, p.at, min(p.n, max(v.bs, n/v.bs*v.bs))}
			p = part{p.from + now.n, p.at + now.n, p.n - now.n}
			if !v.out.zeros && seemsZero(it.fd, now, it.st.Size) {
				leave(now) // the writer leaves out zeros, the kernel writes them
				continue
			}
			done := v.copyPart(it, now)
			if done == now.n {
				continue
			}
			leave(part{now.from + done, now.at + done, now.n - done})
			if p.n > 0 {
				leave(p)
			}
			return append(rest, all[i+1:]...), nil
		}
	}
	return rest, nil
}

// copyPart returns how much of a part is there, a multiple of blocks.
func (v *volume) copyPart(it *item, p part) int64 {
	want := min(p.n, it.st.Size-p.from)
	if done := v.out.kernel.copy(it.fd, p.from, v.out.offset+p.at, want); done < want {
		return done / v.bs * v.bs
	}
	if want < p.n {
		v.out.put(nothing[:p.n-want], p.at+want)
	}
	return p.n
}

// seemsZero looks at two places of a part.
func seemsZero(fd int, p part, size int64) bool {
	var b [512]byte
	for _, at := range []int64{p.from, p.from + min(p.n, size-p.from)/2} {
		n, err := pread(fd, b[:], at)
		if err != nil || !bytes.Equal(b[:n], nothing[:n]) {
			return false
		}
	}
	return true
}

// copy returns how many bytes it copied; fewer than asked for: it cannot.
// copy_file_range(2) is for files of one file system, which may then share
// blocks, sendfile(2) for others.
func (k *kernel) copy(from int, at, to, n int64) (done int64) {
	for done < n {
		source, target := at+done, to+done
		c, err := unix.CopyFileRange(from, &source, int(k.file.Fd()), &target, int(n-done), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || c <= 0 {
			break
		}
		done += int64(c)
	}
	if k.own < 0 || done == n {
		return done
	}
	if _, err := unix.Seek(k.own, to+done, io.SeekStart); err != nil {
		return done
	}
	for done < n {
		source := at + done
		c, err := unix.Sendfile(k.own, from, &source, int(n-done))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || c <= 0 {
			break
		}
		done += int64(c)
	}
	return done
}
