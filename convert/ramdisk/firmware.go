package ramdisk

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// firmwareOf are the names that a module asks the kernel's firmware loader for, as
// its section .modinfo has them.
func firmwareOf(file string) ([]string, error) {
	data, err := readModule(file)
	if err != nil {
		return nil, fmt.Errorf("reading module %q: %w", file, err)
	}
	e, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading the ELF headers of module %q: %w", file, err)
	}
	s := e.Section(".modinfo")
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	info, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("reading .modinfo of module %q: %w", file, err)
	}
	var names []string
	for pair := range bytes.SplitSeq(info, []byte{0}) {
		if name, ok := strings.CutPrefix(string(pair), "firmware="); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// largestModule, unpacked; the largest of Debian's has 20 MB.
const largestModule = 256 << 20

func readModule(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r io.Reader
	switch path.Ext(file) {
	case ".gz":
		r, err = gzip.NewReader(bytes.NewReader(data))
	case ".xz":
		r, err = xz.NewReader(bytes.NewReader(data))
	case ".zst":
		z, e := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1))
		if e == nil {
			defer z.Close()
		}
		r, err = z, e
	default:
		return data, nil
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, largestModule))
}

// firmwareFiles gives the paths in the tree that a name of firmware, or a pattern,
// stands for: in the folders where the kernel looks, packed or not.
func (t *tree) firmwareFiles(version, name string) ([]string, error) {
	var found []string
	for _, dir := range []string{"updates/" + version, "updates", version, ""} {
		for _, ext := range []string{"", ".xz", ".zst"} {
			files, err := t.glob(path.Join("/lib/firmware", dir, name+ext))
			if err != nil {
				return nil, err
			}
			found = append(found, files...)
		}
		if len(found) > 0 {
			break
		}
	}
	slices.Sort(found)
	return found, nil
}
