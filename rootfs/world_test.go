package rootfs_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs"
)

// world is a library of elements on disk, an environment and a store: all that
// a build depends on, small enough to be built in a fraction of a second.
type world struct {
	t     testing.TB
	lib   string // the elements
	store string
	cache string
	env   map[string]string
	epoch *time.Time
	age   time.Duration
	names []string
	out   *strings.Builder
}

// newWorld makes a busybox root, and elements whose hooks write down what they
// can see.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, lib: t.TempDir(), store: storeDir(t), cache: t.TempDir(), names: []string{"tiny", "app"}, out: &strings.Builder{},
		env: map[string]string{"PATH": os.Getenv("PATH"), "HOME": "/root", "ARCH": "amd64", "DIB_COLOUR": "red", "DIB_UNNAMED": "x"}}
	w.env["DIB_IMAGE_CACHE"] = w.cache
	w.env["ANSWER_FILE"] = filepath.Join(w.cache, "answer")
	w.write("../"+filepath.Base(w.cache)+"/answer", "1", 0o644)
	w.write("tiny/element-provides", "operating-system\n", 0o644)
	w.write("tiny/root.d/10-tiny", tinyRoot, 0o755)
	w.write("tiny/cache-key.d/10-tiny", "#!/bin/sh\ncat \"$ANSWER_FILE\"\n", 0o755)
	w.write("tiny/environment.d/10-tiny", "export DIB_SHADE=${DIB_COLOUR:-none}-dark\n", 0o644)
	w.write("app/cache-key.d/10-app", "#!/bin/sh\necho fixed\n", 0o755)
	w.write("app/data/words", "one\n", 0o644)
	w.write("app/bin/tool", "#!/bin/sh\necho tool says $DIB_COLOUR\n", 0o755)
	for _, h := range []string{"pre-install.d/10-app", "install.d/10-app", "install.d/50-app", "post-install.d/10-app", "finalise.d/10-app", "finalise.d/90-app"} {
		w.write("app/"+h, hook("first"), 0o755)
	}
	w.write("app/post-install.d/10-app", hook("it reads environment.d"), 0o755)
	w.write("app/finalise.d/90-app", hook("it knows $DIB_LATE")+"echo \"$DIB_LATE\" >> /last\n", 0o755)
	w.write("app/environment.d/20-late", "export DIB_LATE=late\n", 0o644)
	w.write("app/install.d/notes.txt", "a file that is no hook\n", 0o644)
	return w
}

// storeDir is on the disk, not on a tmpfs or overlay: overlay's upper folders
// need a real file system.
func storeDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/var/tmp", "lithify-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

const tinyRoot = `#!/bin/sh
set -e
busybox=$(command -v busybox)
for dir in bin dev proc sys tmp etc var/log root; do mkdir -p "$TARGET_ROOT/$dir"; done
cp "$busybox" "$TARGET_ROOT/bin/busybox"
for name in sh cat echo mkdir rm ls sha256sum sort find sed cp ln; do ln -s busybox "$TARGET_ROOT/bin/$name"; done
echo nameserver 192.0.2.1 > "$TARGET_ROOT/etc/resolv.conf"
echo "$DIB_SHADE" > "$TARGET_ROOT/etc/shade"
cat "$TMP_HOOKS_PATH"/env*/* > "$TARGET_ROOT/etc/settings" 2>/dev/null || true
`

// hook writes what it can see into a file of its own in the tree: its own text,
// the data files, a variable, and what earlier hooks left.
func hook(text string) string {
	return `#!/bin/sh
set -e
# ` + text + `
name=$(echo "$0" | sed 's,/,_,g')
sum=$({ cat "$0"; cat /tmp/in_target.d/data/*; echo "$DIB_COLOUR $DIB_SHADE"; sh /tmp/in_target.d/bin/tool; cat /etc/shade /tmp/in_target.d/env*/* 2>/dev/null || true; ls /; cat /seen* 2>/dev/null || true; } | sha256sum)
echo "$sum" > "/seen$name"
rm -f /last; ln -s "/seen$name" /last
`
}

func (w *world) write(path, text string, mode fs.FileMode) {
	w.t.Helper()
	at := filepath.Join(w.lib, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), mode); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(at, mode); err != nil {
		w.t.Fatal(err)
	}
}

// built is what a build gave.
type built struct {
	tree        string // all that is in the finished tree
	key, intent rootfs.Key
	ran, reused int
	events      []string
}

// build runs a whole build in a store opened for it.
func (w *world) build(ctx context.Context, change func(*rootfs.Options)) (b built, err error) {
	store, err := oci.Open(ctx, oci.Options{Root: w.store})
	if err != nil {
		return b, err
	}
	defer func() {
		if e := store.Close(); e != nil && err == nil {
			err = e
		}
	}()
	o, err := w.options(store)
	if err != nil {
		return b, err
	}
	defer os.RemoveAll(o.Work)
	var lock sync.Mutex
	o.Observe = func(e rootfs.Event) {
		lock.Lock()
		defer lock.Unlock()
		if e.Done && !e.Reused {
			b.events = append(b.events, e.Phase+"/"+e.Name)
		}
	}
	if change != nil {
		change(&o)
	}
	builder, err := rootfs.New(ctx, o)
	if err != nil {
		return b, err
	}
	intent, err := builder.Intent()
	if b.intent = intent.Key; err != nil {
		return b, err
	}
	res, err := builder.Run(ctx)
	if err != nil {
		return b, err
	}
	b.key, b.ran, b.reused = res.Key, res.Ran, res.Reused
	c, err := store.Scratch(ctx, res.Layer)
	if err != nil {
		return b, err
	}
	defer c.Close()
	b.tree, err = treeList(c.Dir())
	return b, err
}

func (w *world) options(store rootfs.Store) (rootfs.Options, error) {
	lib := elements.Library{{Dir: w.lib, FS: os.DirFS(w.lib)}}
	els, err := lib.Resolve(w.names...)
	if err != nil {
		return rootfs.Options{}, err
	}
	tree, err := elements.Merge(els)
	if err != nil {
		return rootfs.Options{}, err
	}
	work, err := os.MkdirTemp("/var/tmp", "lithify-work-")
	if err != nil {
		return rootfs.Options{}, err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return rootfs.Options{}, err
	}
	return rootfs.Options{Store: store, Elements: els, Hooks: tree, Environment: maps.Clone(w.env), Work: work, Binary: busybox,
		Answers: filepath.Join(w.cache, "answers"), ResolvConf: []byte("nameserver 192.0.2.9\n"), Epoch: w.epoch, MaxAge: w.age, Output: w.out}, nil
}

func (w *world) must(change func(*rootfs.Options)) built {
	w.t.Helper()
	w.out.Reset()
	b, err := w.build(context.Background(), change)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.out)
	}
	return b
}

func fresh(o *rootfs.Options) { o.Fresh = true }

// treeList has a line for path, mode, owner, link target and content of all
// that is in a tree.
func treeList(dir string) (string, error) {
	var h strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&h, "%q %v %d %d\n", strings.TrimPrefix(p, dir), info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&h, "%x\n", sha256.Sum256(data))
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&h, "%q\n", to)
		}
		return nil
	})
	return h.String(), err
}
