package elements

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// dependencyCases are those of diskimage-builder's own unit tests of dependency
// expansion, and of the sharp edges that its users know. A want that begins with
// an exclamation mark is what the error says.
var dependencyCases = []struct {
	what     string
	elements []string // as library takes them, without the operating system
	ask      string   // without the operating system
	want     string
}{
	{"no dependency", []string{"a:"}, "a", "a"},
	{"itself", []string{"self: self"}, "self", "self"},
	{"a pair that needs each other", []string{"c1: c2", "c2: c1"}, "c1", "c1 c2"},
	{"a pair, both asked for", []string{"c1: c2", "c2: c1"}, "c2 c1", "c2 c1"},
	{"a chain", []string{"a: b", "b: c", "c:"}, "a", "a b c"},
	{"a diamond", []string{"a: b c", "b: d", "c: d", "d:"}, "a", "a b c d"},
	{"a dependency named twice", []string{"a: b b", "b:"}, "a", "a b"},
	{"asked for twice", []string{"a: b", "b:"}, "a a", "a b"},
	{"the order of requests stays, dependencies are sorted", []string{"z: y b", "b:", "y:", "a:"}, "z a", "z a b y"},
	{"a provider asked for first hides the real element", virtualLibrary, "provides requires", "provides requires"},
	{"and its dependency", virtualLibrary, "requires provides", "requires provides"},
	{"a provider two steps away hides it too", append([]string{"far: near", "near: provides"}, virtualLibrary...), "requires far", "requires far near provides"},
	{"without a provider the real element is taken", virtualLibrary, "requires", "requires virtual virtual-dep"},
	{"a purely virtual name, provider first", pureLibrary, "provides requires", "provides requires"},
	{"a purely virtual name, provider last", pureLibrary, "requires provides", "requires provides"},
	{"met before its indirect provider", append([]string{"late: requires via", "via: provides"}, pureLibrary...), "late", "late provides requires via"},
	{"the provider provides a name twice", []string{"p: -> v v", "r: v"}, "r p", "r p"},
	{"an operating system asked for twice", nil, "os", ""},
	{"the real element and its provider", virtualLibrary, "virtual provides", "!virtual : already provided by ['provides']"},
	{"the same, the other way round", virtualLibrary, "provides virtual", "!virtual : already provided by ['provides']"},
	{"two providers", append([]string{"again: -> virtual"}, virtualLibrary...), "provides again requires", "!virtual: already provided by ['provides']"},
	{"two providers, one through a dependency", append([]string{"again: -> virtual", "x: again"}, virtualLibrary...), "provides x", "!virtual: already provided by ['provides']"},
	{"the virtual name of all systems", nil, "operating-system", "!operating-system : already provided by ['os']"},
	{"a second system", []string{"os2: -> operating-system"}, "os2", "!operating-system: already provided by ['os']"},
	{"not there", nil, "nothing-at-all", "!Element 'nothing-at-all' not found"},
	{"not there, at the end of a chain", []string{"web: nginx-conf", "nginx-conf: nginx", "ngnix:"}, "web",
		"!web → nginx-conf → nginx: Element 'nginx' not found; did you mean 'ngnix'?"},
	{"virtual, and no provider chosen", pureLibrary, "requires", "!requires → virtual: Element 'virtual' not found; provided by provides: name one of them"},
}

var (
	virtualLibrary = []string{"virtual: virtual-dep", "virtual-dep:", "provides: -> virtual", "requires: virtual"}
	pureLibrary    = []string{"provides: -> virtual", "requires: virtual"}
)

func TestContractDependencies(t *testing.T) {
	for _, c := range dependencyCases {
		l := library(append([]string{"os: -> operating-system"}, c.elements...)...)
		for range 3 { // an order that is chance shows
			els, err := l.Resolve(append([]string{"os"}, strings.Fields(c.ask)...)...)
			got := strings.TrimSpace(strings.TrimPrefix(namesOf(els), "os"))
			if wrong, ok := strings.CutPrefix(c.want, "!"); ok {
				if err == nil || !strings.HasPrefix(err.Error(), wrong) {
					t.Errorf("%s: got %q, %v; want the error %q", c.what, got, err, wrong)
				}
			} else if err != nil || got != c.want {
				t.Errorf("%s: got %q, %v; want %q", c.what, got, err, c.want)
			}
		}
	}
}

func TestNoOperatingSystem(t *testing.T) {
	if _, err := library("a:", "os: -> operating-system").Resolve("a"); !errors.As(err, new(*NoOperatingSystemError)) {
		t.Errorf("got %v", err)
	}
}

// TestStrayFolders: what lies about in ELEMENTS_PATH stops only builds that
// want it.
func TestStrayFolders(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"os/element-provides": "operating-system\r\n", "os/element-deps": "# none yet\n  # nor here\n\n", "file": ""})
	if err := os.MkdirAll(filepath.Join(dir, "stray", "element-provides"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if els, err := l.Resolve("os"); err != nil || len(els) != 1 {
		t.Errorf("got %v, %v", els, err)
	}
	if _, err := l.Resolve("os", "stray"); err == nil || !strings.Contains(err.Error(), "'stray'") {
		t.Errorf("stray: got %v", err)
	}
}

func TestFind(t *testing.T) {
	l := usual()
	if e, err := l.Find("b"); err != nil || !slices.Equal(e.Deps, []string{"a"}) {
		t.Errorf("got %v, %v", e, err)
	}
	if _, err := l.Find("debain"); err == nil || err.Error() != "Element 'debain' not found; did you mean 'debian'?" {
		t.Errorf("got %v", err)
	}
}

// drawn is a tree on one line: name(needs), =provider, ^ for seen, ? for missing.
func drawn(needs []Need) string {
	var words []string
	for _, n := range needs {
		w := n.Name
		switch {
		case n.Provider != "":
			w += "=" + n.Provider
		case n.Missing != nil:
			w += "?" + strings.Join(n.Missing.Providers, "|")
		case n.Seen:
			w += "^"
		case len(n.Needs) > 0:
			w += "(" + drawn(n.Needs) + ")"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestNeeds(t *testing.T) {
	for _, c := range []struct{ ask, want, err string }{
		{"c", "c(b(a))", ""},
		{"c b", "c(b(a)) b^", ""},
		{"self round1", "self round1(round2(round1^))", ""},
		{"twice", "twice(a b(a))", ""},
		{"late", "late(requires-new(new=provides-new) provides-deep(provides-new))", ""},
		{"requires-virtual", "requires-virtual(virtual(virtual-dep))", ""},
		{"requires-virtual deep", "requires-virtual(virtual=provides-virtual) deep(deeper(provides-virtual))", ""},
		{"requires-new", "requires-new(new?provides-new)", ""},
		{"a broken", "a broken(wrong(debain?))", "broken → wrong → debain: Element 'debain' not found; did you mean 'debian'?"},
		{"os other-os", "", "operating-system: already provided by ['os'], and 'other-os' provides it too"},
		{"virtual provides-virtual", "", "virtual : already provided by ['provides-virtual']; leave out one of the two"},
	} {
		needs, err := usual().Needs(strings.Fields(c.ask)...)
		if got := drawn(needs); got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: got %s, %v; want %s, %s", c.ask, got, err, c.want, c.err)
		}
	}
}

// FuzzResolve: whatever is in element-deps and element-provides, resolution ends
// with each element once, or with an error.
func FuzzResolve(f *testing.F) {
	f.Add([]byte("b c\nvirtual # x"), []byte("c"), []byte("virtual\n"), "a os")
	f.Add([]byte("a\na\nb"), []byte("a"), []byte("operating-system"), "a b a")
	f.Add([]byte("\xff../os\n/\n."), []byte("\r\n"), []byte("a"), ". .. os")
	f.Fuzz(func(t *testing.T, depsA, depsB, provides []byte, ask string) {
		l := Library{{Dir: "/lib", FS: fstest.MapFS{
			"os/element-provides": {Data: []byte("operating-system\n")},
			"a/element-deps":      {Data: depsA},
			"b/element-deps":      {Data: depsB},
			"c/element-provides":  {Data: provides},
		}}}
		first, err := l.Resolve(strings.Fields(ask)...)
		second, again := l.Resolve(strings.Fields(ask)...)
		if (err == nil) != (again == nil) || namesOf(first) != namesOf(second) {
			t.Fatalf("first %s, %v; then %s, %v", namesOf(first), err, namesOf(second), again)
		}
		l.Needs(strings.Fields(ask)...)
		names := strings.Fields(namesOf(first))
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Fatalf("an element twice: %q", names)
		}
	})
}
