package convert

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Raw writes src into dst, which is made as long as the disk: holes stay holes,
// and blocks of 4 KiB that hold only zeros become holes. What was in dst is
// lost. Where the file system can share blocks between files (Btrfs, XFS), dst
// shares all of them with the source and nothing is copied. The caller closes
// dst. Someone who needs the disk for nothing else afterwards is better served
// by renaming it.
func Raw(ctx context.Context, dst *os.File, src Source, o Options) error {
	if err := dst.Truncate(0); err != nil {
		return fmt.Errorf("emptying raw image %q: %w", dst.Name(), err)
	}
	if shared(dst, src) {
		o.debug("the raw image shares its blocks with the disk", "path", dst.Name())
		o.progress(src.Size, src.Size)
		return ctx.Err()
	}
	if err := dst.Truncate(src.Size); err != nil {
		return fmt.Errorf("setting the size of raw image %q to %d bytes: %w", dst.Name(), src.Size, err)
	}
	c := &copier{src: src, dst: dst, options: o, place: func(off int64) int64 { return off }}
	if err := c.run(ctx); err != nil {
		return err
	}
	o.progress(src.Size, src.Size)
	return nil
}

// shared makes dst a reflink of the source's file, where that can be.
func shared(dst *os.File, src Source) bool {
	f, ok := src.Reader.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() != src.Size {
		return false
	}
	from, err := f.SyscallConn()
	if err != nil {
		return false
	}
	to, err := dst.SyscallConn()
	if err != nil {
		return false
	}
	failed := error(unix.EBADF)
	_ = to.Control(func(d uintptr) {
		_ = from.Control(func(s uintptr) { failed = unix.IoctlFileClone(int(d), int(s)) })
	})
	return failed == nil
}
