package blockdev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// need skips on a laptop and fails in CI when a tool is missing.
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

// free makes a file system by the plan and returns dumpe2fs's free bytes and inodes.
func free(t *testing.T, f FSPlan) (bytes, inodes int64) {
	t.Helper()
	dir := t.TempDir()
	profile, err := WriteMke2fsProfile(dir)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "fs")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, f.Size); err != nil {
		t.Fatal(err)
	}
	args, env := Mke2fsCommand(f, Mke2fs{Profile: profile, Target: image})
	c := exec.CommandContext(context.Background(), "mke2fs", args...)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("mke2fs %q: %v\n%s", args, err, out)
	}
	out, err := exec.Command("dumpe2fs", "-h", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) int64 {
		m := regexp.MustCompile(`(?m)^` + name + `: +(\d+)$`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("no %q in %s", name, out)
		}
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return n
	}
	return get("Free blocks") * get("Block size"), get("Free inodes")
}

// The model of overhead is never below what mke2fs makes, and near it.
func TestOverheadAgainstMke2fs(t *testing.T) {
	need(t, "mke2fs", "dumpe2fs")
	for _, c := range []struct {
		fsType string
		size   int64
		opts   []string
	}{
		{"ext4", 8 * mib, nil},
		{"ext4", 100*mib + 3584, nil},
		{"ext4", 200 * mib, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", gib, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", 3*gib + 65536, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", 40 * gib, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", 2 * gib, []string{"-O", "^has_journal", "-O", "^resize_inode,^64bit"}},
		{"ext4", 2 * gib, []string{"-N", "70000", "-b", "1024"}},
		{"ext4", 5 * gib, nil}, {"ext4", 20 * gib, nil},
		{"ext2", 64 * mib, nil}, {"ext3", 2 * gib, nil}, {"ext3", 600 * mib, []string{"-i8192"}},
	} {
		t.Run(fmt.Sprintf("%s %s %q", c.fsType, FormatSize(c.size), c.opts), func(t *testing.T) {
			f := FSPlan{FSType: c.fsType, Size: c.size, Options: c.opts, Label: "x", UUID: uuid([32]byte{1}), HashSeed: uuid([32]byte{2})}
			l := newExtLayout(&f)
			bytes, inodes := free(t, f)
			real := c.size - bytes
			kept := min(c.size/l.block/50, 4096) * l.block
			model := l.overhead(c.size) - kept
			if model < real || model > real+real/20+512*kib {
				t.Errorf("overhead: model %d, mke2fs %d", model, real)
			}
			if got := l.inodeCount(c.size); inodes < got-got/100-11 {
				t.Errorf("inodes: model %d, mke2fs %d free", got, inodes)
			}
		})
	}
}

func layout(t *testing.T, config string, m map[string]Content, r Request) (*Plan, error) {
	t.Helper()
	g := must(t, Default(), Defaults{})
	if config != "" {
		g = mustGraph(t, config)
	}
	g.Identify("x")
	return g.Layout(m, r)
}

func TestComputedSize(t *testing.T) {
	content := Content{Bytes: 600 * mib, Inodes: 20000, Dirs: 2000}
	m := map[string]Content{"/": content}
	size := func(config string, r Request) int64 {
		t.Helper()
		p, err := layout(t, config, m, r)
		if err != nil {
			t.Fatal(err)
		}
		within(t, p)
		return p.Disks[0].Size
	}
	plain := size("", Request{})
	// Content, two thirds of it free, the journal, and tables of less than a tenth.
	if least := int64(1000*mib + 64*mib); plain < least || plain > least+least/10 || plain%(64*kib) != 0 {
		t.Errorf("computed %d, at least %d", plain, least)
	}
	// The table and the end of the disk take an alignment unit each.
	if got := size(onePartition, Request{}); got < plain+2*mib || got > plain+2*mib+64*kib {
		t.Errorf("with a table %d, without %d", got, plain)
	}
	if got := size("", Request{Grow: true}); got != roundUp(plain+plain/2, 64*kib) {
		t.Errorf("grown %d", got)
	}
	extra := size("", Request{ExtraSize: 100 * mib})
	if d := plain - extra; d < 290*mib || d > 340*mib {
		t.Errorf("100 MiB free: %d, two thirds free: %d", extra, plain)
	}
	if got := size("", Request{ImageSize: 2 * gib}); got != 2*gib {
		t.Errorf("2 GiB asked, %d", got)
	}
	if got := size(`[{"local_loop": {"name": "x", "size": "3GiB", "mkfs": {"mount": {"mount_point": "/"}}}}]`, Request{ImageSize: gib}); got != 3*gib {
		t.Errorf("the configuration's own size: %d", got)
	}
}

// Every computed file system in a table gets what it wants, whatever the shares.
func TestShares(t *testing.T) {
	config := `
- local_loop: {name: d}
- partitioning:
    base: d
    label: mbr
    partitions:
    - {name: a, size: 20%, mkfs: {mount: {mount_point: /}}}
    - {name: b, size: 300MiB, mkfs: {type: ext4, mount: {mount_point: /b}}}
    - {name: c, size: 50%, mkfs: {type: ext2, mount: {mount_point: /c}}}
    - {name: e, size: 100%, mkfs: {type: ext3}}
`
	m := map[string]Content{"/": {Bytes: 200 * mib, Inodes: 900}, "/b": {Bytes: 100 * mib, Inodes: 9}, "/c": {Bytes: mib, Inodes: 90000}}
	p, err := layout(t, config, m, Request{})
	if err != nil {
		t.Fatal(err)
	}
	within(t, p)
	for _, f := range p.FileSystems {
		if f.Explicit != (f.Base == "b") {
			t.Errorf("%s: explicit %v", f.Node, f.Explicit)
		}
		if f.Content.Bytes*3/2 > f.Size && f.Base != "b" {
			t.Errorf("%s: %d bytes for %+v", f.Node, f.Size, f.Content)
		}
	}
	if c := p.FileSystem("/c"); c.Size/c.BytesPerInode < 90000 {
		t.Errorf("%d inodes on /c", c.Size/c.BytesPerInode)
	}
	// One step less and somebody would miss something.
	tight := p.Disks[0].Size
	if _, err := layout(t, config, m, Request{ImageSize: tight}); err != nil {
		t.Errorf("its own size given: %v", err)
	}
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(*p, back) {
		t.Errorf("plan.json loses something (%v): %s", err, data)
	}
}

func TestTooSmall(t *testing.T) {
	m := map[string]Content{"/": {Bytes: 600 * mib, Inodes: 20000}}
	for _, c := range []struct {
		config string
		r      Request
		want   string
	}{
		{"", Request{ImageSize: 500 * mib}, `disk "image0": file system "mkfs_root" on / needs 7`},
		{onePartition, Request{ImageSize: 500 * mib}, `on / needs`},
		{strings.Replace(onePartition, "100%", "3GiB", 1), Request{ImageSize: 2 * gib}, `partition "root" (3 GiB) needs 3 GiB and has 2 GiB`[:40]},
		{strings.Replace(onePartition, "100%", "300MiB", 1), Request{}, `needs`},
	} {
		_, err := layout(t, c.config, m, c.r)
		var small *SizeError
		if !errors.As(err, &small) || !strings.Contains(err.Error(), c.want) || small.Needed <= small.Given {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if _, err := layout(t, "", m, Request{ImageSize: gib + 100}); err == nil || !strings.Contains(err.Error(), "multiple of the sector size") {
		t.Errorf("an odd size: %v", err)
	}
	if _, err := layout(t, onePartition, m, Request{ImageSize: 3 << 40}); err == nil || !strings.Contains(err.Error(), "2 TiB") {
		t.Errorf("3 TiB: %v", err)
	}
	if _, err := layout(t, `[{"local_loop": {"name": "x"}}]`, nil, Request{}); err == nil {
		t.Error("a disk without size or content")
	}
	c := strings.Replace(onePartition, "mkfs:", "mkfs:\n          opts: -N 100", 1)
	if _, err := layout(t, c, m, Request{}); err == nil || !strings.Contains(err.Error(), "-N 100") {
		t.Errorf("100 inodes: %v", err)
	}
	c = strings.Replace(onePartition, "mkfs:", "mkfs:\n          opts: -i 1024 -I 4096", 1)
	if _, err := layout(t, c, m, Request{}); err == nil {
		t.Error("tables larger than the disk")
	}
}

func TestMke2fsCommand(t *testing.T) {
	f := FSPlan{FSType: "ext4", Label: "l", UUID: "u", HashSeed: "h", Size: 10*mib + 1, Offset: 512, MountPoint: "/",
		Options: []string{"-E", "resize=5", "-i", "4096", "-J", "size=64", "-Estride=2", "-O", "^64bit", "-O^metadata_csum", "-v"}}
	args, env := Mke2fsCommand(f, Mke2fs{Profile: "p", Target: "img", InImage: true, Tree: "tree"})
	want := "-q -F -t ext4 -L l -U u -E nodiscard,assume_storage_prezeroed=1,hash_seed=h,offset=512,resize=5,stride=2 -M / -O ^64bit,^metadata_csum -d tree -i 4096 -J size=64 -v img 10240k"
	if got := strings.Join(args, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if env[0] != "MKE2FS_CONFIG=p" {
		t.Errorf("env %q", env)
	}
}
