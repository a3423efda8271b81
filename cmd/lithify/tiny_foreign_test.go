package main

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/rootfs/runner"
)

// The tests named TestTinyForeign… build for an architecture that this machine
// does not run, from Debian's busybox of it.

// other is that architecture: its word here, uname's, and QEMU's program.
var other = func() struct{ arch, uname, emulator string } {
	if hostArch() == "arm64" {
		return struct{ arch, uname, emulator string }{"amd64", "x86_64", "qemu-x86_64-static"}
	}
	return struct{ arch, uname, emulator string }{"arm64", "aarch64", "qemu-aarch64-static"}
}()

// foreignBox is the folder with a program busybox of the other architecture,
// fetched once. TestMain removes it.
var foreignBox struct {
	once sync.Once
	dir  string
	err  error
}

// newForeign is a world whose busybox is of the other architecture.
func newForeign(t *testing.T, as string) *tiny {
	t.Helper()
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, other.emulator, "dpkg-deb")
	foreignBox.once.Do(func() { foreignBox.dir, foreignBox.err = fetchBusybox(other.arch) })
	must(t, foreignBox.err)
	w := newTiny(t, tinyPeople(t)[as])
	w.env = append(w.env, "PATH="+foreignBox.dir+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	w.args = append([]string{"-a", other.arch}, w.args...)
	return w
}

const debianMirror = "http://deb.debian.org/debian/"

// fetchBusybox takes the package from Debian's mirror: the index is sorted, so
// its first part is enough.
func fetchBusybox(arch string) (dir string, err error) {
	if dir, err = os.MkdirTemp("/var/tmp", "lithify-e2e-busybox-"); err != nil {
		return "", err
	}
	entry, err := packageEntry(arch, "busybox-static")
	if err != nil {
		return dir, fmt.Errorf("looking for busybox for %s: %w", arch, err)
	}
	body, err := open(debianMirror + entry["Filename"])
	if err != nil {
		return dir, err
	}
	data, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return dir, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != entry["SHA256"] {
		return dir, fmt.Errorf("%s: another checksum than the index has", entry["Filename"])
	}
	deb := filepath.Join(dir, "deb")
	if err := errors.Join(os.WriteFile(deb, data, 0o644), os.Chmod(dir, 0o755)); err != nil {
		return dir, err
	}
	if out, err := exec.Command("dpkg-deb", "--extract", deb, filepath.Join(dir, "root")).CombinedOutput(); err != nil {
		return dir, fmt.Errorf("unpacking busybox: %w: %s", err, out)
	}
	for _, place := range []string{"bin", "usr/bin"} {
		if err = os.Rename(filepath.Join(dir, "root", place, "busybox"), filepath.Join(dir, "busybox")); err == nil {
			return dir, os.RemoveAll(filepath.Join(dir, "root"))
		}
	}
	return dir, err
}

// packageEntry is a package's paragraph in the index of Debian stable.
func packageEntry(arch, name string) (map[string]string, error) {
	body, err := open(debianMirror + "dists/stable/main/binary-" + arch + "/Packages.gz")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	plain, err := gzip.NewReader(body)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(plain)
	lines.Buffer(nil, 1<<20)
	entry := map[string]string{}
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "" && entry["Package"] == name:
			return entry, nil
		case lines.Text() == "":
			clear(entry)
		case ok:
			entry[key] = value
		}
	}
	return nil, errors.Join(lines.Err(), fmt.Errorf("no package %s", name))
}

func open(url string) (io.ReadCloser, error) {
	client := &http.Client{Timeout: time.Minute}
	response, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", url, response.Status), response.Body.Close())
	}
	return response.Body, nil
}

// TestTinyForeign: hooks in the target are emulated, our commands there work on
// the target, and hooks outside may enter it.
func TestTinyForeign(t *testing.T) {
	t.Parallel()
	for _, as := range []string{"root", "user"} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			w := newForeign(t, as)
			w.shop()
			r := w.build("web", "tar,raw")
			for file, want := range map[string]string{
				"etc/seen/machine":  other.uname + " " + other.arch + "\n",
				"etc/seen/chroot":   other.uname + "\n",
				"etc/seen/driver":   "systemd\n",
				"etc/seen/service":  "httpd-of-tiny\n",
				"etc/seen/package":  "the-editor\n",
				"etc/seen/missing":  "1\n",
				"etc/seen/code":     "23\n",
				"etc/seen/name":     "words\n",
				"etc/seen/parts":    "10-first " + other.uname + "\n20-second\n",
				"etc/seen/packages": "everywhere its-own the-editor\n",
			} {
				if got := strings.ReplaceAll(w.inTar("web", file), " -y", ""); got != want {
					t.Errorf("%s: %q, want %q\n%v", file, got, want, r)
				}
			}
			if r := w.build("web", "tar,raw"); !r.nothing {
				t.Errorf("nothing has changed: %v", r)
			}
			w.edit("shop/install.d/60-own", "echo more >> /etc/seen/more\n")
			if r := w.build("web", "tar,raw"); r.ran == 0 || r.reused == 0 || w.inTar("web", "etc/seen/more") != "more\n" {
				t.Errorf("one hook has changed: %v", r)
			}
			w.noRegistration()
		})
	}
}

// shop is an element that asks each command in the target.
func (w *tiny) shop() {
	own := other.arch
	w.hooks("shop", map[string]string{
		"environment.d/10-shop":  "export DISTRO_NAME=debian DIB_RELEASE=bookworm DIB_INIT_SYSTEM=systemd\n",
		"pkg-map":                `{"default": {"editor": "the-editor"}}`,
		"svc-map":                "web:\n  default: httpd-of-tiny\n",
		"package-installs.yaml":  "everywhere:\nits-own:\n  arch: " + own + "\nnot-here:\n  not-arch: other, " + own + "\nhosts:\n  arch: " + hostArch() + "\neditor:\n",
		"pre-install.d/10-shop":  "mkdir -p /etc/seen /usr/local/bin\nprintf '#!/bin/sh\\necho \"$@\" >> /etc/seen/asked\\n' > /usr/local/bin/install-packages\nchmod 755 /usr/local/bin/install-packages\n",
		"install.d/20-machine":   "echo \"$(/bin/busybox uname -m) $ARCH\" > /etc/seen/machine\n",
		"install.d/30-commands":  "dib-init-system > /etc/seen/driver\nsvc-map web > /etc/seen/service\npkg-map --element shop editor > /etc/seen/package\ncode=0\npkg-map --element shop nothing 2> /dev/null || code=$?\necho $code > /etc/seen/missing\n",
		"install.d/40-packages":  "package-installs-v2 --phase install.d /dev/lithify/data/package-installs.json\n/bin/busybox sort /etc/seen/asked > /etc/seen/packages\n",
		"install.d/50-codes":     "code=0\nsh -c 'exit 23' || code=$?\necho $code > /etc/seen/code\n# busybox goes by its first argument\n(exec -a echo /bin/sh words) > /etc/seen/name\n",
		"install.d/55-parts":     "mkdir -p /tmp/parts\nprintf '#!/bin/sh\\necho 10-first $(busybox uname -m) > /etc/seen/parts\\n' > /tmp/parts/10-first\nprintf '#!/bin/sh\\necho 20-second >> /etc/seen/parts\\n' > /tmp/parts/20-second\nchmod 755 /tmp/parts/*\ndib-run-parts /tmp/parts\n",
		"install.d/60-own":       "true\n",
		"post-root.d/60-outside": "chroot \"$TMP_MOUNT_PATH\" /bin/busybox uname -m > \"$TMP_MOUNT_PATH/etc/seen/chroot\"\n",
	})
}

// noRegistration: the machine's kernel does not know the emulator, whatever
// builds did.
func (w *tiny) noRegistration() {
	w.t.Helper()
	if runs, err := runner.Executes(other.arch, w.dir); err != nil || runs && os.Getenv("CI") == "true" {
		w.t.Errorf("this machine runs %s: %v, %v", other.arch, runs, err)
	}
}

// TestTinyForeignCodes: the build's exit code is that of the emulated hook.
func TestTinyForeignCodes(t *testing.T) {
	t.Parallel()
	for _, as := range []string{"root", "user"} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			w := newForeign(t, as)
			for line, code := range map[string]int{"exit 7": 7, "exit 126": 126, "exit 255": 255, "kill -KILL $$": 137, "kill -TERM $$": 143} {
				w.hooks("breaking", map[string]string{"install.d/70-break": line + "\n"})
				w.names = append(w.names[:2:2], "breaking")
				w.fails(code, w.create("web", "tar"), `running hook "70-break" of element "breaking" in phase install`)
			}
			w.noOutput("web.tar")
		})
	}
}

// TestTinyForeignMissing: without an emulator nothing is begun, and the message
// says what to install.
func TestTinyForeignMissing(t *testing.T) {
	t.Parallel()
	for _, as := range []string{"root", "user"} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			w := newForeign(t, as)
			if runs, err := runner.Executes(other.arch, w.dir); err != nil || runs {
				blockdevtest.Missing(t, fmt.Sprintf("this machine runs %s: %v", other.arch, err))
			}
			bin := filepath.Join(w.dir, "bin")
			must(t, os.Mkdir(bin, 0o755))
			for _, name := range []string{"bash", "newuidmap", "newgidmap"} {
				path, err := exec.LookPath(name)
				must(t, err)
				must(t, os.Symlink(path, filepath.Join(bin, name)))
			}
			w = w.with("PATH=" + bin)
			said := "programs for " + other.arch + " do not run on this machine (" + hostArch() + ")"
			w.fails(exitTool, w.create("web", "tar"), said, other.emulator, "apt-get install --no-install-recommends -y qemu-user-static", bin)
			must(t, os.Symlink("bash", filepath.Join(bin, other.emulator)))
			w.fails(exitTool, w.create("web", "tar"), said, "is not static")
			busybox, err := exec.LookPath("busybox") // static, and no emulator
			must(t, err)
			must(t, os.Remove(filepath.Join(bin, other.emulator)))
			must(t, os.Symlink(busybox, filepath.Join(bin, other.emulator)))
			w.fails(exitTool, w.create("web", "tar"), said, "it does not run them")
			w.fails(exitUsage, w.with("PATH="+os.Getenv("PATH")).create("web", "raw", "--backend", "loop"), "--backend file makes the same disk")
			w.noOutput("web.tar", "web.raw")
			if dirs, err := os.ReadDir(w.store); err != nil || len(dirs) > 0 {
				t.Errorf("something was begun: %v, %v", dirs, err)
			}
		})
	}
	w := newTiny(t, nil)
	w.fails(exitUsage, w.create("web", "tar", "-a", "arm46"), `unknown architecture "arm46"`, "did you mean arm64", "allowed are amd64,")
}

// TestTinyNativeArch: an architecture that the kernel runs by itself needs no
// emulator and no namespace.
func TestTinyNativeArch(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	if hostArch() != "amd64" {
		blockdevtest.Missing(t, "amd64, whose kernel runs i386")
	}
	if runs, err := runner.Executes("i386", w.dir); err != nil || !runs {
		blockdevtest.Missing(t, fmt.Sprintf("this kernel does not run i386: %v", err))
	}
	w.names = append(w.names, "shown")
	w.write("shown/install.d/80-shown", "#!/bin/sh\necho $ARCH > /etc/arch\n")
	w.build("web", "tar", "-a", "i386", "--backend", "file")
	if got := w.inTar("web", "etc/arch"); got != "i386\n" {
		t.Errorf("ARCH is %q", got)
	}
	if _, err := os.Stat(filepath.Join(w.store, "emulated")); err == nil {
		t.Error("it was taken for foreign")
	}
}
