package rootfs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs"
	"github.com/lithify/lithify/rootfs/runner"
	"golang.org/x/sys/unix"
)

func TestRepeatedBuildRunsNothing(t *testing.T) {
	w := newWorld(t)
	first := w.must(nil)
	again := w.must(nil)
	if again.ran != 0 || again.tree != first.tree || again.key != first.key || again.intent != first.intent {
		t.Errorf("first %+v, again %+v", first, again)
	}
}

func TestLastHookChangedRunsItAlone(t *testing.T) {
	w := newWorld(t)
	w.must(nil)
	w.write("app/finalise.d/90-app", w.read("app/finalise.d/90-app")+"# changed\n", 0o755)
	b := w.must(nil)
	if want := []string{"finalise/90-app", "driver/clear"}; !slices.Equal(b.events, want) {
		t.Errorf("ran %v, want %v", b.events, want)
	}
}

func TestFailedBuildResumesAtTheHook(t *testing.T) {
	w := newWorld(t)
	w.write("app/finalise.d/90-app", "#!/bin/sh\necho the last words\nexit 7\n", 0o755)
	_, err := w.build(context.Background(), nil)
	var hookErr *rootfs.HookError
	var exit *runner.ExitError
	if !errors.As(err, &hookErr) || !errors.As(err, &exit) || exit.Code != 7 || hookErr.Element != "app" || hookErr.Hook != "90-app" {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(w.out.String(), "the last words") {
		t.Error("the hook's output is lost")
	}
	w.write("app/finalise.d/90-app", hook("mended"), 0o755)
	b := w.must(nil)
	if want := []string{"finalise/90-app", "driver/clear"}; !slices.Equal(b.events, want) {
		t.Errorf("ran %v, want %v", b.events, want)
	}
}

func TestInterruptedBuildResumes(t *testing.T) {
	w := newWorld(t)
	w.write("app/finalise.d/90-app", "#!/bin/sh\nwhile :; do :; done\n", 0o755)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	cut := func(o *rootfs.Options) {
		o.Observe = func(e rootfs.Event) {
			if e.Name == "90-app" && !e.Done {
				time.AfterFunc(200*time.Millisecond, func() { cancel(errors.New("enough")) })
			}
		}
	}
	if _, err := w.build(ctx, cut); err == nil {
		t.Fatal("a build that was cut off succeeded")
	}
	w.write("app/finalise.d/90-app", hook("mended"), 0o755)
	b := w.must(nil)
	if want := []string{"finalise/90-app", "driver/clear"}; !slices.Equal(b.events, want) {
		t.Errorf("ran %v, want %v", b.events, want)
	}
}

func TestTwoBuildsAtOnceMakeEachStepOnce(t *testing.T) {
	w := newWorld(t)
	results := make([]built, 2)
	errs := make([]error, 2)
	var wait sync.WaitGroup
	for i := range results {
		wait.Go(func() { results[i], errs[i] = w.build(context.Background(), nil) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, b := range results {
		for _, e := range b.events {
			times[e]++
		}
	}
	for e, n := range times {
		if n != 1 {
			t.Errorf("%s ran %d times", e, n)
		}
	}
	if len(times) != 10 || results[0].tree != results[1].tree {
		t.Errorf("%d different steps ran, want 10: %v", len(times), times)
	}
}

func TestArchiveThatChangesDuringAPhaseKeepsNothing(t *testing.T) {
	w := newWorld(t)
	w.write("tiny/root.d/10-tiny", tinyRoot+"echo 2 >> $ANSWER_FILE\n", 0o755)
	first := w.must(nil)
	if err := os.WriteFile(w.env["ANSWER_FILE"], []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := w.must(nil); again.ran != first.ran {
		t.Errorf("%d steps ran again, want all %d", again.ran, first.ran)
	}
}

func TestOfflineUsesTheLastAnswers(t *testing.T) {
	w := newWorld(t)
	w.must(nil)
	os.Remove(w.env["ANSWER_FILE"])
	if b := w.must(func(o *rootfs.Options) { o.Offline = true }); b.ran != 0 {
		t.Errorf("%v ran", b.events)
	}
	if _, err := w.build(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("online without an answer: %v", err)
	}
}

func TestStepsThatCannotAskTheNetworkAge(t *testing.T) {
	w := newWorld(t)
	os.RemoveAll(filepath.Join(w.lib, "app/cache-key.d"))
	w.age = time.Millisecond
	w.must(nil)
	time.Sleep(5 * time.Millisecond)
	b := w.must(nil)
	if slices.Contains(b.events, "root/10-tiny") || !slices.Contains(b.events, "pre-install/10-app") {
		t.Errorf("ran %v, want the hooks of app only", b.events)
	}
	w.age = time.Hour
	w.must(nil)
	if b := w.must(nil); b.ran != 0 {
		t.Errorf("ran %v within the hour", b.events)
	}
}

// Hooks on the host read what no key knows: they run every time, and what they
// changed decides whether the steps above run.
func TestExtraDataIsKeyedByContent(t *testing.T) {
	w := newWorld(t)
	host := filepath.Join(w.cache, "host")
	os.WriteFile(host, []byte("a"), 0o644)
	w.env["HOST_FILE"] = host
	w.write("app/extra-data.d/10-app", "#!/bin/sh\nset -e\ncp $HOST_FILE $TMP_MOUNT_PATH/etc/host\ncp $HOST_FILE $TMP_HOOKS_PATH/data/host\n", 0o755)
	w.must(nil)
	b := w.must(nil)
	if want := []string{"extra-data/10-app"}; !slices.Equal(b.events, want) {
		t.Errorf("unchanged host: ran %v, want %v", b.events, want)
	}
	os.WriteFile(host, []byte("b"), 0o644)
	b = w.must(nil)
	if clean := w.must(fresh); b.tree != clean.tree {
		t.Error("changed host: the cached tree differs from the one built anew")
	}
	if !slices.Contains(b.events, "pre-install/10-app") {
		t.Errorf("changed host: ran %v", b.events)
	}
}

func TestEmptyRootIsRefused(t *testing.T) {
	w := newWorld(t)
	w.write("tiny/root.d/10-tiny", "#!/bin/sh\nmkdir -p $TARGET_ROOT/tmp\n", 0o755)
	for range 2 { // the empty tree is no layer that a second build could stand on
		if _, err := w.build(context.Background(), nil); !errors.Is(err, rootfs.ErrNoRoot) {
			t.Errorf("got %v", err)
		}
	}
}

// TestHooksOnTheDisk: from the first hook that names the block device on, steps
// run when there is a disk, in their order, with its devices.
func TestHooksOnTheDisk(t *testing.T) {
	w := newWorld(t)
	w.write("app/finalise.d/50-device", "#!/bin/sh\nset -e\ntest -b \"$IMAGE_BLOCK_DEVICE\"\necho \"$IMAGE_BLOCK_DEVICES\" > /devices\n", 0o755)
	w.write("app/cleanup.d/10-app", "#!/bin/sh\nset -e\ntest -b \"$IMAGE_BLOCK_DEVICE\"\necho cleaned > $TARGET_ROOT/cleaned\n", 0o755)
	for again := range 2 { // what is before it is kept, what is after never
		b, err := w.build(t.Context(), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, w.out)
		}
		for _, e := range b.events {
			if e == "finalise/50-device" || e == "finalise/90-app" || e == "driver/clear" {
				t.Errorf("%s ran without a disk", e)
			}
		}
		if again == 1 && len(b.events) > 0 {
			t.Errorf("again: %v", b.events)
		}
	}
	w.onDisk(func(dir string, rest *rootfs.Rest, events *[]string) {
		image := blockDevice(t)
		err := rest.Run(t.Context(), rootfs.OnDisk{Dir: dir, Disk: "image0", Devices: map[string]string{"image0": image, "root": image}})
		if err != nil {
			t.Fatalf("%v\n%s", err, w.out)
		}
		if want := []string{"finalise/50-device", "finalise/90-app", "cleanup/10-app", "driver/clear"}; !slices.Equal(*events, want) {
			t.Errorf("ran %v, want %v", *events, want)
		}
		name := "/dev/" + filepath.Base(image)
		for file, want := range map[string]string{"devices": " [image0]=" + name + "  [root]=" + name + " \n", "cleaned": "cleaned\n"} {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", file, got, err)
			}
		}
	})
}

// blockDevice is a node that any block device's driver would answer for; it is
// never opened.
func blockDevice(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk7")
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 250))); err != nil {
		t.Fatal(err)
	}
	return path
}

// The phase that diskimage-builder itself gave up is refused by name.
func TestBlockDevicePhase(t *testing.T) {
	w := newWorld(t)
	w.write("app/block-device.d/10-old", "#!/bin/sh\n", 0o755)
	var notYet *rootfs.NotYetError
	if _, err := w.build(context.Background(), nil); !errors.As(err, &notYet) || !strings.Contains(err.Error(), "DIB_BLOCK_DEVICE_CONFIG") {
		t.Errorf("got %v", err)
	}
}

// onDisk builds the tree and hands a folder of it, with what is left to run, to
// use; events are the steps that ran since.
func (w *world) onDisk(use func(dir string, rest *rootfs.Rest, events *[]string)) {
	w.t.Helper()
	w.finishedWith(func(dir string, res rootfs.Result, events *[]string) {
		*events = nil
		use(dir, res.Rest, events)
	})
}

// finished builds and hands the finished tree to look.
func (w *world) finished(look func(dir string)) {
	w.t.Helper()
	w.finishedWith(func(dir string, _ rootfs.Result, _ *[]string) { look(dir) })
}

func (w *world) finishedWith(look func(dir string, res rootfs.Result, events *[]string)) {
	w.t.Helper()
	ctx := context.Background()
	store, err := oci.Open(ctx, oci.Options{Root: w.store})
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	o, err := w.options(store)
	if err != nil {
		w.t.Fatal(err)
	}
	defer os.RemoveAll(o.Work)
	var events []string
	o.Observe = func(e rootfs.Event) {
		if e.Done && !e.Reused {
			events = append(events, e.Phase+"/"+e.Name)
		}
	}
	b, err := rootfs.New(ctx, o)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := b.Run(ctx)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.out)
	}
	c, err := store.Scratch(ctx, res.Layer)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	look(c.Dir(), res, &events)
}

func TestNothingOfTheBuildStaysInTheTree(t *testing.T) {
	w := newWorld(t)
	epoch := time.Unix(1_700_000_000, 0)
	w.epoch = &epoch
	w.write("app/install.d/60-mess", `#!/bin/sh
set -e
cat /etc/resolv.conf > /resolv-seen
echo x > /tmp/left; mkdir /tmp/dir; echo y > /tmp/dir/left
echo log > /var/log/app.log; echo log > /root/install.log
echo z > /dev/lithify-was-here
`, 0o755)
	w.finished(func(dir string) {
		for path, want := range map[string]string{
			"etc/resolv.conf": "nameserver 192.0.2.1\n", "resolv-seen": "nameserver 192.0.2.9\n", "var/log/app.log": "", "etc/shade": "red-dark\n",
		} {
			got, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil || string(got) != want {
				t.Errorf("%s: %q, %v; want %q", path, got, err, want)
			}
		}
		for _, gone := range []string{"tmp/left", "tmp/in_target.d", "root/install.log", "dev/lithify-was-here", "dev/lithify", "etc/resolv.conf.ORIG", "proc/self"} {
			if _, err := os.Lstat(filepath.Join(dir, gone)); err == nil {
				t.Errorf("%s is in the finished tree", gone)
			}
		}
		filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
			info, e := os.Lstat(p)
			if err != nil || e != nil || info.ModTime().After(epoch) {
				t.Errorf("%s: %v %v, changed %v after the epoch", p, err, e, info.ModTime())
			}
			return nil
		})
	})
}

func TestResolvConfThatHooksReplace(t *testing.T) {
	for name, c := range map[string]struct{ hook, link, content string }{
		"a link of their own stays": {"#!/bin/sh\nln -sf /run/resolv.conf /etc/resolv.conf\n", "/run/resolv.conf", ""},
		"renamed onto":              {"#!/bin/sh\necho new > /etc/r; mv /etc/r /etc/resolv.conf\n", "", "nameserver 192.0.2.1\n"},
		"the final one edited":      {"#!/bin/sh\necho final > /etc/resolv.conf.ORIG\n", "", "final\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("app/install.d/60-resolv", strings.Replace(c.hook, "mv ", "busybox mv ", 1), 0o755)
			w.finished(func(dir string) {
				at := filepath.Join(dir, "etc/resolv.conf")
				if c.link != "" {
					if to, err := os.Readlink(at); to != c.link {
						t.Errorf("links to %q, %v", to, err)
					}
					return
				}
				if got, err := os.ReadFile(at); string(got) != c.content {
					t.Errorf("holds %q, %v", got, err)
				}
			})
		})
	}
}

// Binds that a root hook makes are there for hooks inside, also when the root
// hook itself is reused.
func TestBindsOfRootHooksAreMadeAgain(t *testing.T) {
	w := newWorld(t)
	packages := filepath.Join(w.cache, "packages")
	os.MkdirAll(packages, 0o755)
	os.WriteFile(filepath.Join(packages, "one"), []byte("1"), 0o644)
	w.write("tiny/root.d/50-bind", "#!/bin/sh\nset -e\nmkdir -p $TARGET_ROOT/var/cache/packages\nmount --bind $DIB_IMAGE_CACHE/packages $TARGET_ROOT/var/cache/packages\n", 0o755)
	w.write("app/install.d/70-use", "#!/bin/sh\nset -e\ncp /var/cache/packages/one /used\n", 0o755)
	w.must(nil)
	w.write("app/install.d/70-use", "#!/bin/sh\nset -e\ncp /var/cache/packages/one /used-again\n", 0o755)
	w.finished(func(dir string) {
		if _, err := os.Stat(filepath.Join(dir, "used-again")); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "var/cache/packages/one")); err == nil {
			t.Error("the cache's content is in the tree")
		}
	})
}
