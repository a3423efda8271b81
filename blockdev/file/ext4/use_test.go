package ext4_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// uses are the sets of features that live on after the writer.
func uses() map[string]ext4.Options {
	noReserve := ext4.Ext4()
	noReserve.Compat &^= ext4.ResizeInode
	noReserve.Incompat |= ext4.MetaBG
	return map[string]ext4.Options{
		"ext4":       {},
		"block 1024": {BlockSize: 1024},
		"new":        {Features: ext4.Ext4New()},
		"old":        {Features: ext4.Ext4Old()},
		"ext3":       {Features: ext4.Ext3()},
		"ext2":       {Features: ext4.Ext2()},
		"meta_bg":    {Features: noReserve},
	}
}

// TestStress writes, renames and deletes in a mounted file system, and has
// e2fsck look at what became of it.
func TestStress(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	grow(t, filepath.Join(tree, "srv"), 3, 600)
	for name, o := range uses() {
		t.Run(name, func(t *testing.T) {
			o.Size = 96 << 20
			tree := tree
			if o.BlockSize == 1024 {
				tree = t.TempDir()
				grow(t, tree, 4, 600)
			}
			path := write(t, tree, fixed(o))
			dir := mount(t, path)
			stress(t, dir)
			unmount(t, dir)
			check(t, path)
		})
	}
}

func stress(t *testing.T, dir string) {
	r := rand.New(rand.NewPCG(1, 2))
	var files, folders []string
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		switch {
		case err != nil || strings.HasPrefix(path, filepath.Join(dir, "lost+found")):
		case e.IsDir():
			folders = append(folders, path)
		default:
			files = append(files, path)
		}
		return err
	}))
	for i := range 2500 {
		k := r.IntN(len(files))
		to := filepath.Join(folders[r.IntN(len(folders))], fmt.Sprintf("stress-%d-%s", i, strings.Repeat("s", r.IntN(100))))
		switch r.IntN(5) {
		case 0:
			must(t, os.Remove(files[k]))
			must(t, os.WriteFile(files[k], make([]byte, r.IntN(20000)), 0o644))
		case 1:
			must(t, os.Rename(files[k], to))
			files[k] = to
		case 2:
			must(t, os.Remove(files[k]))
			files[k] = files[len(files)-1]
			files = files[:len(files)-1]
		default:
			must(t, os.WriteFile(to, []byte(strings.Repeat("new", r.IntN(3000))), 0o644))
			files = append(files, to)
		}
	}
	for _, f := range files[len(files)/2:] {
		must(t, os.Remove(f))
	}
}

// TestGrow grows file systems twentyfold: not mounted, and mounted where the
// kernel lets us (CAP_SYS_RESOURCE, which many containers lack and nothing can
// install). TestBoots of the program grows one mounted, in a guest.
func TestGrow(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "resize2fs")
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	grow(t, filepath.Join(tree, "srv"), 7, 300)
	all := uses()
	delete(all, "block 1024") // the tree has an attribute too long for it
	for _, alike := range []string{"new", "old", "ext2"} {
		delete(all, alike)
	}
	for name, o := range all {
		for _, online := range []bool{true, false} {
			if online && !capable(t, unix.CAP_SYS_RESOURCE) {
				continue
			}
			t.Run(fmt.Sprintf("%s, online %v", name, online), func(t *testing.T) {
				o.Size = 150 << 20
				path := write(t, tree, fixed(o))
				must(t, os.Truncate(path, 20*o.Size))
				if !online {
					tool(t, "e2fsck", "-fp", path)
					tool(t, "resize2fs", path)
					compare(t, path, tree, blockdevtest.CompareOptions{})
				}
				dir := mount(t, path)
				if online {
					tool(t, "resize2fs", strings.TrimSpace(tool(t, "findmnt", "-n", "-o", "SOURCE", dir)))
				}
				must(t, os.WriteFile(filepath.Join(dir, "large"), make([]byte, o.Size), 0o644))
				stress(t, dir)
				unmount(t, dir)
				check(t, path)
				if n := count(t, path, "Block count"); n < 19*o.Size/4096 {
					t.Errorf("%d blocks", n)
				}
			})
		}
	}
}

func capable(t *testing.T, capability int) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, after, _ := strings.Cut(string(status), "CapEff:\t")
	word, _, _ := strings.Cut(after, "\n")
	all, err := strconv.ParseUint(word, 16, 64)
	must(t, err)
	return all&(1<<capability) != 0
}

// TestShrink shrinks to the minimum and compares.
func TestShrink(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "resize2fs")
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	for name, o := range uses() {
		if o.BlockSize == 1024 || name == "meta_bg" { // resize2fs itself refuses the second
			continue
		}
		t.Run(name, func(t *testing.T) {
			o.Size = 400 << 20
			path := write(t, tree, fixed(o))
			tool(t, "e2fsck", "-fp", path)
			tool(t, "resize2fs", "-M", path)
			check(t, path)
			if n := count(t, path, "Block count"); n > o.Size/4096/2 {
				t.Errorf("%d blocks", n)
			}
			compare(t, path, tree, blockdevtest.CompareOptions{})
		})
	}
}
