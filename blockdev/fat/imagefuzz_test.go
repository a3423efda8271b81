package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRead damages file systems and reads all of them: no panic, and what cannot
// be read is what fsck.fat finds fault with, too. A patch is offset, 3 bytes, and
// value.
func FuzzRead(f *testing.F) {
	var images [][]byte
	tree := makeTree(f, map[string]string{"a": strings.Repeat("a", 20_000), "d/e/f": "f", "d/long name to be sure of it": "x"})
	for _, o := range []Options{{Size: 256 << 10}, {Size: 5 * mib, Bits: 16, SectorsPerCluster: 1}, {Size: 34 * mib, Bits: 32, SectorsPerCluster: 1}} {
		b, err := os.ReadFile(image(f, tree, o))
		if err != nil {
			f.Fatal(err)
		}
		images = append(images, b)
	}
	for i := range images {
		f.Add(uint8(i), []byte{0, 0, 13, 0, 0, 2, 4, 255})
	}
	f.Fuzz(func(t *testing.T, which uint8, patch []byte) {
		good := images[int(which)%len(images)]
		few := len(patch) < 16
		b := patched{bytes.NewReader(good), map[int64]byte{}}
		for ; len(patch) >= 4; patch = patch[4:] {
			b.with[int64(binary.BigEndian.Uint32(patch)>>8)%int64(len(good))] = patch[3]
		}
		err := readAll(b, int64(len(good)))
		if _, lookErr := exec.LookPath("fsck.fat"); err == nil || errors.Is(err, ErrNone) || !few || lookErr != nil {
			return
		}
		// fsck.fat takes no more bits of a first cluster than the FAT has, and does
		// not mind sectors beyond the end that no file has.
		if strings.Contains(err.Error(), ", after 0 others, is none") || strings.Contains(err.Error(), "boot sector: it counts") {
			return
		}
		path := filepath.Join(t.TempDir(), "image")
		bad := bytes.Clone(good)
		for at, v := range b.with {
			bad[at] = v
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, clean := exec.Command("fsck.fat", "-n", path).CombinedOutput(); clean == nil {
			t.Fatalf("%v, and fsck.fat finds nothing:\n%s", err, out)
		}
	})
}

// patched reads some bytes otherwise.
type patched struct {
	*bytes.Reader
	with map[int64]byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.Reader.ReadAt(b, off)
	for at, v := range p.with {
		if at >= off && at < off+int64(n) {
			b[at-off] = v
		}
	}
	return n, err
}

func readAll(b patched, size int64) (first error) {
	v, err := OpenImage(b, size)
	if err != nil {
		return err
	}
	v.Facts()
	v.Areas()
	seen := map[int64]bool{}
	var visit func(f *File)
	visit = func(f *File) {
		if _, err := v.Stretches(f); err != nil && first == nil {
			first = err
		}
		if !f.Folder {
			r, err := v.Open(f)
			if err == nil {
				_, err = r.ReadAt(make([]byte, min(f.Size, 70_000)), 0)
			}
			if err != nil && f.Size > 0 && first == nil {
				first = err
			}
			return
		}
		if seen[f.cluster] {
			return
		}
		seen[f.cluster] = true
		all, err := v.ReadDir(f)
		if err != nil && first == nil {
			first = err
		}
		for _, c := range all {
			visit(c)
		}
	}
	visit(v.Root())
	return first
}
