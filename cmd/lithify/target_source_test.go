package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// gitOrigin is a git repository to fetch from.
type gitOrigin struct {
	t   *testing.T
	dir string
}

func newOrigin(t *testing.T) gitOrigin {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("these tests need git")
		}
		t.Skip("these tests need git")
	}
	o := gitOrigin{t, t.TempDir()}
	o.git("init", "-q", "-b", "master")
	o.commit("first")
	return o
}

func (o gitOrigin) git(args ...string) string {
	o.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
		"GIT_AUTHOR_DATE=1600000000 +0000", "GIT_COMMITTER_DATE=1600000000 +0000", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes word into a file and commits it.
func (o gitOrigin) commit(word string) string {
	o.t.Helper()
	if err := os.MkdirAll(filepath.Join(o.dir, "sub"), 0o755); err != nil {
		o.t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"sub/data": 0o644, "run": 0o755} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(word+"\n"), mode); err != nil {
			o.t.Fatal(err)
		}
	}
	o.git("add", ".")
	o.git("commit", "-q", "-m", word)
	return o.git("rev-parse", "HEAD")
}

// fetching is a build host: hooks, cache and tree.
type fetching struct {
	t                  *testing.T
	hooks, cache, tree string
	env                []string
}

func newFetching(t *testing.T, lines string, env ...string) *fetching {
	t.Helper()
	swap(t, &gitTries, 1)
	swap(t, &downloadTries, 1)
	f := &fetching{t: t, hooks: put(t, map[string]string{"source-repository-x": lines}), cache: t.TempDir(), tree: t.TempDir()}
	f.env = append(append(os.Environ(), "TMP_HOOKS_PATH="+f.hooks, "DIB_IMAGE_CACHE="+f.cache, "TMP_MOUNT_PATH="+f.tree), env...)
	return f
}

func (f *fetching) run(args ...string) (int, string, string) {
	f.t.Helper()
	return call(f.t, f.env, "source-repositories", args...)
}

func (f *fetching) must(args ...string) string {
	f.t.Helper()
	code, out, complaint := f.run(args...)
	if code != 0 {
		f.t.Fatalf("source-repositories %v: code %d: %s", args, code, complaint)
	}
	return out
}

// listing has path, mode, time and content of everything below dir.
func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find . -printf '%p %M %T@ %l\n' | sort && find . -type f | sort | xargs -r sha256sum`, "sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// The same ref gives the same tree to the byte, with times and .git, whatever
// the cache went through before.
func TestGitSourceRepeats(t *testing.T) {
	o := newOrigin(t)
	o.git("tag", "-a", "-m", "one", "v1")
	second := o.commit("second")
	if os.Geteuid() == 0 { // git would rather not read what is somebody else's
		if out, err := exec.Command("chown", "-R", "nobody", o.dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	line := "my-lib git /opt/lib " + o.dir + "\n"
	f := newFetching(t, line)
	f.must()
	data, err := os.ReadFile(f.tree + "/opt/lib/sub/data")
	if err != nil || string(data) != "second\n" {
		t.Fatalf("%q, %v", data, err)
	}
	other := newFetching(t, line)
	other.env = append(other.env, "DIB_REPOREF_my_lib=v1")
	other.must()
	other.tree = t.TempDir()
	other.env = append(other.env, "DIB_REPOREF_my_lib=master", "TMP_MOUNT_PATH="+other.tree)
	time.Sleep(1100 * time.Millisecond) // times have a say
	other.must()
	if a, b := listing(t, f.tree+"/opt/lib"), listing(t, other.tree+"/opt/lib"); a != b {
		t.Errorf("not the same:\n%s\n%s", a, b)
	}
	git := func(args ...string) string {
		return gitOrigin{t, f.tree + "/opt/lib"}.git(append([]string{"-c", "safe.directory=*"}, args...)...)
	}
	if got := git("rev-parse", "HEAD"); got != second {
		t.Errorf("HEAD is %s, want %s", got, second)
	}
	if got := git("describe"); !strings.HasPrefix(got, "v1-1-") {
		t.Errorf("describe says %q", got)
	}
	if got := git("status", "--porcelain"); got != "" {
		t.Errorf("status says %q", got)
	}
	if got := git("fsck", "--strict"); strings.Contains(got, "error") {
		t.Errorf("fsck says %q", got)
	}
	if got := git("symbolic-ref", "--short", "HEAD") + git("config", "remote.origin.url"); got != "fetch_master"+o.dir {
		t.Errorf("branch and origin: %q", got)
	}
	notes, _ := os.ReadFile(f.tree + "/etc/dib-source-repositories")
	manifest, _ := os.ReadFile(f.tree + "/etc/dib-manifests/dib-manifest-git")
	if string(notes) != "/opt/lib\n" || string(manifest) != fmt.Sprintf("my-lib git /opt/lib %s %s\n", o.dir, second) {
		t.Errorf("notes %q, manifest %q", notes, manifest)
	}
}

func TestGitSourceRefs(t *testing.T) {
	o := newOrigin(t)
	first := o.git("rev-parse", "HEAD")
	o.git("tag", "light")
	second := o.commit("second")
	o.git("tag", "-a", "-m", "two", "heavy")
	o.git("branch", "side/line", first)
	o.git("update-ref", "refs/changes/01/1/1", first)
	third := o.commit("third")
	for ref, want := range map[string]string{"": third, "master": third, "light": first, "heavy": second, "side/line": first,
		"refs/changes/01/1/1": first, second: second, second[:10]: second, "*": third, "refs/tags/heavy": second} {
		f := newFetching(t, "x git /x "+o.dir+" "+ref+"\n")
		f.must()
		if got := (gitOrigin{t, f.tree + "/x"}).git("-c", "safe.directory=*", "rev-parse", "HEAD"); got != want {
			t.Errorf("ref %q gives %s, want %s", ref, got, want)
		}
		f.must() // over its own checkout
		if ref == "*" {
			if got := (gitOrigin{t, f.tree + "/x"}).git("-c", "safe.directory=*", "branch", "--format=%(refname:short)"); got != "master\nside/line" {
				t.Errorf("branches: %q", got)
			}
		}
	}
	f := newFetching(t, "x git /x "+o.dir+" nowhere\n")
	if code, _, complaint := f.run(); code != 1 || !strings.Contains(complaint, `no branch, tag or other ref "nowhere"`) || !strings.Contains(complaint, "source-repository-x, line 1") {
		t.Errorf("code %d: %s", code, complaint)
	}
}

// The answer changes with the ref and with the tags below it, and with nothing
// else; offline it is the last one.
func TestSourceAnswer(t *testing.T) {
	o := newOrigin(t)
	f := newFetching(t, "x git /x "+o.dir+"\n")
	first := f.must("--answer")
	if entries, _ := os.ReadDir(f.tree); len(entries) > 0 {
		t.Error("the answer has changed the tree")
	}
	o.git("branch", "other")
	if f.must("--answer") != first {
		t.Error("a branch that is not asked for changes the answer")
	}
	o.git("tag", "v1")
	tagged := f.must("--answer")
	o.commit("more")
	more := f.must("--answer")
	if tagged == first || more == tagged {
		t.Errorf("%q %q %q", first, tagged, more)
	}
	f.env = append(f.env, "DIB_OFFLINE=1")
	o.commit("unseen")
	if f.must("--answer") != more {
		t.Error("offline the answer is another")
	}
	f.must()
	if data, _ := os.ReadFile(f.tree + "/x/sub/data"); string(data) != "more\n" {
		t.Errorf("offline: %q", data)
	}
	fresh := newFetching(t, "x git /x "+o.dir+"\n", "DIB_OFFLINE=1")
	if code, _, complaint := fresh.run(); code != 1 || !strings.Contains(complaint, "offline") {
		t.Errorf("offline without a clone: code %d: %s", code, complaint)
	}
}

func TestSourceAtItsPlaceAlready(t *testing.T) {
	o, other := newOrigin(t), newOrigin(t)
	f := newFetching(t, "x git /x "+o.dir+"\n")
	f.must()
	f.env = append(f.env, "DIB_REPOLOCATION_x="+other.dir)
	if code, _, complaint := f.run(); code != 1 || !strings.Contains(complaint, "as a checkout of") {
		t.Errorf("another origin: code %d: %s", code, complaint)
	}
	f.env = append(f.env, "DIB_REPOLOCATION_x="+o.dir, "DIB_REPOREF_x="+o.git("rev-parse", "HEAD"))
	if code, _, complaint := f.run(); code != 1 || !strings.Contains(complaint, "without branch") {
		t.Errorf("another ref: code %d: %s", code, complaint)
	}
	if err := os.WriteFile(f.tree+"/y", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := newFetching(t, "x git /out/x "+o.dir+"\n")
	if err := os.Symlink("/inner", link.tree+"/out"); err != nil {
		t.Fatal(err)
	}
	link.must()
	if _, err := os.Stat(link.tree + "/inner/x/run"); err != nil {
		t.Error("a link of the image leads out of it:", err)
	}
}

func TestArchiveSources(t *testing.T) {
	dir := put(t, map[string]string{"top/one": "1\n", "top/sub/two": "2\n", "second/three": "3\n"})
	archive := filepath.Join(t.TempDir(), "a.tar.gz")
	if out, err := exec.Command("tar", "-C", dir, "--mtime=@1500000000", "-czf", archive, "top/one", "top/sub/two", "second/three").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for ref, want := range map[string][]string{
		"":        {"one", "sub/two", "three"},
		"*":       {"one", "sub/two", "three"},
		".":       {"top/one", "top/sub/two", "second/three"},
		"top":     {"one", "sub/two"},
		"top/sub": {"two"},
	} {
		f := newFetching(t, "x tar /opt/x file://"+archive+" "+ref+"\n")
		f.must("--answer")
		f.must()
		var got []string
		for _, line := range strings.Split(listing(t, f.tree+"/opt/x"), "\n") {
			fields := strings.Fields(line)
			if len(fields) > 2 && strings.HasPrefix(fields[1], "-") {
				got = append(got, strings.TrimPrefix(fields[0], "./"))
			}
			if len(fields) > 2 && !strings.HasPrefix(fields[2], "1500000000.") {
				t.Errorf("ref %q: not the archive's time: %s", ref, line)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("ref %q: %v, want %v", ref, got, want)
		}
		if left, _ := filepath.Glob(f.tree + "/opt/.*"); len(left) > 0 {
			t.Errorf("ref %q left %v", ref, left)
		}
	}
	f := newFetching(t, "x tar /opt/x file://"+archive+" nowhere\n")
	if code, _, complaint := f.run(); code != 1 || !strings.Contains(complaint, `no folder "nowhere"`) {
		t.Errorf("code %d: %s", code, complaint)
	}
}

func TestFileSource(t *testing.T) {
	dir := put(t, map[string]string{"a b": "text\n"})
	f := newFetching(t, "# a comment\n\nx file /opt/tools/x file://$DIR/a%20b", "DIR="+dir) // no newline at the end
	answer := f.must("--answer")
	f.must()
	if data, err := os.ReadFile(f.tree + "/opt/tools/x"); err != nil || string(data) != "text\n" {
		t.Fatalf("%q, %v", data, err)
	}
	if err := os.WriteFile(dir+"/a b", []byte("other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f.must("--answer") == answer {
		t.Error("another file, the same answer")
	}
}

func TestSourceLines(t *testing.T) {
	env := []string{"BASE=https://h/u", "EMPTY=", "DIB_REPOLOCATION_over_ride=/elsewhere", "DIB_REPOTYPE_typed=file", "DIB_INSTALLTYPE_pack=package"}
	for _, c := range []struct{ line, want string }{
		{"a git /a $BASE/a", "a git /a https://h/u/a master source"},
		{"a git /a ${BASE}/a.git dev", "a git /a https://h/u/a.git dev source"},
		{"a git ${WHERE:-/opt/a} x", "a git /opt/a x master source"},
		{"a git ${EMPTY:-/b} x ${EMPTY-}", "a git /b x master source"},
		{"a tar /a http://x/a.tgz", "a tar /a http://x/a.tgz * source"},
		{"over-ride git /a x", "over-ride git /a /elsewhere master source"},
		{"typed git /a http://x", "typed file /a http://x  source"},
		{"pack package /a x", "pack package /a x  package"},
		{"a git /a", "allowed is NAME TYPE"},
		{"a git /a b c d", "allowed is NAME TYPE"},
		{"a zip /a b", "allowed: git, tar, file, package"},
		{"a git a b", "path of the image"},
		{"a git / b", "path of the image"},
		{"a git /a $NOWHERE", "NOWHERE is not set"},
		{"a git /a $(touch /tmp/x)", "nothing is run"},
		{"a git /a `touch /tmp/x`", "nothing is run"},
		{"a git /a --upload-pack=x", "dash"},
	} {
		s, err := parseSource(c.line, env)
		got := strings.Join([]string{s.name, s.kind, s.dest, s.location, s.ref, s.installType}, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	for location, want := range map[string]string{
		"https://host/a/b": "/base/a/b", "git://host/~me/b": "/base/b", "/local/b": "/local/b", "git@host:a/b": "git@host:a/b",
	} {
		s, err := parseSource("x git /x "+location, []string{"DIB_GITREPOBASE=/base/"})
		if err != nil || s.location != want {
			t.Errorf("%s at a base: %q, %v; want %q", location, s.location, err, want)
		}
	}
	if got := publicLocation("https://me:secret@host/x"); got != "https://host/x" {
		t.Error(got)
	}
}

func TestSourceSkipped(t *testing.T) {
	for _, env := range []string{"NO_SOURCE_REPOSITORIES=1", "DIB_INSTALLTYPE_x=package", "DIB_DEFAULT_INSTALLTYPE=package"} {
		f := newFetching(t, "x git /x /no/such/repository\n", env)
		if got := f.must("--answer") + f.must(); got != "" {
			t.Errorf("%s: %q", env, got)
		}
	}
	f := newFetching(t, "x package /x y\n")
	if code, _, complaint := f.run(); code != 1 || !strings.Contains(complaint, "DIB_INSTALLTYPE_x=package") {
		t.Errorf("code %d: %s", code, complaint)
	}
}

func FuzzSourceLines(f *testing.F) {
	f.Add("a git /a $BASE/a ${X:-y}\n# c\n")
	f.Add("a tar /a `x` $(y) ${")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseSources("f", text, []string{"BASE=b", "X="})
		if err == nil {
			for _, s := range list {
				if !filepath.IsAbs(s.dest) || s.name == "" || s.location == "" {
					t.Errorf("%q: %+v", text, s)
				}
			}
		}
	})
}
