package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// twoPartitions is a layout with / and /var on partitions of their own.
const twoPartitions = `DIB_BLOCK_DEVICE_CONFIG=[
{"local_loop": {"name": "image0"}},
{"partitioning": {"base": "image0", "label": "mbr", "partitions": [
  {"name": "root", "flags": ["boot", "primary"], "size": "80%",
   "mkfs": {"mount": {"mount_point": "/", "fstab": {"options": "defaults"}}}},
  {"name": "var", "flags": ["primary"], "size": "100%",
   "mkfs": {"type": "ext4", "mount": {"mount_point": "/var", "fstab": {"options": "defaults"}}}}]}}]`

const epoch = "SOURCE_DATE_EPOCH=1700000000"

// ofDisk is what a disk has and a tree has not.
var ofDisk = blockdevtest.CompareOptions{Ignore: []string{"/lost+found", "/var/lost+found"}}

func TestTinyOutputs(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil).with(twoPartitions)
	r := w.build("web", "raw,qcow2,tar", "--checksum", "--image-size", "100MiB")
	if want := 10; r.ran != want || r.reused != 0 || len(r.hooks) != 7 {
		t.Errorf("want %d steps of which 7 hooks say so: %v", want, r)
	}
	w.checkDisk("web.raw", 2)
	foreign(t, w.out, "qemu-img", "check", "web.qcow2")
	foreign(t, w.out, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", "web.raw", "web.qcow2")
	for _, file := range []string{"web.raw", "web.qcow2", "web.tar"} {
		foreign(t, w.out, "md5sum", "--check", "--strict", file+".md5")
		foreign(t, w.out, "sha256sum", "--check", "--strict", file+".sha256")
	}
	sameTree(t, "raw:"+w.path("web.raw"), "tar:"+w.path("web.tar"), ofDisk)
	w.checkManifests("web")
}

// checkDisk lets sfdisk and e2fsck look at a raw disk.
func (w *tiny) checkDisk(file string, wantParts int) {
	w.t.Helper()
	parts, err := partitions(w.path(file))
	must(w.t, err)
	if len(parts) != wantParts {
		w.t.Fatalf("%s: %d partitions, want %d", file, len(parts), wantParts)
	}
	if wantParts == 0 {
		foreign(w.t, w.out, "e2fsck", "-fn", file)
		return
	}
	if out := foreign(w.t, w.out, "sfdisk", "--verify", file); !strings.Contains(out, "No errors detected") {
		w.t.Errorf("sfdisk: %s", out)
	}
	for _, p := range parts {
		foreign(w.t, w.out, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", file, p.Start*512))
	}
}

func (w *tiny) checkManifests(name string) {
	w.t.Helper()
	for file, want := range map[string]string{
		"dib-manifest-git-" + name: "app from nowhere\n",
		"dib_arguments":            "-o " + name,
		"dib_environment":          "DIB_BLOCK_DEVICE_CONFIG",
	} {
		text, err := os.ReadFile(w.path(name + ".d/dib-manifests/" + file))
		if err != nil || !strings.Contains(string(text), want) {
			w.t.Errorf("%s: %q, %v", file, text, err)
		}
	}
}

// TestTinyComputedSize has the usual layout and a size by the content.
func TestTinyComputedSize(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	for _, backend := range []string{"loop", "file"} {
		w.build(backend, "raw,tar", "--backend", backend)
		w.checkDisk(backend+".raw", 0)
		sameTree(t, "raw:"+w.path(backend+".raw"), "tar:"+w.path(backend+".tar"), ofDisk)
	}
	sameTree(t, "raw:"+w.path("loop.raw"), "raw:"+w.path("file.raw"), ofDisk)
	var sizes [2]int64
	for i, file := range []string{"loop.raw", "file.raw"} {
		info, err := os.Stat(w.path(file))
		must(t, err)
		sizes[i] = info.Size()
	}
	if sizes[0] != sizes[1] {
		t.Errorf("sizes %d by loop, %d by file", sizes[0], sizes[1])
	}
}

// TestTinyUser: what root builds an ordinary user builds, too.
func TestTinyUser(t *testing.T) {
	t.Parallel()
	root, user := newTiny(t, nil).with(twoPartitions, epoch), newTiny(t, ordinaryUser(t)).with(twoPartitions, epoch)
	args := []string{"--image-size", "100MiB"}
	user.build("web", "raw,qcow2,tar", args...)
	user.checkDisk("web.raw", 2)
	root.build("web", "raw,tar", append(args, "--backend", "loop")...)
	root.build("file", "raw,qcow2,tar", args...)
	sameTree(t, "raw:"+root.path("web.raw"), "raw:"+user.path("web.raw"), blockdevtest.CompareOptions{})
	for _, ext := range []string{"raw", "qcow2", "tar"} {
		sameBits(t, root.path("file."+ext), user.path("web."+ext))
	}
	sameBits(t, root.path("web.tar"), user.path("web.tar"))
	user.fails(exitUsage, user.create("loop", "raw", append(args, "--backend", "loop")...), "--backend loop")
	if _, err := os.Stat(user.path("loop.raw")); err == nil {
		t.Error("an image was made")
	}
}

// TestTinyEpoch: two builds with nothing in common but their inputs are equal,
// and nothing in them is younger than SOURCE_DATE_EPOCH.
func TestTinyEpoch(t *testing.T) {
	t.Parallel()
	a, b := newTiny(t, nil).with(twoPartitions, epoch), newTiny(t, nil).with(twoPartitions, epoch)
	for _, w := range []*tiny{a, b} {
		w.build("web", "raw,qcow2,tar", "--backend", "file", "--image-size", "100MiB")
	}
	for _, file := range []string{"web.raw", "web.qcow2", "web.tar"} {
		sameBits(t, a.path(file), b.path(file))
	}
	list := foreign(t, a.out, "tar", "--full-time", "--utc", "-tvf", "web.tar")
	times := regexp.MustCompile(`(?m) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)`).FindAllStringSubmatch(list, -1)
	if len(times) < 1000 {
		t.Fatalf("%d times in the list", len(times))
	}
	for _, m := range times {
		if m[1] > "2023-11-14 22:13:20" {
			t.Errorf("younger than the epoch: %s", m[1])
		}
	}
}

// TestTinyReproducible: with --reproducible, root and an ordinary user, with layers
// and without, make equal images of every kind, under any name.
func TestTinyReproducible(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	target := strings.TrimPrefix(server.URL, "http://") + "/some/"
	const formats = "raw,qcow2,vhd,vhdx,vmdk,tar,tgz,squashfs,docker"
	root, user := newTiny(t, nil).with(twoPartitions), newTiny(t, ordinaryUser(t)).with(twoPartitions)
	args := []string{"--reproducible", "--image-size", "100MiB", "--docker-target"}
	for _, w := range []*tiny{root, user} { // what packages leave in a layer, and finalise takes out again
		w.write("app/install.d/65-chance", `#!/bin/sh
set -eu
mkdir -p /var/log /var/cache/ldconfig /var/lib/dbus
/bin/busybox date +%s%N | /bin/busybox tee /var/log/install.log > /var/cache/ldconfig/aux-cache
/bin/busybox tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
/bin/busybox cp /etc/machine-id /var/lib/dbus/
`)
		w.write("app/finalise.d/95-chance", `#!/bin/sh
/bin/busybox cmp /etc/machine-id /var/lib/dbus/machine-id && echo uninitialized > /etc/machine-id && /bin/busybox rm -f /var/lib/dbus/machine-id
`)
	}
	root.build("web", formats, append(args, target+"root")...)
	again := root.build("web2", formats, append(args, target+"again")...)
	user.build("net", formats, append(args, target+"user", "--no-layers")...)
	if again.ran != 0 {
		t.Error(again)
	}
	for _, ext := range []string{"raw", "qcow2", "vhd", "vhdx", "vmdk", "tar", "tgz", "squash"} {
		sameBits(t, root.path("web."+ext), user.path("net."+ext))
		sameBits(t, root.path("web."+ext), root.path("web2."+ext))
	}
	first := digestOf(t, target+"root")
	for _, who := range []string{"again", "user"} {
		if digest := digestOf(t, target+who); digest != first {
			t.Errorf("%s: digest %s, root's first is %s", who, digest, first)
		}
	}
	for line := range strings.Lines(foreign(t, root.out, "tar", "--full-time", "--utc", "-tvf", "web.tar")) {
		if !strings.Contains(line, " 1980-01-01 00:00:00 ") {
			t.Fatalf("another time: %s", line)
		}
	}
}

// TestTinyUnreproducible: what cannot repeat is refused before anything is built,
// and made as ever for a time alone.
func TestTinyUnreproducible(t *testing.T) {
	t.Parallel()
	btrfs := newTiny(t, nil).with("FS_TYPE=btrfs")
	btrfs.fails(exitUsage, btrfs.create("web", "raw", "--reproducible"), "btrfs", "ext4 and vfat repeat")
	options := newTiny(t, nil)
	options.fails(exitUsage, options.create("web", "raw", "--reproducible", "--mkfs-options", "-O casefold"), "mke2fs")
	device := newTiny(t, nil)
	device.write("app/finalise.d/50-device", "#!/bin/sh\ntest -b $IMAGE_BLOCK_DEVICE\n")
	device.fails(exitUsage, device.create("web", "raw", "--reproducible"), "IMAGE_BLOCK_DEVICE", "leave the element out")
	device.with(epoch).build("web", "raw")
}

// TestTinyOldOutputs: a changed image takes the name; the old one is kept under
// a dated name with its checksums, unless it is to be overwritten.
func TestTinyOldOutputs(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.build("web", "tar", "--checksum")
	w.edit("app/finalise.d/90-last", "# changed\necho second > /etc/last\n")
	w.build("web", "tar", "--checksum")
	w.edit("app/finalise.d/90-last", "echo third > /etc/last\n")
	w.with("OVERWRITE_OLD_IMAGE=1").build("web", "tar", "--checksum")
	dated := regexp.MustCompile(`^web-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d\.tar(\.md5|\.sha256)?$`)
	var files []string
	entries, err := os.ReadDir(w.out)
	must(t, err)
	for _, e := range entries {
		files = append(files, e.Name())
	}
	old := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return !dated.MatchString(f) })
	if len(files) != 7 || len(old) != 3 {
		t.Fatalf("%q", files) // three new, three old, web.d
	}
	for file, want := range map[string]string{old[0]: "last\n", "web.tar": "third\n"} {
		if got := foreign(t, w.out, "tar", "-xOf", file, tarName(t, w.path(file), "etc/last")); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	sum, err := os.ReadFile(w.path(old[2]))
	must(t, err)
	if fresh := foreign(t, w.out, "sha256sum", old[0]); fresh[:64] != string(sum[:64]) {
		t.Errorf("the old one's checksum is %s, want %s", sum, fresh)
	}
}

// tarName finds how an archive writes a path: with ./ in front or without.
func tarName(t testing.TB, file, path string) string {
	for line := range strings.Lines(foreign(t, "", "tar", "-tf", file)) {
		if filepath.Clean(strings.TrimSpace(line)) == path {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("%s has no %s", file, path)
	return ""
}

// TestTinyDocker pushes to a registry and compares what comes back.
func TestTinyDocker(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	target := strings.TrimPrefix(server.URL, "http://") + "/some/web:v1"
	w := newTiny(t, ordinaryUser(t)).with(epoch)
	w.build("web", "docker,tar", "--docker-target", target)
	ref, err := name.ParseReference(target)
	must(t, err)
	image, err := remote.Image(ref)
	must(t, err)
	config, err := image.ConfigFile()
	must(t, err)
	if config.OS != "linux" || config.Architecture != hostArch() {
		t.Errorf("it is for %s/%s", config.OS, config.Architecture)
	}
	pulled := filepath.Join(w.dir, "pulled.tar")
	flatten(t, image, pulled)
	// Layers of images have whole seconds, whoever makes them.
	sameTree(t, "tar:"+w.path("web.tar"), "flat:"+pulled, blockdevtest.CompareOptions{Seconds: true})
	first := digestOf(t, target)
	r := w.build("web", "docker,tar", "--docker-target", target)
	if r.ran != 0 || digestOf(t, target) != first {
		t.Errorf("pushed again it is another image: %s, %s: %v", first, digestOf(t, target), r)
	}
}

func digestOf(t testing.TB, target string) string {
	t.Helper()
	ref, err := name.ParseReference(target)
	must(t, err)
	image, err := remote.Image(ref)
	must(t, err)
	digest, err := image.Digest()
	must(t, err)
	return digest.String()
}

// TestTinyMemory: what our processes need does not grow with the image.
func TestTinyMemory(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.write("app/install.d/60-large", `#!/bin/sh
set -eu
mkdir -p /srv/data
/bin/busybox truncate -s 1500M /srv/data/large
for at in $(seq 0 100 1400); do
    /bin/busybox dd if=/dev/urandom of=/srv/data/large bs=1M seek=$at count=2 conv=notrunc 2>/dev/null
done
`)
	for _, backend := range []string{"loop", "file"} {
		cmd := w.create(backend, "raw,qcow2", "--backend", backend)
		largest := measured(cmd, filepath.Join(w.dir, backend+".rss"))
		if r := w.runCommand(cmd); r.code != 0 {
			t.Fatal(r)
		}
		size := largest(t)
		if size > 300*mib || size < 10*mib {
			t.Errorf("%s: the largest process took %s", backend, sizeText(size))
		}
		t.Logf("%s: the largest process took %s", backend, sizeText(size))
		if out, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", w.path(backend+".raw"), w.path(backend+".qcow2")).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// measureVar makes the test binary run its arguments and write to a file how much
// memory the largest of their processes had, in KiB.
const measureVar = "LITHIFY_TEST_MEASURE"

// measured has a command run with a small process between it and the test, whose
// own size would count as the command's: a child begins with its parent's.
func measured(cmd *exec.Cmd, file string) (largest func(t testing.TB) int64) {
	cmd.Env = append(cmd.Env, measureVar+"="+file)
	cmd.Args = append([]string{"measure", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/proc/self/exe"
	return func(t testing.TB) int64 {
		t.Helper()
		text, err := os.ReadFile(file)
		must(t, err)
		n, err := strconv.ParseInt(string(text), 10, 64)
		must(t, err)
		return n << 10
	}
}

// measure is the small process.
func measure(file string, args []string) int {
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "measuring:", err)
			os.Exit(125)
		}
	}
	must(os.Unsetenv(measureVar))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		must(err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		must(errors.New("the system has no figures"))
	}
	must(os.WriteFile(file, strconv.AppendInt(nil, usage.Maxrss, 10), 0o644))
	return cmd.ProcessState.ExitCode()
}
