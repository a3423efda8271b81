package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// need skips without a tool, and fails in CI.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing", tool)
			}
			t.Skipf("%s is missing", tool)
		}
	}
}

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	os.Exit(m.Run())
}

// run starts a foreign tool and returns what it says; its failing fails the
// test.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLSRC=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var testTime = time.Date(2025, 3, 14, 15, 9, 27, 350e6, time.UTC)

// makeTree makes a folder of files: a path to its content; with a slash at the
// end a folder.
func makeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		dir := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			dir = path
		}
		err := os.MkdirAll(dir, 0o755)
		if err == nil && !strings.HasSuffix(name, "/") {
			err = os.WriteFile(path, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// image writes a tree into a fresh sparse file and returns its path.
func image(t testing.TB, tree string, o Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(o.Offset+o.Size), Write(context.Background(), f, tree, o), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// memory is a target that grows.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(m.b)) {
		copy(p, m.b[off:])
	}
	return len(p), nil
}

// reader reads a file system back, by the specification and by nothing of the
// writer's; it checks what fsck.fat does not.
type reader struct {
	r                        io.ReaderAt
	bits                     int
	cluster, fat, root, data int64 // bytes
	rootBytes                int64
	rootCluster              int64
	clusters                 int64
	table                    []byte
	used                     map[int64]bool
}

func openImage(r io.ReaderAt) (*reader, error) {
	le := binary.LittleEndian
	b := make([]byte, 512)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, err
	}
	sector, per, reserved := int64(le.Uint16(b[11:])), int64(b[13]), int64(le.Uint16(b[14:]))
	fats, entries := int64(b[16]), int64(le.Uint16(b[17:]))
	total, fatSize := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	v := &reader{r: r, bits: 16, used: map[int64]bool{}}
	if fatSize == 0 {
		v.bits, fatSize, v.rootCluster = 32, int64(le.Uint32(b[36:])), int64(le.Uint32(b[44:]))
	}
	rootSectors := (entries*32 + sector - 1) / sector
	v.clusters = (total - reserved - fats*fatSize - rootSectors) / per
	if v.clusters < 4085 {
		v.bits = 12
	}
	v.cluster, v.fat, v.rootBytes = per*sector, reserved*sector, entries*32
	v.root = (reserved + fats*fatSize) * sector
	v.data = v.root + rootSectors*sector
	v.table = make([]byte, fatSize*sector)
	copies := make([]byte, fatSize*sector)
	for i := range fats {
		if _, err := r.ReadAt(copies, v.fat+i*fatSize*sector); err != nil {
			return nil, err
		}
		if i == 0 {
			copy(v.table, copies)
		} else if !bytes.Equal(copies, v.table) {
			return nil, errors.New("the FATs differ")
		}
	}
	if want := ((v.clusters+2)*int64(v.bits) + 7) / 8; (want+sector-1)/sector != fatSize {
		return nil, fmt.Errorf("FAT of %d sectors for %d clusters", fatSize, v.clusters)
	}
	if first := v.entry(0); byte(first) != b[21] || v.entry(1) != v.end() {
		return nil, fmt.Errorf("reserved entries %#x, %#x", first, v.entry(1))
	}
	return v, nil
}

func (v *reader) end() uint32 { return map[int]uint32{12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}[v.bits] }

func (v *reader) entry(n int64) uint32 {
	switch v.bits {
	case 32:
		return binary.LittleEndian.Uint32(v.table[n*4:]) & 0x0FFFFFFF
	case 16:
		return uint32(binary.LittleEndian.Uint16(v.table[n*2:]))
	}
	e := uint32(binary.LittleEndian.Uint16(v.table[n*3/2:]))
	if n%2 == 1 {
		return e >> 4
	}
	return e & 0xFFF
}

func (v *reader) chain(first int64) ([]byte, error) {
	var b []byte
	for n := first; uint32(n) != v.end(); n = int64(v.entry(n)) {
		if n < 2 || n >= v.clusters+2 || v.used[n] {
			return nil, fmt.Errorf("chain from %d: bad or repeated cluster %d", first, n)
		}
		v.used[n] = true
		c := make([]byte, v.cluster)
		if _, err := v.r.ReadAt(c, v.data+(n-2)*v.cluster); err != nil {
			return nil, err
		}
		b = append(b, c...)
	}
	return b, nil
}

// files returns all files by path, and folders with a slash at the end.
func (v *reader) files() (map[string]string, error) {
	all := map[string]string{}
	root := make([]byte, v.rootBytes)
	var err error
	if v.bits == 32 {
		root, err = v.chain(v.rootCluster)
	} else {
		_, err = v.r.ReadAt(root, v.root)
	}
	if err != nil {
		return nil, err
	}
	if err := v.folder(root, "", 0, 0, all); err != nil {
		return nil, err
	}
	for n := int64(2); n < v.clusters+2; n++ {
		if (v.entry(n) != 0) != v.used[n] {
			return nil, fmt.Errorf("cluster %d: entry %#x, reached %v", n, v.entry(n), v.used[n])
		}
	}
	return all, nil
}

func (v *reader) folder(b []byte, path string, own, parent int64, all map[string]string) error {
	long, sum, order := "", byte(0), 0
	shorts := map[string]bool{}
	for i := 0; i < len(b) && b[i] != 0; i += 32 {
		e := b[i : i+32]
		if e[11] == 0x0F {
			part := append(append(append([]byte{}, e[1:11]...), e[14:26]...), e[28:32]...)
			if e[0]&0x40 != 0 {
				long, sum, order = "", e[13], int(e[0]&0x3F)+1
			}
			if int(e[0]&0x3F) != order-1 || e[13] != sum {
				return fmt.Errorf("%s: long name out of order", path)
			}
			order--
			long = string(part) + long
			continue
		}
		name := strings.TrimRight(string(e[:8]), " ")
		if ext := strings.TrimRight(string(e[8:11]), " "); ext != "" {
			name += "." + ext
		}
		if e[11] == 0x08 {
			continue
		}
		if shorts[name] {
			return fmt.Errorf("%s: short name %s twice", path, name)
		}
		shorts[name] = true
		first := int64(binary.LittleEndian.Uint16(e[20:]))<<16 | int64(binary.LittleEndian.Uint16(e[26:]))
		if name == "." || name == ".." {
			if want := map[string]int64{".": own, "..": parent}[name]; first != want {
				return fmt.Errorf("%s/%s: cluster %d, want %d", path, name, first, want)
			}
			continue
		}
		if long != "" {
			if order != 1 || sum != foreignSum(e[:11]) {
				return fmt.Errorf("%s%s: the long name is another's", path, name)
			}
			name, long = fromUnits(long), ""
		}
		if err := v.one(e, path+name, first, own, all); err != nil {
			return err
		}
	}
	return nil
}

func (v *reader) one(e []byte, path string, first, own int64, all map[string]string) error {
	size := int64(binary.LittleEndian.Uint32(e[28:]))
	var b []byte
	var err error
	if first != 0 {
		if b, err = v.chain(first); err != nil {
			return err
		}
	}
	if e[11]&0x10 != 0 {
		all[path+"/"] = ""
		return v.folder(b, path+"/", first, own, all)
	}
	if (size+v.cluster-1)/v.cluster*v.cluster != int64(len(b)) {
		return fmt.Errorf("%s: %d bytes in a chain of %d", path, size, len(b))
	}
	if _, ok := all[path]; ok {
		return fmt.Errorf("%s twice", path)
	}
	all[path] = string(b[:size])
	return nil
}

func foreignSum(name []byte) byte {
	var s byte
	for _, c := range name {
		s = (s&1)<<7 + s>>1 + c
	}
	return s
}

func fromUnits(s string) string {
	var units []uint16
	for i := 0; i+1 < len(s); i += 2 {
		u := uint16(s[i]) | uint16(s[i+1])<<8
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// wanted returns what files should be: a tree with all its folders.
func wanted(files map[string]string) map[string]string {
	all := map[string]string{}
	for name, data := range files {
		all[name] = data
		for dir := name; ; {
			i := strings.LastIndexByte(strings.TrimSuffix(dir, "/"), '/')
			if i < 0 {
				break
			}
			dir = dir[:i+1]
			all[dir] = ""
		}
	}
	return all
}
