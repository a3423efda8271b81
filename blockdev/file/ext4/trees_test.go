package ext4_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// grower makes a random tree from a seed. Without root it leaves out what needs
// root.
type grower struct {
	t     testing.TB
	r     *rand.Rand
	root  bool
	left  int // files to make
	files []string
	all   []string
}

// grow makes a tree of about so many files.
func grow(t testing.TB, dir string, seed uint64, files int) {
	t.Helper()
	g := &grower{t: t, r: rand.New(rand.NewPCG(seed, 4)), root: os.Getuid() == 0, left: files}
	g.all = []string{dir}
	for g.left > 0 {
		g.folder(dir, 0)
	}
	for i := len(g.all) - 1; i >= 0; i-- {
		g.dress(g.all[i])
	}
}

func (g *grower) do(err error) {
	g.t.Helper()
	if err != nil && !errors.Is(err, unix.EEXIST) {
		g.t.Fatal(err)
	}
}

// name is of any length and any bytes.
func (g *grower) name() string {
	n := 1 + g.r.IntN(20)
	switch g.r.IntN(20) {
	case 0:
		n = 255
	case 1:
		n = 200 + g.r.IntN(56)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz0123456789-_"[g.r.IntN(38)]
		if g.r.IntN(8) == 0 {
			b[i] = byte(1 + g.r.IntN(255))
		}
		if b[i] == '/' {
			b[i] = '\xff'
		}
	}
	if s := string(b); s != "." && s != ".." {
		return s
	}
	return "dots"
}

func (g *grower) folder(dir string, depth int) {
	n := g.r.IntN(12)
	if g.r.IntN(12) == 0 {
		n = 300
	}
	for ; n > 0 && g.left > 0; n-- {
		path := filepath.Join(dir, g.name())
		if len(path) > 3500 {
			return
		}
		g.left--
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		g.one(path, depth)
		g.all = append(g.all, path)
	}
}

func (g *grower) one(path string, depth int) {
	switch k := g.r.IntN(20); {
	case k < 4:
		g.do(os.Mkdir(path, 0o755))
		g.folder(path, depth+1)
	case k == 4:
		g.do(os.Symlink(strings.Repeat("x", 1+g.r.IntN(1000)), path))
	case k == 5:
		g.do(os.Symlink(strings.Repeat("y", 57+g.r.IntN(5)), path))
	case k == 6:
		g.do(unix.Mkfifo(path, 0o600))
	case k == 7 && g.root:
		g.do(unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(uint32(g.r.IntN(600)), uint32(g.r.IntN(600))))))
	case k == 8 && len(g.files) > 0:
		g.do(os.Link(g.files[g.r.IntN(len(g.files))], path))
	case k == 9:
		g.do(unix.Mknod(path, unix.S_IFSOCK|0o600, 0))
	case k == 10:
		g.islands(path)
	default:
		g.do(os.WriteFile(path, g.bytes(), 0o644))
		g.files = append(g.files, path)
	}
}

func (g *grower) bytes() []byte {
	n := g.r.IntN(3000)
	switch g.r.IntN(10) {
	case 0:
		n = 0
	case 1:
		n = 4096 * g.r.IntN(5)
	case 2:
		n = g.r.IntN(300000)
	case 3:
		n = 128<<10 - 1 + g.r.IntN(3) // where a file is read in another way
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	if g.r.IntN(8) == 0 {
		clear(b) // zeros, but no hole
	}
	return b
}

// islands makes a file of data and holes.
func (g *grower) islands(path string) {
	f, err := os.Create(path)
	g.do(err)
	at := int64(0)
	for range g.r.IntN(20) {
		at += int64(g.r.IntN(100000))
		b := g.bytes()
		b = b[:min(len(b), 20000)]
		_, err := f.WriteAt(b, at)
		g.do(err)
		at += int64(len(b))
	}
	g.do(f.Truncate(at + int64(g.r.IntN(100000))))
	g.do(f.Close())
}

// dress gives a file an owner, a mode, attributes and times.
func (g *grower) dress(path string) {
	st, err := os.Lstat(path)
	g.do(err)
	if g.root {
		g.do(os.Lchown(path, g.r.IntN(100000), g.r.IntN(100000)))
	}
	if st.Mode()&os.ModeSymlink == 0 {
		g.do(unix.Chmod(path, uint32(0o400|g.r.IntN(0o10000))))
	}
	if st.Mode().IsRegular() || st.IsDir() {
		for i := range g.r.IntN(4) {
			size := g.r.IntN(40)
			if g.r.IntN(20) == 0 {
				size = g.r.IntN(250)
			}
			// Few values, so that some files have equal ones.
			g.do(unix.Lsetxattr(path, fmt.Sprintf("user.%d%s", i, strings.Repeat("n", g.r.IntN(9))), []byte(strings.Repeat("v", size)), 0))
		}
	}
	at, err := unix.TimeToTimespec(time.Unix(int64(g.r.Uint32())-1<<30, int64(g.r.IntN(1e9))))
	g.do(err)
	g.do(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
}

// TestRandom has e2fsck and the kernel judge random trees under random options.
// LITHIFY_EXT4_TREES says how many; a hundred take some minutes.
func TestRandom(t *testing.T) {
	blockdevtest.NeedRoot(t)
	n := 8
	fmt.Sscan(os.Getenv("LITHIFY_EXT4_TREES"), &n)
	for seed := range uint64(n) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			tree := t.TempDir()
			grow(t, tree, seed, 400)
			r := rand.New(rand.NewPCG(seed, 5))
			o := randomOptions(r)
			o.Size = int64(48+r.IntN(100)) << 20
			path := write(t, tree, fixed(o))
			compare(t, path, tree, blockdevtest.CompareOptions{NoTimes: o.InodeSize == 128})
			o.Workers = 1 + (o.Workers+3)%5 // how many read shows nowhere
			again := filepath.Join(t.TempDir(), "again")
			if err := writeTo(t, again, tree, fixed(o)); err != nil {
				t.Fatal(err)
			}
			tool(t, "cmp", path, again)
		})
	}
}

func randomOptions(r *rand.Rand) ext4.Options {
	pick := func(of ...int) int { return of[r.IntN(len(of))] }
	features := []func() ext4.Features{ext4.Ext4, ext4.Ext4, ext4.Ext4New, ext4.Ext4Old, ext4.Ext3, ext4.Ext2}
	o := ext4.Options{
		Features:      features[r.IntN(len(features))](),
		BlockSize:     pick(0, 1024, 2048, 4096),
		InodeSize:     pick(0, 128, 256, 512, 1024),
		BytesPerInode: int64(pick(0, 4096, 8192)),
		FlexGroups:    pick(0, 1, 4),
		Workers:       pick(0, 1, 3),
	}
	if o.InodeSize == 128 {
		o.Features.ROCompat &^= ext4.ExtraIsize
	}
	if r.IntN(4) == 0 {
		o.Features.Compat &^= ext4.DirIndex
	}
	if r.IntN(4) == 0 {
		o.Features.Compat &^= ext4.ResizeInode
		if o.Features.Incompat&ext4.Bit64 != 0 {
			o.Features.Incompat |= ext4.MetaBG
		}
	}
	return o
}
