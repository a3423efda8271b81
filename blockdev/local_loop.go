package blockdev

import (
	"path/filepath"
	"strings"
)

// LocalLoop is a disk: an image file.
type LocalLoop struct {
	vertex
	Size      int64  // bytes; 0: what the request or the content says
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
		Size:      f.absolute("size"),
		Directory: f.text("directory"),
		BlockSize: f.integer("block_size", 512),
	}
	if err := f.done("name", "size", "directory", "block_size"); err != nil {
		return nil, err
	}
	if e.v.get("size") != nil && n.Size == 0 {
		return nil, f.place("size").errorf("size 0; leave the key out for a computed size")
	}
	if err := checkBlockSize(n.BlockSize); err != nil {
		return nil, f.place("block_size").errorf("%v", err)
	}
	if n.Directory != "" && !filepath.IsAbs(n.Directory) {
		return nil, f.place("directory").errorf("%q: an absolute folder is wanted", n.Directory)
	}
	// The name becomes a file name.
	if strings.ContainsAny(n.name, "/\x00") || n.name == "." || n.name == ".." {
		return nil, e.at.errorf("name %q: it names the image file, so no slash is allowed", n.name)
	}
	return []Node{n}, nil
}
