package elements

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// element makes an element of files on disk.
func element(t *testing.T, name string, files map[string]string) Element {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, files)
	return Element{Name: name, Path: dir, FS: os.DirFS(dir)}
}

func link(t *testing.T, e Element, name, target string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(e.Path, name)); err != nil {
		t.Fatal(err)
	}
}

func paths(files []File) string {
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	return strings.Join(all, " ")
}

func mustMerge(t *testing.T, els ...Element) *Tree {
	t.Helper()
	tree, err := Merge(els)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestMergeLeavesOut(t *testing.T) {
	e := element(t, "e", map[string]string{
		"README.rst": "", "README.md": "", "LICENSE": "", "element-deps": "", "element-provides": "", "pkg-map": "", "svc-map": "",
		"package-installs.yaml": "", "package-installs.json": "", "block-device-default.yaml": "", "one-step-per-phase": "", "serves-elements": "",
		".hidden": "", "x.pyc": "", "source-repository-x": "kept", "other": "kept",
		"tests/test": "", "test-elements/case/x": "", "__pycache__/x": "", ".git/config": "",
		"install.d/.hidden": "", "install.d/x.pyc": "", "install.d/__pycache__/x": "", "install.d/10-x": "#!/bin/sh\n", "install.d/x.service": "",
		"static/.hidden": "", "static/root/.bashrc": "kept", "static/usr/lib/x.pyc": "kept", "static/lib.so": "kept", "static/tests/x": "kept",
		"data/tests/x": "kept",
	})
	want := "data/tests/x install.d/10-x install.d/x.service other source-repository-x static/lib.so static/root/.bashrc static/tests/x static/usr/lib/x.pyc"
	if got := paths(mustMerge(t, e).Files()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMergeCollisions(t *testing.T) {
	one := element(t, "one", map[string]string{
		"install.d/10-x": "#!/bin/sh\n", "bin/tool": "a", "static/etc/same": "same", "static/etc/differs": "1",
		"static/etc/mode": "#!x", "data": "1", "dir/thing": "",
	})
	two := element(t, "two", map[string]string{
		"install.d/10-x": "#!/bin/sh\n", "bin/other": "a", "static/etc/same": "same", "static/etc/differs": "2",
		"static/etc/mode": "#!x", "data": "2", "dir/thing/below": "",
	})
	if err := os.Chmod(filepath.Join(two.Path, "static/etc/mode"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Merge([]Element{one, two})
	var got []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		c, ok := errors.AsType[*CollisionError](e)
		if !ok || c.First != "one" || c.Second != "two" {
			t.Fatalf("got %#v", e)
		}
		got = append(got, c.Path)
	}
	slices.Sort(got)
	if want := []string{"data", "dir/thing", "install.d/10-x", "static/etc/differs", "static/etc/mode"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMergeLinks(t *testing.T) {
	e := element(t, "e", map[string]string{
		"install.d/10-x": "#!/bin/sh\necho x\n", "README.rst": "text", "shared/file": "s", "install.d/.hidden": "#!h\n", "static/etc/x": "",
	})
	other := element(t, "other", map[string]string{"hooks/20-y": "#!/bin/sh\necho y\n", "hooks/sub/z": "z"})
	link(t, e, "post-install.d", "install.d")
	link(t, e, "install.d/30-same", "10-x")
	link(t, e, "install.d/40-other", filepath.Join("../..", rel(t, e, other.Path), "hooks/20-y"))
	link(t, e, "install.d/data", "../shared")
	link(t, e, "install.d/deep", filepath.Join("../..", rel(t, e, other.Path), "hooks"))
	link(t, e, "install.d/50-hidden", ".hidden")
	link(t, e, "install.d/60-readme", "../README.rst")
	link(t, e, "install.d/70-dangling", "nowhere")
	link(t, e, "install.d/80-sh", "/bin/sh")
	link(t, e, "pre-finalise.d", "install.d")
	link(t, e, "static/etc/localtime", "/usr/share/zoneinfo/UTC")
	link(t, e, "static/etc/up", "../../../../x")
	link(t, e, "gone", "nowhere")
	tree := mustMerge(t, e)
	links := map[string]string{}
	for _, f := range tree.Files() {
		if f.Link != "" && !strings.HasPrefix(f.Path, "p") {
			links[f.Path] = f.Link
		}
	}
	want := map[string]string{
		"install.d/30-same": "10-x", "install.d/data": "../shared", "install.d/70-dangling": "nowhere", "install.d/80-sh": "/bin/sh",
		"static/etc/localtime": "/usr/share/zoneinfo/UTC", "static/etc/up": "../../../../x",
	}
	if fmt.Sprint(links) != fmt.Sprint(want) {
		t.Errorf("links: got %v\nwant %v", links, want)
	}
	if got := hookNamesOf(tree.Hooks(Install)); got != "10-x 30-same 40-other 50-hidden" {
		t.Errorf("hooks: %s", got)
	}
	if got := hookNamesOf(tree.Hooks(PreFinalise)); !strings.Contains(got, "80-sh") {
		t.Errorf("a hook outside may be a link to a program of the host: %s", got)
	}
	for path, want := range map[string]string{"install.d/40-other": "#!/bin/sh\necho y\n", "install.d/deep/sub/z": "z", "install.d/30-same": "#!/bin/sh\necho x\n"} {
		if data, err := tree.Open(path); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
	for _, path := range []string{"install.d/70-dangling", "install.d/80-sh", "static/etc/up", "install.d/data", "install.d"} {
		if data, err := tree.Content(path); err != nil || data != nil {
			t.Errorf("%s holds %q, %v", path, data, err)
		}
	}
	if data, err := tree.Content("install.d/10-x"); err != nil || string(data) != "#!/bin/sh\necho x\n" {
		t.Errorf("got %q, %v", data, err)
	}
	if _, err := tree.Open("install.d/70-dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for _, path := range []string{"install.d/70-dangling", "install.d", "none"} {
		if data, err := tree.Open(path); err == nil {
			t.Errorf("%s: got %q, want an error", path, data)
		}
	}
}

// rel is the way from the folder above e to target.
func rel(t *testing.T, e Element, target string) string {
	t.Helper()
	r, err := filepath.Rel(filepath.Dir(e.Path), target)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hookNamesOf(hooks []Hook) string {
	var names []string
	for _, h := range hooks {
		names = append(names, h.Name)
	}
	return strings.Join(names, " ")
}

// TestHookThroughLinkedFolders follows links whose way goes through links.
func TestHookThroughLinkedFolders(t *testing.T) {
	e := element(t, "e", map[string]string{"shared/real/10-x": "#!/bin/sh\n"})
	link(t, e, "shared/alias", "./real")
	link(t, e, "shared/absolute", "/nowhere")
	link(t, e, "shared/me", "me")
	for _, dir := range []string{"install.d", "finalise.d"} {
		if err := os.Mkdir(filepath.Join(e.Path, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link(t, e, "install.d/20-good", "../shared/alias/10-x")
	link(t, e, "install.d/21-good", ".././shared//real/../alias/10-x")
	link(t, e, "finalise.d/30-bad", "../shared/absolute/10-x")
	link(t, e, "finalise.d/31-bad", "../shared/me/10-x")
	link(t, e, "finalise.d/32-bad", "../shared/real/10-x/more")
	link(t, e, "finalise.d/33-bad", "../../../../../../../../bin/none")
	tree := mustMerge(t, e)
	if got := hookNamesOf(tree.Hooks(Install)); got != "20-good 21-good" {
		t.Errorf("got %s", got)
	}
	if got := hookNamesOf(tree.Hooks(Finalise)); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestMergeEndlessLinks(t *testing.T) {
	e := element(t, "e", map[string]string{"data/x": ""})
	other := element(t, "other", map[string]string{"data/x": ""})
	link(t, e, "data/up", filepath.Join("../..", rel(t, e, other.Path), "data"))
	link(t, other, "data/back", filepath.Join("../..", rel(t, other, e.Path), "data"))
	if _, err := Merge([]Element{e}); err == nil || !strings.Contains(err.Error(), "nest too deep") {
		t.Errorf("got %v", err)
	}
	loop := element(t, "loop", nil)
	if err := os.Mkdir(filepath.Join(loop.Path, "install.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	link(t, loop, "install.d/10-a", "10-b")
	link(t, loop, "install.d/10-b", "10-a")
	if hooks := mustMerge(t, loop).Hooks(Install); len(hooks) != 0 {
		t.Errorf("got %v", hooks)
	}
}

func TestMergeRefusesFifo(t *testing.T) {
	e := element(t, "e", map[string]string{"install.d/10-x": "#!/bin/sh\n"})
	if err := syscall.Mkfifo(filepath.Join(e.Path, "install.d/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Merge([]Element{e}); err == nil || !strings.Contains(err.Error(), "fifo") {
		t.Errorf("got %v", err)
	}
}

func TestHooksOrder(t *testing.T) {
	a := element(t, "a", map[string]string{"install.d/10-a": "#!\n", "install.d/9-a": "#!\n", "install.d/none": "#!\n", "install.d/10-data": "x", "install.d/5-x.sh": "#!\n", "install.d/sub/1-x": "#!\n"})
	b := element(t, "b", map[string]string{"install.d/10-b": "#!\n", "install.d/100-b": "#!\n", "install.d/09-b": "#!\n"})
	hooks := mustMerge(t, b, a).Hooks(Install)
	if got := hookNamesOf(hooks); got != "none 09-b 9-a 10-a 10-b 100-b" {
		t.Errorf("got %s", got)
	}
	if h := hooks[0]; h.Element != "a" || h.Path != "install.d/none" || h.Phase != Install || h.Builtin {
		t.Errorf("got %+v", h)
	}
}

func TestWriteAndReread(t *testing.T) {
	e := element(t, "e", map[string]string{"install.d/10-x": "#!/bin/sh\n", "install.d/data/x": "x", "static/etc/motd": "hi"})
	link(t, e, "install.d/20-y", "10-x")
	if err := os.Mkdir(filepath.Join(e.Path, "static/empty"), 0o711); err != nil {
		t.Fatal(err)
	}
	tree := mustMerge(t, e)
	dir := filepath.Join(t.TempDir(), "hooks")
	old := syscall.Umask(0o077)
	err := tree.WriteTo(dir)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	checkTimes(t, dir)
	again, err := tree.Reread(dir)
	if err != nil {
		t.Fatal(err)
	}
	unbuilt := func(fs []File) string { return fmt.Sprint(fs) }
	if got, want := unbuilt(again.Files()), unbuilt(tree.Files()); got != want {
		t.Errorf("files: got %s\nwant %s", got, want)
	}
	if got, want := unbuilt(again.Dirs()), unbuilt(tree.Dirs()); got != want {
		t.Errorf("folders: got %s\nwant %s", got, want)
	}
	write(t, dir, map[string]string{"install.d/30-new": "#!/bin/sh\n", "install.d/10-x": "#!/bin/sh\nchanged\n"})
	if err := os.Symlink("10-x", filepath.Join(dir, "install.d/40-link")); err != nil {
		t.Fatal(err)
	}
	if again, err = tree.Reread(dir); err != nil {
		t.Fatal(err)
	}
	want := "[{install 10-x install.d/10-x e false} {install 20-y install.d/20-y e false} {install 30-new install.d/30-new  false} {install 40-link install.d/40-link e false}]"
	if got := fmt.Sprint(again.Hooks(Install)); got != want {
		t.Errorf("hooks: got %s\nwant %s", got, want)
	}
	if data, err := again.Open("install.d/40-link"); err != nil || string(data) != "#!/bin/sh\nchanged\n" {
		t.Errorf("got %q, %v", data, err)
	}
}

func checkTimes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !info.ModTime().Equal(ModTime) {
			t.Errorf("%s: time %v", path, info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPhases(t *testing.T) {
	var outside []string
	for _, p := range Phases() {
		if p.Outside() {
			outside = append(outside, p.Dir())
		}
	}
	if got := strings.Join(outside, " "); got != "root.d extra-data.d post-root.d block-device.d pre-finalise.d cleanup.d" || len(Phases()) != 10 {
		t.Errorf("got %s", got)
	}
}
