package rootfs_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lithify/lithify/rootfs"
)

// editsVar gives -edits where that is no option of all packages.
const editsVar = "LITHIFY_TEST_EDITS"

var edits = flag.Int("edits", editsDefault(), "how many random edits the property test makes; also $"+editsVar)

// editsDefault has each kind of edit once, and half of them again.
func editsDefault() int {
	if n, err := strconv.Atoi(os.Getenv(editsVar)); err == nil {
		return n
	}
	return 40
}

var seed = flag.Uint64("seed", 0, "of the property test; 0 is another one each time")

// edit changes one input of a world. phase is the first phase that may see the
// change: hooks of earlier phases must not run again. "" means that nobody may:
// nothing at all is built again.
type edit struct {
	name  string
	phase string
	do    func(w *world, n int)
}

// order of the phases that the tiny elements use, with the driver's last.
var order = []string{"root", "pre-install", "install", "post-install", "finalise", "driver", ""}

func everyEdit() []edit {
	hookEdit := func(path, phase string) edit {
		return edit{"hook " + path, phase, func(w *world, n int) { w.write("app/"+path, hook(fmt.Sprint("edit ", n)), 0o755) }}
	}
	list := []edit{
		hookEdit("pre-install.d/10-app", "pre-install"), hookEdit("install.d/10-app", "install"), hookEdit("install.d/50-app", "install"),
		hookEdit("post-install.d/10-app", "post-install"), hookEdit("finalise.d/10-app", "finalise"), hookEdit("finalise.d/90-app", "finalise"),
		{"root hook", "root", func(w *world, n int) { w.write("tiny/root.d/10-tiny", tinyRoot+fmt.Sprint("# ", n, "\n"), 0o755) }},
		{"data of all phases", "root", func(w *world, n int) { w.write("app/data/words", fmt.Sprint("word ", n, "\n"), 0o644) }},
		{"new data file", "root", func(w *world, n int) { w.write(fmt.Sprint("app/data/more", n%3), fmt.Sprint(n, "\n"), 0o644) }},
		{"data of one phase (hooks on the host see the whole tree)", "root", func(w *world, n int) { w.write("app/install.d/notes.txt", fmt.Sprint("note ", n, "\n"), 0o644) }},
		{"script in bin", "root", func(w *world, n int) {
			w.write("app/bin/tool", fmt.Sprintf("#!/bin/sh\necho tool %d says $DIB_COLOUR\n", n), 0o755)
		}},
		{"mode of a script", "root", func(w *world, _ int) { w.toggleMode("app/bin/tool", 0o011) }},
		{"hook switched off, which makes it data", "root", func(w *world, n int) {
			w.toggleMode("app/post-install.d/20-switch", 0o111)
		}},
		{"environment.d", "root", func(w *world, n int) {
			w.write("tiny/environment.d/10-tiny", fmt.Sprintf("export DIB_SHADE=${DIB_COLOUR:-none}-%d\n", n), 0o644)
		}},
		{"environment.d, for who reads it and for who knows the variable", "post-install", func(w *world, n int) {
			w.write("app/environment.d/20-late", fmt.Sprintf("export DIB_LATE=late-%d\n", n), 0o644)
		}},
		{"environment.d with a name that programs may read", "root", func(w *world, n int) {
			w.write("app/environment.d/30-program", fmt.Sprintf("export COLOURS=%d\n", n), 0o644)
		}},
		{"variable that is named", "root", func(w *world, n int) { w.env["DIB_COLOUR"] = fmt.Sprint("colour", n) }},
		{"what the archive has", "root", func(w *world, n int) { os.WriteFile(w.env["ANSWER_FILE"], fmt.Append(nil, n), 0o644) }},
		{"architecture", "root", func(w *world, _ int) {
			w.env["ARCH"] = map[string]string{"amd64": "arm64", "arm64": "amd64"}[w.env["ARCH"]]
		}},
		{"variable that nobody names", "", func(w *world, n int) { w.env["DIB_UNNAMED"] = fmt.Sprint(n) }},
		{"job id", "", func(w *world, n int) { w.env["CI_JOB_ID"], w.env["GIT_COMMIT"] = fmt.Sprint(n), fmt.Sprint(n) }},
		{"proxy", "", func(w *world, n int) { w.env["http_proxy"] = fmt.Sprintf("http://192.0.2.%d:3128", n%200) }},
		{"home", "", func(w *world, n int) { w.env["HOME"] = fmt.Sprint("/home/user", n) }},
		{"time zone and locale", "", func(w *world, n int) {
			w.env["TZ"], w.env["LANG"], w.env["LC_TIME"] = fmt.Sprint("UTC", n%12), fmt.Sprint("l", n), fmt.Sprint("t", n)
		}},
		{"readme and dependencies' comments", "", func(w *world, n int) {
			w.write("app/README.md", fmt.Sprint(n), 0o644)
			w.write("app/element-deps", fmt.Sprintf("# %d\n", n), 0o644)
		}},
		{"times of all files", "", func(w *world, n int) { w.write("app/install.d/10-app", w.read("app/install.d/10-app"), 0o755) }},
	}
	return list
}

// toggleMode gives or takes permissions.
func (w *world) toggleMode(path string, bits os.FileMode) {
	w.t.Helper()
	at := filepath.Join(w.lib, path)
	info, err := os.Stat(at)
	if err == nil {
		err = os.Chmod(at, info.Mode()^bits)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(path string) string {
	data, err := os.ReadFile(filepath.Join(w.lib, path))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// TestCacheProperty: whatever is edited, what comes out of the cache is what a
// build without it makes, and nothing runs that cannot see the edit. Two worlds
// share the edits, which come in random order, none again before all were made.
func TestCacheProperty(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	const worlds = 2
	order := shuffled(rand.New(rand.NewPCG(*seed, 0)), *edits)
	for i := range worlds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			t.Logf("-seed %d", *seed)
			checkEdits(t, order, i, worlds)
		})
	}
}

// shuffled gives so many edits, each kind as often as the others, or once more.
func shuffled(random *rand.Rand, edits int) []edit {
	var order []edit
	for len(order) < edits {
		all := everyEdit()
		random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
		order = append(order, all...)
	}
	return order[:edits]
}

// checkEdits makes every step'th edit from first on, in a world of its own.
func checkEdits(t *testing.T, order []edit, first, step int) {
	w := newWorld(t)
	w.write("app/post-install.d/20-switch", hook("switch"), 0o755)
	before := w.must(nil)
	for n := first; n < len(order); n += step {
		e := order[n]
		e.do(w, n+1)
		cached := w.must(nil)
		clean := w.must(fresh)
		if cached.tree != clean.tree {
			t.Fatalf("edit %d (%s): the cached tree differs from the one built anew:\n%s", n, e.name, differing(cached.tree, clean.tree))
		}
		checkRan(t, fmt.Sprintf("edit %d (%s)", n, e.name), e.phase, cached)
		if e.phase == "" && cached.tree != before.tree {
			t.Fatalf("edit %d (%s) changed the tree", n, e.name)
		}
		if e.phase == "" && cached.intent != before.intent {
			t.Fatalf("edit %d (%s) changed what the build intends", n, e.name)
		}
		before = cached
	}
}

// A release whose steps do something else takes nothing from older ones.
func TestStepVersionIsKeyed(t *testing.T) {
	version := rootfs.StepVersion()
	defer rootfs.SetStepVersion(version)
	w := newWorld(t)
	first := w.must(nil)
	rootfs.SetStepVersion(version + 1)
	if b := w.must(nil); b.ran != first.ran || b.reused != 0 {
		t.Errorf("%d ran and %d were reused, want %d and none", b.ran, b.reused, first.ran)
	}
}

// checkRan fails when a step ran that belongs to an earlier phase than first.
func checkRan(t *testing.T, what, first string, b built) {
	t.Helper()
	place := map[string]int{}
	for i, p := range order {
		place[p] = i
	}
	for _, event := range b.events {
		phase := filepath.Dir(event)
		if place[phase] < place[first] {
			t.Errorf("%s: %s ran, though it cannot see the edit", what, event)
		}
	}
}

// differing lists the lines that only one of two trees has.
func differing(a, b string) string {
	var out strings.Builder
	for _, side := range []struct{ mark, of, other string }{{"cached", a, b}, {"anew", b, a}} {
		for line := range strings.Lines(side.of) {
			if !strings.Contains(side.other, line) {
				fmt.Fprintf(&out, "%s: %s", side.mark, line)
			}
		}
	}
	return out.String()
}
