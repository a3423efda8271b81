package elements

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// library makes a library of one source: "a: b c -> x" is an element a that
// depends on b and c and provides x.
func library(elements ...string) Library {
	m := fstest.MapFS{}
	for _, e := range elements {
		name, rest, _ := strings.Cut(e, ":")
		deps, provides, _ := strings.Cut(rest, "->")
		m[name+"/element-deps"] = &fstest.MapFile{Data: lines(deps), Mode: 0o644}
		m[name+"/element-provides"] = &fstest.MapFile{Data: lines(provides), Mode: 0o644}
	}
	return Library{{Dir: "/lib", FS: m}}
}

func lines(words string) []byte { return []byte(strings.Join(strings.Fields(words), "\n") + "\n") }

func namesOf(els []Element) string {
	var names []string
	for _, e := range els {
		names = append(names, e.Name)
	}
	return strings.Join(names, " ")
}

// usual is the library of most cases: "os" is the operating system.
func usual() Library {
	return library(
		"os: -> operating-system", "other-os: -> operating-system",
		"a:", "b: a", "c: b", "self: self", "round1: round2", "round2: round1", "twice: a a b",
		"virtual: virtual-dep", "virtual-dep:", "provides-virtual: -> virtual", "requires-virtual: virtual",
		"also-virtual: -> virtual", "deep: deeper", "deeper: provides-virtual",
		"provides-new: -> new", "requires-new: new", "late: requires-new provides-deep", "provides-deep: provides-new",
		"broken: wrong", "wrong: debain", "debian:", "own: -> own", "indirect-os: os",
	)
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ ask, want string }{
		{"os", "os"},
		{"a os", "a os"},
		{"os c", "os c a b"},
		{"os c a", "os c a b"},
		{"os self", "os self"},
		{"os round1", "os round1 round2"},
		{"os twice", "os twice a b"},
		{"os os a a", "os a"},
		{"indirect-os", "indirect-os os"},
		{"os own", "os own"},
		{"os requires-virtual", "os requires-virtual virtual virtual-dep"},
		{"os provides-virtual requires-virtual", "os provides-virtual requires-virtual"},
		{"os requires-virtual provides-virtual", "os requires-virtual provides-virtual"},
		{"os requires-virtual deep", "os requires-virtual deep deeper provides-virtual"},
		{"os virtual", "os virtual virtual-dep"},
		{"os provides-new requires-new", "os provides-new requires-new"},
		{"os requires-new provides-new", "os requires-new provides-new"},
		{"os late", "os late provides-deep provides-new requires-new"},
	} {
		els, err := usual().Resolve(strings.Fields(c.ask)...)
		if err != nil {
			t.Errorf("%s: %v", c.ask, err)
		} else if got := namesOf(els); got != c.want {
			t.Errorf("%s: got %s, want %s", c.ask, got, c.want)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	for _, c := range []struct{ ask, want string }{
		{"os nothing-like-it", "Element 'nothing-like-it' not found"},
		{"os debain", "Element 'debain' not found; did you mean 'debian'?"},
		{"os broken", "broken → wrong → debain: Element 'debain' not found; did you mean 'debian'?"},
		{"os requires-new", "requires-new → new: Element 'new' not found; provided by provides-new: name one of them"},
		{"os ../os", "Element '../os' not found"},
		{"os virtual provides-virtual", "virtual : already provided by ['provides-virtual']; leave out one of the two"},
		{"os provides-virtual also-virtual", "virtual: already provided by ['provides-virtual'], and 'also-virtual' provides it too"},
		{"other-os os", "operating-system: already provided by ['other-os'], and 'os' provides it too"},
		{"os operating-system", "operating-system : already provided by ['os']; leave out one of the two"},
		{"operating-system", "Element 'operating-system' not found; provided by os, other-os: name one of them"},
		{"a b", "please include an operating system element: os, other-os"},
		{"", "please include an operating system element: os, other-os"},
	} {
		els, err := usual().Resolve(strings.Fields(c.ask)...)
		if err == nil {
			t.Errorf("%s: got %s, want an error", c.ask, namesOf(els))
		} else if err.Error() != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.ask, err, c.want)
		}
	}
}

func TestResolveErrorTypes(t *testing.T) {
	_, err := usual().Resolve("os", "broken")
	if e, ok := errors.AsType[*MissingError](err); !ok || !slices.Equal(e.Chain, []string{"broken", "wrong"}) || e.Nearest != "debian" {
		t.Errorf("missing: %#v", err)
	}
	_, err = usual().Resolve("a")
	if e, ok := errors.AsType[*NoOperatingSystemError](err); !ok || len(e.Candidates) != 2 {
		t.Errorf("no operating system: %#v", err)
	}
	_, err = usual().Resolve("os", "other-os")
	if e, ok := errors.AsType[*AlreadyProvidedError](err); !ok || e.Provider != "os" || e.Second != "other-os" {
		t.Errorf("already provided: %#v", err)
	}
}

func TestEarlierSourceWins(t *testing.T) {
	l := append(library("os: -> operating-system"), usual()...)
	l[0].Dir = "/first"
	els, err := l.Resolve("os", "a")
	if err != nil || els[0].Path != "/first/os" || els[1].Path != "/lib/a" {
		t.Errorf("got %v, %v", els, err)
	}
	if got := l.Shadowed("os"); !slices.Equal(got, []string{"/lib/os"}) {
		t.Errorf("shadowed: %q", got)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                      "",
		dir:                     "",
		dir + ":" + dir:         "",
		":" + dir:               "ELEMENTS_PATH entry '' is not a directory",
		dir + ":":               "ELEMENTS_PATH entry '' is not a directory",
		file:                    "ELEMENTS_PATH entry '" + file + "' is not a directory",
		dir + ":" + dir + "/no": "ELEMENTS_PATH entry '" + dir + "/no' is not a directory",
	} {
		l, err := Open(path)
		if want == "" && (err != nil || !l[len(l)-1].Builtin) {
			t.Errorf("%q: got %v, %v", path, l, err)
		}
		if want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%q: got %v, want %s", path, err, want)
		}
	}
}

func TestLinkedElementKeepsEntryName(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"real/element-provides": "operating-system # makes the tree\n\n# no-such-name\n",
		"real/element-deps":     "# dep\n",
		"real/install.d/10-x":   "#!/bin/sh\n",
		"stray":                 "",
	})
	if err := os.Symlink("real", filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	els, err := l.Resolve("alias")
	if err != nil || len(els) != 1 || els[0].Name != "alias" || els[0].Path != dir+"/alias" {
		t.Fatalf("got %v, %v", els, err)
	}
	if names := l[:1].Names(); !slices.Equal(names, []string{"alias", "real"}) {
		t.Errorf("names: %q", names)
	}
	tree, err := Merge(els)
	if err != nil || len(tree.Hooks(Install)) != 1 {
		t.Errorf("merge: %v, %v", tree, err)
	}
}

// write makes files in dir; those that begin with "#!" can be run.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		mode := os.FileMode(0o644)
		if strings.HasPrefix(data, "#!") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAssemble(t *testing.T) {
	for _, c := range []struct {
		names, arch string
		skip        bool
		want        string
	}{
		{"debian", "amd64", false, "base debian"},
		{"debian", "amd64", true, "debian"},
		{"debian vm", "amd64", false, "base debian vm block-device-mbr"},
		{"debian vm", "arm64", false, "base debian vm block-device-efi"},
		{"debian vm", "aarch64", true, "debian vm block-device-efi"},
		{"debian vm", "arm", false, "base debian vm block-device-mbr"},
		{"debian vm", "", false, "base debian vm block-device-mbr"},
		{"debian vm block-device-gpt", "arm64", false, "base debian vm block-device-gpt"},
		{"debian vm my-block-device-x", "amd64", false, "base debian vm my-block-device-x block-device-mbr"},
	} {
		got := strings.Join(Assemble(strings.Fields(c.names), AssembleOptions{SkipBase: c.skip, Arch: c.arch}), " ")
		if got != c.want {
			t.Errorf("%s on %q: got %s, want %s", c.names, c.arch, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"debain", "debian", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if got := nearest("entirely-else", []string{"vm", "base"}); got != "" {
		t.Errorf("nearest: %q", got)
	}
}

// FuzzParseNames: the names are the words of the file's lines, however the file
// is commented and spaced out.
func FuzzParseNames(f *testing.F) {
	f.Add([]byte("a\n b # c\n#d\n\n"))
	f.Add([]byte("a\r\n\tb\xff\x00#\r"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names := parseNames(data)
		at := 0 // in data: the names are there in their order
		for _, n := range names {
			if n == "" || strings.TrimSpace(n) != n || strings.ContainsAny(n, "#\n") {
				t.Errorf("name %q", n)
			}
			i := bytes.Index(data[at:], []byte(n))
			if i < 0 {
				t.Fatalf("%q: %q is not there, or not in this order", data, n)
			}
			at += i + len(n)
		}
		said := 0
		for line := range strings.SplitSeq(string(data), "\n") {
			if word, _, _ := strings.Cut(line, "#"); strings.TrimSpace(word) != "" {
				said++
			}
		}
		if said != len(names) {
			t.Errorf("%q has %d lines with a name: %q", data, said, names)
		}
		spaced := "# why\n\n\t" + strings.Join(names, " # x\r\n\n  ") + "#"
		if again := parseNames([]byte(spaced)); !slices.Equal(names, again) {
			t.Errorf("%q: got %q, want %q", spaced, again, names)
		}
	})
}
