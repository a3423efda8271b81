package ext4_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// TestRefusals are mistakes that say what is allowed, and trees that ext4 cannot
// hold, which say where.
func TestRefusals(t *testing.T) {
	few := t.TempDir()
	must(t, os.WriteFile(filepath.Join(few, "lost+found"), nil, 0o644))
	long := t.TempDir()
	must(t, os.Mkdir(filepath.Join(long, "in"), 0o755))
	must(t, os.Symlink(strings.Repeat("l", 1024), filepath.Join(long, "in/link")))
	for _, c := range []struct {
		name, tree string
		o          ext4.Options
		want       string
	}{
		{"no size", "", ext4.Options{}, "size 0: allowed: 1 and more"},
		{"block", "", ext4.Options{Size: 1 << 20, BlockSize: 3000}, "block size 3000: allowed: 1024, 2048, 4096"},
		{"inode", "", ext4.Options{Size: 1 << 20, InodeSize: 2048}, "inode size 2048"},
		{"label", "", ext4.Options{Size: 1 << 20, Label: "seventeen letters"}, "label seventeen letters: allowed: up to 16 bytes"},
		{"journal", "", ext4.Options{Size: 8 << 20, JournalSize: 7 << 20}, "journal of 1792 blocks"},
		{"tiny", "", ext4.Options{Size: 20 << 10}, "too few"},
		{"feature", "", ext4.Options{Size: 1 << 20, Features: ext4.Features{Incompat: 0x8000}}, "0x8000"},
		{"both sums", "", ext4.Options{Size: 1 << 20, Features: ext4.Features{ROCompat: ext4.GDTCsum | ext4.MetadataCsum}}, "exclude each other"},
		{"lost+found", few, ext4.Options{Size: 1 << 20}, `"/lost+found": it must be a folder`},
		{"link", long, ext4.Options{Size: 1 << 20, BlockSize: 1024}, `"/in/link": link to a path of 1024 bytes`},
		{"no tree", filepath.Join(few, "none"), ext4.Options{Size: 1 << 20}, "no such file"},
		{"no folder", filepath.Join(few, "lost+found"), ext4.Options{Size: 1 << 20}, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := ext4.Write(t.Context(), &failing{}, c.tree, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
		})
	}
}

// failing is a target with room for so many bytes.
type failing struct{ room int }

var errTarget = errors.New("the target's own error")

func (f *failing) WriteAt(p []byte, _ int64) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errTarget
	}
	return len(p), nil
}

// TestTargetFails stops wherever the target does, with its error, and never
// hangs.
func TestTargetFails(t *testing.T) {
	tree := t.TempDir()
	must(t, os.WriteFile(filepath.Join(tree, "long"), []byte(strings.Repeat("long file ", 500000)), 0o644))
	grow(t, tree, 1, 200)
	before := descriptors(t)
	for room := 0; room < 6<<20; room = 2*room + 100000 {
		if err := ext4.Write(t.Context(), &failing{room}, tree, ext4.Options{Size: 64 << 20}); !errors.Is(err, errTarget) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}

// cancelling ends its context at the first write.
type cancelling struct{ cancel context.CancelCauseFunc }

func (c cancelling) WriteAt(p []byte, _ int64) (int, error) {
	c.cancel(errTarget)
	return len(p), nil
}

func TestCancel(t *testing.T) {
	tree := t.TempDir()
	grow(t, tree, 1, 2000)
	ctx, cancel := context.WithCancelCause(t.Context())
	before := descriptors(t)
	if err := ext4.Write(ctx, cancelling{cancel}, tree, ext4.Options{Size: 64 << 20}); !errors.Is(err, errTarget) {
		t.Error(err)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// TestClamp gives late times of modification the fixed one, and nothing of the
// build's clock gets in.
func TestClamp(t *testing.T) {
	tree := t.TempDir()
	early := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	for name, at := range map[string]time.Time{"early": early, "late": time.Now()} {
		must(t, os.WriteFile(filepath.Join(tree, name), nil, 0o644))
		must(t, os.Chtimes(filepath.Join(tree, name), at, at))
	}
	o := fixed(ext4.Options{Size: 8 << 20})
	o.Clamp = true
	path := write(t, tree, o)
	for name, mtime := range map[string]int64{"early": early.Unix(), "late": o.Time.Unix()} {
		out := tool(t, "debugfs", "-R", "stat /"+name, path)
		for field, want := range map[string]int64{"mtime": mtime, "atime": o.Time.Unix(), "ctime": o.Time.Unix(), "crtime": o.Time.Unix()} {
			_, after, _ := strings.Cut(out, field+": ")
			if _, date, _ := strings.Cut(after, "-- "); !strings.HasPrefix(date, time.Unix(want, 0).UTC().Format("Mon Jan _2 15:04:05 2006")) {
				t.Errorf("%s of %s: %.60s", field, name, after)
			}
		}
	}
}

// TestShared has files with equal attributes share blocks, at most 1024 a block.
func TestShared(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree := t.TempDir()
	for i := range 1500 {
		path := filepath.Join(tree, strings.Repeat("f", 1+i/100)+string(rune('a'+i%100/10))+string(rune('a'+i%10)))
		must(t, os.WriteFile(path, nil, 0o644))
		must(t, unix.Lsetxattr(path, "user.equal", []byte(strings.Repeat("equal", 100)), 0))
		if i%5 == 0 {
			must(t, unix.Lsetxattr(path, "user.z", []byte(strconv.Itoa(i)), 0))
		}
	}
	// 300 attributes are their own, beyond what is kept open for sharing.
	o := fixed(ext4.Options{Size: 64 << 20})
	path := write(t, tree, o)
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, writeTo(t, empty, "", o))
	blocks := count(t, empty, "Free blocks") - count(t, path, "Free blocks")
	if most := int64(300 + 5 + 20); blocks > most { // shared ones may be written early, twice or so; the folder's own
		t.Errorf("%d blocks, wanted at most %d", blocks, most)
	}
	compare(t, path, tree, blockdevtest.CompareOptions{})
}

// TestLostFound keeps what the tree has there.
func TestLostFound(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree := t.TempDir()
	must(t, os.Mkdir(filepath.Join(tree, "lost+found"), 0o750))
	must(t, os.WriteFile(filepath.Join(tree, "lost+found/#12"), []byte("found"), 0o644))
	path := write(t, tree, fixed(ext4.Options{Size: 8 << 20}))
	compare(t, path, tree, blockdevtest.CompareOptions{})
	if out := tool(t, "debugfs", "-R", "stat /lost+found", path); !strings.Contains(out, "Inode: 11 ") || !strings.Contains(out, "Size: 16384") {
		t.Error(out)
	}
}
