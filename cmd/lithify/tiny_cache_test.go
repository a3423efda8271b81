package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// allHooks are those of a build from nothing; tinySteps counts the driver's
// three deeds too.
var allHooks = []string{"root.d/10-tiny", "pre-install.d/10-app", "install.d/10-app", "install.d/50-app",
	"post-install.d/10-app", "finalise.d/50-app", "finalise.d/90-last"}

const tinySteps = 10

// wantHooks compares the hooks that said they ran, and the summary's count of
// steps.
func (r result) wantHooks(t testing.TB, ran int, hooks ...string) {
	t.Helper()
	if !slices.Equal(r.hooks, hooks) || r.ran != ran || r.ran+r.reused != tinySteps {
		t.Errorf("ran %q, %d steps of %d, want %q, %d: %v", r.hooks, r.ran, r.ran+r.reused, hooks, ran, r)
	}
}

// TestTinyAgain: what is done again after the same command, under another name,
// after an edit, after a failure, and with --no-layers.
func TestTinyAgain(t *testing.T) {
	t.Parallel()
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			w.build("web", "raw,tar").wantHooks(t, tinySteps, allHooks...)
			before := []string{w.mark("web.raw"), w.mark("web.tar")}
			r := w.build("web", "raw,tar")
			if after := []string{w.mark("web.raw"), w.mark("web.tar")}; !r.nothing || r.hooks != nil || !slices.Equal(before, after) {
				t.Errorf("the same command: %q became %q: %v", before, after, r)
			}
			w.build("other", "raw,tar").wantHooks(t, 0)
			sameBits(t, w.path("web.tar"), w.path("other.tar"))
			w.afterEdits(t)
			w.afterFailures(t)
			w.withoutLayers(t)
		})
	}
}

func (w *tiny) afterEdits(t *testing.T) {
	w.edit("app/finalise.d/90-last", "#")
	w.build("web", "raw,tar").wantHooks(t, 2, "finalise.d/90-last") // and the driver's last deed
	must(t, os.Chmod(filepath.Join(w.lib, "app/finalise.d/90-last"), 0o775))
	w.build("web", "raw,tar").wantHooks(t, 2, "finalise.d/90-last")
	w.with("DIB_TINY_WORD=other").build("web", "raw,tar").wantHooks(t, 7, allHooks[2:]...)
	w.with("DIB_UNHEARD=other").build("third", "tar").wantHooks(t, 0)
}

// afterFailures: a hook that fails gives its exit code, and the next run goes on
// with it.
func (w *tiny) afterFailures(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(w.lib, "app/install.d/50-app"))
	must(t, err)
	for _, late := range []string{"app/install.d/50-app", "app/finalise.d/90-last"} {
		text, err := os.ReadFile(filepath.Join(w.lib, late))
		must(t, err)
		w.write(late, string(text)+"\necho something is amiss; exit 42\n")
		before := w.mark("web.raw")
		r := w.fails(42, w.create("web", "raw,tar"), fmt.Sprintf("hook %q of element \"app\" in phase %s", filepath.Base(late), phaseOf(late)),
			"exit code 42", "  | something is amiss\n", "the whole log: "+filepath.Join(w.dir, "home/.cache/lithify/logs/web-"))
		if last := r.hooks[len(r.hooks)-1]; !strings.HasSuffix(late, last) || before != w.mark("web.raw") {
			t.Errorf("the output became %s: %v", w.mark("web.raw"), r)
		}
		w.write(late, string(text)+"\n# mended\n")
		at := slices.Index(allHooks, strings.TrimPrefix(late, "app/"))
		r = w.build("web", "raw,tar")
		if !slices.Equal(r.hooks, allHooks[at:]) {
			t.Errorf("after the failure of %s: %v", late, r)
		}
	}
	w.write("app/install.d/50-app", string(good))
}

func phaseOf(hook string) string {
	return strings.TrimSuffix(filepath.Base(filepath.Dir(hook)), ".d")
}

// withoutLayers builds all anew, and keeps nothing.
func (w *tiny) withoutLayers(t *testing.T) {
	count := func() int {
		records, err := filepath.Glob(w.store + "/lithify/records/*.json")
		must(t, err)
		return len(records)
	}
	before := count()
	w.build("web", "raw,tar", "--no-layers").wantHooks(t, tinySteps, allHooks...)
	if after := count(); after != before {
		t.Errorf("%d steps are kept, %d before", after, before)
	}
	list := w.runCommand(w.command("lithify", "cache", "ls"))
	if want := fmt.Sprintf("\n%d steps, ", before); !strings.Contains(list.stdout, want) {
		t.Errorf("want %q: %v", want, list)
	}
}

// TestTinyElementAdded: an element with a hook of a late phase, added to a build
// that is done, runs that hook and those after it.
func TestTinyElementAdded(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	w.build("web", "tar")
	w.write("late/post-install.d/50-late", "#!/bin/sh\necho \"ran: $0\"\n")
	w.names = append(w.names, "late")
	at := slices.Index(allHooks, "post-install.d/10-app") + 1
	want := append([]string{"post-install.d/50-late"}, allHooks[at:]...)
	if r := w.build("web", "tar"); !slices.Equal(r.hooks, want) {
		t.Errorf("ran %q, want %q: %v", r.hooks, want, r)
	}
}

// TestTinyEnvironments: who builds, where and by which way leaves no mark.
func TestTinyEnvironments(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil).with(epoch)
	w.build("one", "raw,tar", "--backend", "file").wantHooks(t, tinySteps, allHooks...)
	home := filepath.Join(w.dir, "another home")
	must(t, os.Mkdir(home, 0o755))
	second := w.with("HOME="+home, "USER=ci", "LOGNAME=ci", "SHELL=/bin/zsh", "TZ=Asia/Kathmandu", "LANG=de_DE.UTF-8", "LC_ALL=tr_TR.UTF-8",
		"LC_TIME=ja_JP.UTF-8", "TERM=dumb", "COLUMNS=40", "CI=true", "CI_JOB_ID=4711", "BUILD_NUMBER=12", "BUILD_TAG=nightly-12",
		"GITHUB_RUN_ID=99", "GITHUB_SHA=abcdef", "GIT_COMMIT=abcdef", "JENKINS_URL=http://ci.invalid", "GOOGLE_CREDENTIALS=secret",
		"http_proxy=http://proxy.invalid:3128", "HTTPS_PROXY=http://proxy.invalid:3128", "no_proxy=localhost",
		"TMPDIR="+w.out, "XDG_CACHE_HOME="+filepath.Join(home, "cache"), "SSH_AUTH_SOCK=/run/agent", "PS4=+ ", "BASH_ENV=", "PWD=/elsewhere")
	second.build("two", "raw,tar", "--backend", "file").wantHooks(t, 0)
	// Not only are the layers shared: they would be the same.
	anew := second.with("LITHIFY_STORE=" + filepath.Join(w.dir, "store anew"))
	anew.store = filepath.Join(w.dir, "store anew")
	anew.build("three", "raw,tar", "--backend", "file").wantHooks(t, tinySteps, allHooks...)
	for _, name := range []string{"two", "three"} {
		sameBits(t, w.path("one.raw"), w.path(name+".raw"))
		sameBits(t, w.path("one.tar"), w.path(name+".tar"))
	}
}

// TestTinySideBySide: two builds at once make each step once.
func TestTinySideBySide(t *testing.T) {
	t.Parallel()
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as).with(epoch)
			var waits []func() result
			for i := range 3 {
				waits = append(waits, w.start(w.create(fmt.Sprint("web", i), "tar")))
			}
			ran, hooks := 0, []string{}
			for _, wait := range waits {
				r := wait()
				if r.code != 0 || r.ran+r.reused != tinySteps {
					t.Error(r)
				}
				ran += r.ran
				hooks = append(hooks, r.hooks...)
			}
			want := slices.Sorted(slices.Values(allHooks))
			if slices.Sort(hooks); ran != tinySteps || !slices.Equal(hooks, want) {
				t.Errorf("%d steps were made, want %d; hooks %q, want %q", ran, tinySteps, hooks, want)
			}
			for i := range 3 {
				sameBits(t, w.path("web0.tar"), w.path(fmt.Sprintf("web%d.tar", i)))
			}
			w.nothingLeft()
		})
	}
}

// TestTinySameName: two builds of one name wait for each other, and the second
// finds the work done.
func TestTinySameName(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	waits := []func() result{w.start(w.create("web", "raw,tar")), w.start(w.create("web", "raw,tar"))}
	ran, nothing := 0, 0
	for _, wait := range waits {
		r := wait()
		if r.code != 0 {
			t.Error(r)
		}
		ran += r.ran
		if r.nothing {
			nothing++
		}
	}
	if ran != tinySteps || nothing != 1 {
		t.Errorf("%d steps run, %d builds had nothing to do", ran, nothing)
	}
	if dated, _ := filepath.Glob(w.path("web-*")); len(dated) > 0 {
		t.Errorf("made twice: %q", dated)
	}
	w.nothingLeft()
}

// TestTinyPrune prunes all the time while eight builds run that share their
// first steps only.
func TestTinyPrune(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil).with(epoch)
	var stop atomic.Bool
	var pruner sync.WaitGroup
	prunes := 0
	pruner.Go(func() {
		for ; !stop.Load(); prunes++ {
			if r := w.runCommand(w.command("lithify", "cache", "prune", "--all")); r.code != 0 {
				t.Errorf("prune: %v", r)
			}
		}
	})
	var waits []func() result
	for i := range 8 {
		each := w.with(fmt.Sprintf("DIB_TINY_WORD=word%d", i))
		waits = append(waits, each.start(each.create(fmt.Sprint("web", i), "tar")))
	}
	for i, wait := range waits {
		if r := wait(); r.code != 0 {
			t.Errorf("build %d: %v", i, r)
		}
	}
	stop.Store(true)
	pruner.Wait()
	t.Logf("%d prunes", prunes)
	w.checkWords(8)
	w.nothingLeft()
	if r := w.runCommand(w.command("lithify", "cache", "prune", "--all")); r.code != 0 {
		t.Error(r)
	}
	if n := w.layers(); n != 1 {
		t.Errorf("%d layers are left, want the empty base alone", n)
	}
}

// layers is how many folders of layers are in the store.
func (w *tiny) layers() (n int) {
	w.t.Helper()
	folders, err := os.ReadDir(filepath.Join(w.store, "overlay"))
	must(w.t, err)
	for _, d := range folders {
		if len(d.Name()) == 64 {
			n++
		}
	}
	return n
}

// checkWords compares what the builds made: all but one file is equal.
func (w *tiny) checkWords(builds int) {
	w.t.Helper()
	list := func(i int) string {
		return foreign(w.t, w.out, "tar", "--full-time", "-tvf", fmt.Sprintf("web%d.tar", i))
	}
	first := list(0)
	for i := range builds {
		file := fmt.Sprintf("web%d.tar", i)
		if word := foreign(w.t, w.out, "tar", "-xOf", file, tarName(w.t, w.path(file), "etc/word")); word != fmt.Sprintf("word%d dark\n", i) {
			w.t.Errorf("%s: %q", file, word)
		}
		if other := list(i); other != first {
			w.t.Errorf("%s has other files than web0.tar", file)
		}
	}
}
