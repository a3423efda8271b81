package blockdev

import (
	"fmt"
	"path/filepath"
	"strings"
)

// LocalLoop is a disk: an image file, or a device that is there already
// (physical_disk).
type LocalLoop struct {
	vertex
	Size      int64  // bytes; 0: what the request or the content says
	Device    string // path of a physical disk, which SetDevice gives its size; "" for an image file
	Directory string // of the image file; "" where the back end puts images
	BlockSize int    // of a sector in bytes: 512 or 4096
}

func localLoopKind() nodeKind {
	return nodeKind{name: "local_loop", level: 0, decode: decodeLocalLoop}
}

func decodeLocalLoop(e entry) ([]Node, error) {
	f := fields{e: e}
	n := &LocalLoop{
		vertex:    e.vertex(),
		Size:      field(&f, "size", ParseSize),
		Directory: f.text("directory"),
		BlockSize: f.integer("block_size", 512),
	}
	return []Node{n}, f.err
}

// checkFileName: the name becomes part of a file's name.
func checkFileName(s string) error {
	if strings.ContainsAny(s, "/\x00") || s == "." || s == ".." {
		return fmt.Errorf("name %q: it names the image file, so no slash is allowed", s)
	}
	return nil
}

func checkDiskSize(s string) error {
	n, err := ParseSize(s)
	if err == nil && n == 0 {
		err = fmt.Errorf("size 0; leave the key out for a computed size")
	}
	return err
}

func checkFolder(s string) error {
	if !filepath.IsAbs(s) || strings.Contains(s, "\x00") {
		return fmt.Errorf("%q: an absolute folder is wanted, such as /var/tmp", s)
	}
	return nil
}
