package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/boot/boottest"
)

// debianWords is the image that the tests of this file build.
var debianWords = append([]string{"-o", "debian", "-t", "raw,qcow2,vhd,tar", "--checksum"}, debianElements...)

var debianElements = []string{"debian-minimal", "vm", "openssh-server", "growroot", "devuser", "enable-serial-console"}

// debianBuild is one caller's build of the image: root's or an ordinary user's.
type debianBuild struct {
	t       *testing.T
	dir     string // outputs
	program string
	env     []string
	who     *syscall.Credential
}

// TestDebian builds a Debian image for real, as root and as an ordinary user,
// and lets foreign tools, the kernel and a machine judge it. It needs the Debian
// archive. LITHIFY_TEST_CACHE keeps the downloaded packages between runs.
func TestDebian(t *testing.T) {
	if testing.Short() {
		t.Skip("a whole distribution is built: not with -short")
	}
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mmdebstrap", "qemu-img", "qemu-system-x86_64", "sfdisk", "e2fsck", "tar", "useradd", "newuidmap")
	base := scratch(t)
	key, public, err := boottest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(base, "key.pub"), public)
	root := newDebianBuild(t, filepath.Join(base, "root"), filepath.Join(base, "key.pub"), nil)
	if log, err := root.run(debianWords...); err != nil {
		t.Fatalf("building as root: %v\n%s", err, tail(log))
	}
	t.Run("outputs", root.checkOutputs)
	t.Run("tar equals disk", root.checkTar)
	t.Run("again", root.checkAgain)
	must(t, os.Mkdir(filepath.Join(base, "registry"), 0o700))
	blobs := registry.NewDiskBlobHandler(filepath.Join(base, "registry")) // in memory they would count as the programs' in TestTinyMemory
	server := httptest.NewServer(registry.New(registry.WithBlobHandler(blobs), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	t.Run("by loop", func(t *testing.T) { root.checkLoop(t, host+"/debian/root") })
	t.Run("side by side", func(t *testing.T) {
		t.Run("boot", func(t *testing.T) {
			t.Parallel()
			bootDebian(t, root.path("debian.qcow2"), key)
		})
		t.Run("ordinary user", func(t *testing.T) {
			t.Parallel()
			checkOrdinaryUser(t, root, filepath.Join(base, "user"), filepath.Join(base, "key.pub"), host)
		})
	})
}

// scratch is on a disk and open to an ordinary user, as t.TempDir is not.
func scratch(t *testing.T) string {
	dir, err := os.MkdirTemp("/var/tmp", "lithify-debian-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// newDebianBuild prepares a caller with a store, a cache and an output folder
// of its own below dir.
func newDebianBuild(t *testing.T, dir, key string, who *syscall.Credential) *debianBuild {
	t.Helper()
	b := &debianBuild{t: t, dir: filepath.Join(dir, "out"), program: filepath.Join(dir, "disk-image-create"), who: who}
	cache := filepath.Join(dir, "cache")
	if kept := os.Getenv("LITHIFY_TEST_CACHE"); kept != "" && who == nil {
		cache = kept
	}
	for _, d := range []string{dir, b.dir, filepath.Join(dir, "tmp"), cache} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, "/proc/self/exe", b.program, 0o755)
	b.env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp"),
		"LITHIFY_STORE=" + filepath.Join(dir, "store"), "DIB_IMAGE_CACHE=" + cache, "XDG_CACHE_HOME=" + filepath.Join(dir, "xdg"),
		"SOURCE_DATE_EPOCH=1780000000", "DIB_DEV_USER_AUTHORIZED_KEYS=" + key, "DIB_DEV_USER_PWDLESS_SUDO=yes"}
	return b
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

func (b *debianBuild) path(name string) string { return filepath.Join(b.dir, name) }

func (b *debianBuild) run(words ...string) (string, error) {
	var log bytes.Buffer
	cmd := exec.Command(b.program, words...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = b.dir, b.env, &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.who}
	begin := time.Now()
	err := cmd.Run()
	b.t.Logf("%s: %v", strings.Join(words, " "), time.Since(begin).Round(time.Second/10))
	return log.String(), err
}

func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// rootOffset is where the only partition begins, in bytes.
func rootOffset(t *testing.T, image string) int64 {
	t.Helper()
	out := mustRun(t, "sfdisk", "--dump", image)
	_, rest, _ := strings.Cut(out, "start=")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), ",")
	sectors, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil {
		t.Fatalf("no partition in %q", out)
	}
	return sectors * 512
}

func (b *debianBuild) checkOutputs(t *testing.T) {
	mustRun(t, "qemu-img", "check", b.path("debian.qcow2"))
	mustRun(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", b.path("debian.raw"), b.path("debian.qcow2"))
	mustRun(t, "sfdisk", "--verify", b.path("debian.raw"))
	mustRun(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", b.path("debian.raw"), rootOffset(t, b.path("debian.raw"))))
	for _, kind := range []string{"md5", "sha256"} {
		for _, ext := range []string{"raw", "qcow2", "vhd", "tar"} {
			cmd := exec.Command(kind+"sum", "--check", "--quiet", "debian."+ext+"."+kind)
			cmd.Dir = b.dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
	for _, name := range []string{"dib_environment", "dib_arguments", "dib-manifest-dpkg-debian"} {
		if _, err := os.Stat(b.path("debian.d/dib-manifests/" + name)); err != nil {
			t.Error(err)
		}
	}
}

// mountRoot mounts the file system at / of a raw image, read-only.
func mountRoot(t *testing.T, image string) string {
	t.Helper()
	dir := t.TempDir()
	mustRun(t, "mount", "-o", fmt.Sprintf("loop,ro,offset=%d", rootOffset(t, image)), image, dir)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (b *debianBuild) checkTar(t *testing.T) {
	tree := filepath.Join(scratch(t), "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "tar", "-C", tree, "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "-xpf", b.path("debian.tar"))
	compareTrees(t, mountRoot(t, b.path("debian.raw")), tree)
}

func compareTrees(t *testing.T, a, b string) {
	t.Helper()
	found, err := blockdevtest.CompareTrees(a, b, blockdevtest.CompareOptions{Ignore: []string{"/lost+found"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}

// checkAgain: the same command makes nothing, another name runs no hook.
func (b *debianBuild) checkAgain(t *testing.T) {
	before, err := os.Stat(b.path("debian.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := b.run(debianWords...)
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(log))
	}
	after, err := os.Stat(b.path("debian.qcow2"))
	if err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the image was made again: %v\n%s", err, tail(log))
	}
}

// checkLoop: under another name, of another back end and kind, no hook runs; the
// kernel's file system holds what ours does.
func (b *debianBuild) checkLoop(t *testing.T, target string) {
	log, err := b.run(append([]string{"-o", "other", "-t", "raw,docker,tar", "--docker-target", target, "--backend", "loop"}, debianElements...)...)
	if err != nil || !strings.Contains(log, "steps reused, 0 run") {
		t.Fatalf("%v\n%s", err, tail(log))
	}
	sameBits(t, b.path("debian.tar"), b.path("other.tar"))
	compareTrees(t, mountRoot(t, b.path("debian.raw")), mountRoot(t, b.path("other.raw")))
	for _, name := range []string{"other.raw", "other.tar"} {
		must(t, os.Remove(b.path(name)))
	}
}

func bootDebian(t *testing.T, image string, key ssh.Signer) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	vm, err := boottest.Start(ctx, boottest.Options{Image: image, Format: "qcow2", Size: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	log := slog.New(slog.NewTextHandler(testWriter{t}, nil))
	err = boottest.CheckDebian(ctx, vm, boottest.Expect{User: "devuser", Key: key, RootLabel: "cloudimg-rootfs", Size: 4 << 30, BootLimit: 12 * time.Minute, Logger: log})
	if err != nil {
		t.Errorf("%v\n%s", err, tail(vm.Log()))
	}
}

// testWriter hands lines to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// checkOrdinaryUser builds the same image anew without any privilege; it is equal
// to the bit. TestTinyReproducible has every format of a disk.
func checkOrdinaryUser(t *testing.T, root *debianBuild, dir, key, host string) {
	who := newUser(t)
	if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range root.env { // the packages need not be fetched twice
		if cache, ok := strings.CutPrefix(e, "DIB_IMAGE_CACHE="); ok {
			mustRun(t, "cp", "-rT", cache, filepath.Join(dir, "cache"))
		}
	}
	b := newDebianBuild(t, dir, key, who)
	b.t = t
	mustRun(t, "chown", "-R", fmt.Sprintf("%d:%d", who.Uid, who.Gid), dir)
	words := append([]string{"-o", "user", "-t", "raw,tar,docker", "--docker-target", host + "/debian/user", "--reproducible", "--no-layers"},
		debianElements...)
	if log, err := b.run(words...); err != nil {
		t.Fatalf("building as an ordinary user: %v\n%s", err, tail(log))
	}
	for _, ext := range []string{"raw", "tar"} {
		sameBits(t, root.path("debian."+ext), b.path("user."+ext))
	}
	for i, entries := range layerEntries(t, host+"/debian/root") {
		for name, e := range entries {
			if strings.HasPrefix(name, "etc/ssh/ssh_host_") && !strings.Contains(e, " 0 bytes") {
				t.Errorf("layer %d holds a key of the host: %s %s", i, name, e)
			}
		}
	}
	if theirs, ours := digestOf(t, host+"/debian/root"), digestOf(t, host+"/debian/user"); theirs != ours {
		t.Errorf("the image in the registry: root's is %s, the user's %s\n%s", theirs, ours,
			strings.Join(layerDifferences(t, host+"/debian/root", host+"/debian/user"), "\n"))
	}
}

// newUser makes a user with subordinate ids for the time of the test.
func newUser(t *testing.T) *syscall.Credential {
	t.Helper()
	name := fmt.Sprintf("lithify%d", os.Getpid())
	if err := accounts("useradd", "--create-home", "--shell", "/bin/sh", name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := accounts("userdel", "--force", "--remove", name); err != nil {
			t.Error(err)
		}
	})
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := os.ReadFile("/etc/subuid")
	if err != nil || !strings.Contains(string(ids), name+":") {
		t.Fatalf("useradd gave no subordinate ids: %v", err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}
