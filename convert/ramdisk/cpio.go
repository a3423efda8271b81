package ramdisk

import (
	"fmt"
	"io"
)

// header is what newc says of a file. Sizes are in bytes.
type header struct {
	inode, mode, uid, gid, links uint32
	time                         int64 // seconds since 1970
	size                         int64
	major, minor                 uint32 // of a device node
	name                         string // without a slash in front
}

// cpioWriter writes newc archives: header, name and data, each filled up to four
// bytes.
type cpioWriter struct {
	w       io.Writer
	written int64
}

// most is what the eight digits of a field hold.
const most = 1<<32 - 1

// begin writes the header of a file; size bytes of data and fill follow.
func (c *cpioWriter) begin(h header) error {
	if h.size > most {
		return fmt.Errorf("%q has %d bytes: the format holds less than 4 GiB for each file", h.name, h.size)
	}
	time := min(max(h.time, 0), most)
	_, err := fmt.Fprintf(c, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		h.inode, h.mode, h.uid, h.gid, h.links, time, h.size, 0, 0, h.major, h.minor, len(h.name)+1, 0, h.name)
	if err != nil {
		return err
	}
	return c.fill(4)
}

// Write counts what goes out.
func (c *cpioWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.written += int64(n)
	return n, err
}

// fill writes zeros up to a multiple of to.
func (c *cpioWriter) fill(to int64) error {
	n := (to - c.written%to) % to
	if n == 0 {
		return nil
	}
	_, err := c.Write(make([]byte, n))
	return err
}

// end writes the mark of the end. Whole blocks are what cpio itself writes.
func (c *cpioWriter) end() error {
	if err := c.begin(header{links: 1, name: "TRAILER!!!"}); err != nil {
		return err
	}
	return c.fill(512)
}
