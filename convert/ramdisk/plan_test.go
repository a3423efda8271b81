package ramdisk

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// TestPlanStarts puts programs of this machine into a ramdisk, unpacks it, and runs
// them there: links, a script's interpreter and libraries must all be in place.
func TestPlanStarts(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "cpio", "busybox", "mkfs.ext4", "chroot", "python3")
	host, err := exec.LookPath("busybox")
	must(t, err)
	var wants []Binary
	for _, name := range []string{"mkfs.ext4", "awk", "ldconfig.real", "ldconfig", "bash", "ldd", "which", "sh", "ps"} {
		wants = append(wants, Binary{Want: Want{Name: name, From: "the test", Optional: name == "ldconfig.real"}, AppletDoes: name == "ps"})
	}
	a, err := Plan(Request{Tree: "/", Binaries: wants, Busybox: host, Applets: []string{"ps", "tar", "sh", "[["},
		Files: []File{{Want: Want{Name: "/etc/pass[w]d", From: "the test"}}, {Want: Want{Name: "/etc/group", From: "the test"}, To: "/etc/other", Mode: 0o600},
			{Want: Want{Name: "data", From: "the test"}, To: "/lib/data", Data: []byte("words")}, {Want: Want{Name: "/etc/no-such", From: "the test", Optional: true}}}})
	must(t, err)
	out := t.TempDir()
	command(t, out, written(t, a, Options{}), "cpio", "--extract", "--make-directories", "--quiet")
	for _, run := range []struct{ line, says string }{
		{"/sbin/mkfs.ext4 -V", "mke2fs"},
		{"/bin/awk 'BEGIN { print 6 * 7 }'", "42"},
		{"/usr/sbin/ldd /bin/ldd", "not a dynamic executable"},
		{"which bash", "/bin/bash"},
		{"[[ -x /bin/ps ]] && echo \"$(</etc/passwd)\"", "root:"},
		{"echo \"$(</usr/lib/data)\"", "words"},
	} {
		cmd := exec.Command("chroot", out, "/bin/bash", "-c", run.line)
		cmd.Env = []string{"PATH=/bin"}
		said, err := cmd.CombinedOutput()
		if !strings.Contains(string(said), run.says) {
			t.Errorf("%s: %v: %q", run.line, err, said)
		}
	}
	for name, want := range map[string]string{"usr/bin/ps": "busybox", "usr/bin/[[": "busybox", "bin": "usr/bin", "usr/bin/mkfs.ext4": "mke2fs"} {
		if to, err := os.Readlink(filepath.Join(out, name)); err != nil || to != want {
			t.Errorf("%s leads to %q, %v", name, to, err)
		}
	}
	for name, want := range map[string]fs.FileMode{"etc/other": 0o600, "etc/passwd": 0o644, "usr/lib/data": 0o644} {
		if info, err := os.Lstat(filepath.Join(out, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// lay makes a tree of files; a text that begins with "-> " is a link.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			must(t, os.Symlink(to, at))
			continue
		}
		must(t, os.WriteFile(at, []byte(text), 0o755))
	}
	return dir
}

// TestPlanLayout: trees with and without a merged /usr give one layout, and links
// lead where they did.
func TestPlanLayout(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		wants []string
		links map[string]string
	}{
		{"merged", map[string]string{"bin": "-> usr/bin", "sbin": "-> usr/sbin", "usr/bin/tool": "x", "usr/sbin/tool2": "-> ../bin/tool", "usr/sbin/tool": "-> /bin/tool"},
			[]string{"tool", "tool2"}, map[string]string{"usr/bin/tool2": "tool"}},
		{"not merged", map[string]string{"bin/tool": "x", "usr/bin/tool2": "-> /bin/tool", "sbin/tool3": "-> ../usr/bin/tool2", "lib64/a": "x", "etc/alternatives/alt": "-> /bin/tool", "bin/alt": "-> /etc/alternatives/alt"},
			[]string{"tool", "tool2", "tool3", "alt"}, map[string]string{"usr/bin/tool2": "tool", "usr/bin/tool3": "tool2", "usr/bin/alt": "../../etc/alternatives/alt", "etc/alternatives/alt": "../../usr/bin/tool"}},
		{"elsewhere", map[string]string{"usr/local/bin/tool": "x", "opt/a/deep": "x", "opt/b": "-> a"},
			[]string{"tool", "/opt/b/deep"}, map[string]string{"usr/bin/tool": "../local/bin/tool", "opt/b": "a", "usr/bin/deep": "../../opt/a/deep"}},
		{"script", map[string]string{"bin/tool": "#!/bin/in -x\n", "bin/in": "#! /usr/bin/env other\n", "usr/bin/other": "x", "usr/bin/env": "x"},
			[]string{"tool"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := lay(t, c.files)
			r := Request{Tree: dir}
			for _, w := range c.wants {
				r.Binaries = append(r.Binaries, Binary{Want: Want{Name: w, From: "the test"}})
			}
			a, err := Plan(r)
			must(t, err)
			out := t.TempDir()
			must(t, a.Extract(context.Background(), out))
			for name := range a.entries { // every link leads somewhere within
				if f := newTree(out).follow(name); f.err != nil {
					t.Errorf("%q: %v: %q", name, f.err, a.Names())
				}
			}
			for name, want := range c.links {
				if e := a.entries[name]; e == nil || string(e.data) != want {
					t.Errorf("%q: %+v, want a link to %q", name, e, want)
				}
			}
			for _, w := range c.wants {
				if !a.Has("usr/bin/" + filepath.Base(w)) {
					t.Errorf("no %q among %q", w, a.Names())
				}
			}
			if c.name == "script" && (!a.Has("usr/bin/in") || !a.Has("usr/bin/other")) {
				t.Errorf("interpreters are missing: %q", a.Names())
			}
		})
	}
}

// TestPlanMissing: all that is missing is said at once, with who wanted it.
func TestPlanMissing(t *testing.T) {
	dir := lay(t, map[string]string{"bin/tool": "x", "bin/loop": "-> loop", "lib/modules/6.1/modules.dep": "kernel/a.ko:\n", "lib/modules/6.1/kernel/a.ko": "no object"})
	from := func(name string) Want { return Want{Name: name, From: "element 'e', file, line 3"} }
	_, err := Plan(Request{Tree: dir, Version: "6.1", Binaries: []Binary{{Want: from("tool")}, {Want: from("tol")}, {Want: from("/opt/x")}, {Want: from("loop")}},
		Modules: []Want{from("a"), from("b"), {Name: "c", Optional: true}}, Firmware: []Want{from("fw*")}, Files: []File{{Want: from("/etc/none")}, {Want: from("/etc/n*")}}})
	text := fmt.Sprint(err)
	for _, want := range []string{`binary "tol", wanted by element 'e', file, line 3: no program of the image in`, `binary "/opt/x", wanted by element 'e', file, line 3: the image has no such file`,
		`binary "loop"`, `module "b", wanted by element 'e', file, line 3: kernel 6.1 has no such module`, `firmware "fw*", wanted by`, `file "/etc/none", wanted by element 'e', file, line 3: open /etc/none: no such file`,
		`file "/etc/n*", wanted by`} {
		if !strings.Contains(text, want) {
			t.Errorf("not said: %s\n%s", want, text)
		}
	}
	if strings.Contains(text, `"tool"`) || strings.Contains(text, `"c"`) || strings.Contains(text, `module "a"`) {
		t.Error(text)
	}
}

// FuzzObject: headers of any bytes are read or refused.
func FuzzObject(f *testing.F) {
	for _, name := range []string{"/bin/true", "/lib/x86_64-linux-gnu/libc.so.6"} {
		if data, err := os.ReadFile(name); err == nil {
			f.Add(data[:min(len(data), 64<<10)])
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		at := filepath.Join(t.TempDir(), "x")
		must(t, os.WriteFile(at, data, 0o644))
		o, err := readObject(at)
		if err == nil {
			_, _ = newLoader(newTree(filepath.Dir(at))).closure("/x")
			_ = o
		}
	})
}
