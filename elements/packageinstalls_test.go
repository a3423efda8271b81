package elements

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// showList writes a list as "install: a/e …; uninstall: …" of one phase after
// another.
func showList(lists map[Phase]PackageList) string {
	var parts []string
	for _, p := range packagePhases() {
		for _, part := range []struct {
			sign string
			all  []PackageRequest
		}{{"+", lists[p].Install}, {"-", lists[p].Uninstall}} {
			for _, r := range part.all {
				parts = append(parts, fmt.Sprintf("%s%s/%s@%s", part.sign, r.Package, r.Element, p))
			}
		}
	}
	return strings.Join(parts, " ")
}

// TestPackageCombination has each row of the table, in both orders of the
// elements where two are involved.
func TestPackageCombination(t *testing.T) {
	for _, c := range []struct{ one, two, want string }{
		{"p:", "", "+p/one@install"},
		{"p: {uninstall: true}", "", "-p/one@install"},
		{"p: {build-only: true}", "", "+p/one@install -p/one@install"},
		{"p: {uninstall: true, build-only: true}", "", "+p/one@install -p/one@install"},
		{"p:", "p: {uninstall: true}", "+p/one@install"},
		{"p: {uninstall: true}", "p:", "+p/two@install"},
		{"p:", "p: {build-only: true}", "+p/one@install +p/two@install"},
		{"p: {build-only: true}", "p:", "+p/one@install +p/two@install"},
		{"p: {build-only: true}", "p: {uninstall: true}", "+p/one@install -p/one@install -p/two@install"},
		{"p: {uninstall: true}", "p: {build-only: true}", "+p/two@install -p/one@install -p/two@install"},
		{"p: {uninstall: true}", "p: {phase: post-install.d}", "-p/one@install +p/two@post-install"},
		{"p: {uninstall: true}", "p: {arch: other}", "-p/one@install"},
		{"p: {uninstall: false}", "", "+p/one@install"},
		{"p: {build-only: false}", "", "+p/one@install"},
		{"p: [{phase: pre-install.d}, {build-only: true}, {}]", "", "+p/one@pre-install +p/one@install"},
		{"b:\na:\nc: {phase: pre-install.d}", "a:", "+c/one@pre-install +b/one@install +a/one@install +a/two@install"},
	} {
		one := element(t, "one", map[string]string{"package-installs.yaml": c.one})
		two := element(t, "two", map[string]string{"package-installs.yaml": c.two})
		lists, err := PackageInstalls([]Element{one, two}, map[string]string{"ARCH": "amd64"})
		if err != nil {
			t.Errorf("%s + %s: %v", c.one, c.two, err)
		} else if got := showList(lists); got != c.want {
			t.Errorf("%s + %s:\n got %s\nwant %s", c.one, c.two, got, c.want)
		}
	}
}

func TestPackageFilters(t *testing.T) {
	env := map[string]string{
		"ARCH": "ppc64le", "DIB_PYTHON_VERSION": "3", "DIB_INSTALLTYPE_my_e": "package", "RELEASE": "bookworm", "EMPTY": "",
	}
	for _, c := range []struct {
		options string
		want    bool
	}{
		{"", true}, {`""`, true}, {"[]", true}, {"{}", true}, {"[null]", true}, {"~", true},
		{"{arch: ppc64le}", true}, {"{arch: 'ppc64, ppc64le'}", true}, {"{arch: 'ppc64,amd64'}", false}, {"{arch: ppc64}", false},
		{"{not-arch: ppc64le}", false}, {"{not-arch: 'amd64, ppc64le'}", false}, {"{not-arch: ppc64}", true},
		{"{installtype: package}", true}, {"{installtype: source}", false},
		{"{dib_python_version: 3}", true}, {"{dib_python_version: '2'}", false},
		{"{when: RELEASE = bookworm}", true}, {"{when: RELEASE=bookworm}", true}, {"{when: RELEASE != bookworm}", false},
		{"{when: RELEASE != trixie}", true}, {"{when: [RELEASE = bookworm, ARCH = amd64]}", false}, {"{when: [RELEASE = bookworm, ARCH != amd64]}", true},
		{"{when: 'EMPTY ='}", true}, {"{when: 'EMPTY != '}", false}, {"{when: []}", true}, {"{when: 'RELEASE = book worm'}", false},
		{"{arch: amd64, when: UNSET = x}", false}, {"{when: [RELEASE = x, UNSET = x]}", false},
		{"{build-only: }", true}, {"{build-only: 'No'}", true},
	} {
		e := element(t, "my-e", map[string]string{"package-installs.yaml": "p: " + c.options})
		lists, err := PackageInstalls([]Element{e}, env)
		if got := len(lists[Install].Install) > 0; err != nil || got != c.want {
			t.Errorf("%s: got %v, %v", c.options, got, err)
		}
	}
}

func TestInstallType(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "source"},
		{map[string]string{"DIB_DEFAULT_INSTALLTYPE": "package"}, "package"},
		{map[string]string{"DIB_DEFAULT_INSTALLTYPE": "package", "DIB_INSTALLTYPE_my_e": "wheel"}, "wheel"},
	} {
		if got := InstallType(c.env, "my-e"); got != c.want {
			t.Errorf("%v: got %s", c.env, got)
		}
	}
}

func TestPackageErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a:\np:\n  pahse: install.d", `line 2, package "p": pahse on line 3: unknown key; allowed: phase, uninstall, build-only, installtype, arch, not-arch, dib_python_version, when; did you mean 'phase'?`},
		{"p: {phase: instal.d}", `line 1, package "p": phase on line 1: found "instal.d"; allowed: pre-install.d, install.d, post-install.d; did you mean 'install.d'?`},
		{"p: {phase: }", `found nothing; allowed: pre-install.d`},
		{"p: {phase: [install.d]}", `found a list; allowed: pre-install.d`},
		{"p: {arch: a, not-arch: b}", `arch and not-arch exclude each other; give one`},
		{"p: {arch: [a, b]}", `found a list; allowed: names of architectures with commas between them`},
		{"p: {uninstall: maybe}", `uninstall on line 1: found "maybe"; allowed: true or false`},
		{"p: {uninstall: []}", `found a list; allowed: true or false`},
		{"p: {dib_python_version: 4}", `found "4"; allowed: 2 or 3`},
		{"p: {installtype: ''}", `found ""; allowed: a word such as source or package`},
		{"p: {when: nonsense}", "found \"nonsense\"; allowed: `VARIABLE = value` or `VARIABLE != value`, or a list of such lines"},
		{"p: {when: A == b}", `found "A == b"; allowed`},
		{"p: {when: {A: b}}", `found a mapping; allowed`},
		{"p: {when: [RELEASE = x, 3]}", `found "3"; allowed`},
		{"\np: {when: UNSET = x}", "line 2, package \"p\": when: `UNSET = x`: the variable UNSET is not set; export it or set it in environment.d"},
		{"p: yes please", `line 1, package "p": found "yes please"; allowed: nothing, a mapping of options, or a list of such mappings`},
		{"- p", `line 1: found a list; want a mapping from package to options`},
		{"'': {}", `line 1: the name of a package is empty`},
		{"p:\nq:\np:\n", `line 3: `},
		{"p: [", `line 1: `},
		{"p:\n---\nq:\n", `second document`},
		{"{\"p\": {},\n \"p\": {}}", `line 2: "p" is there already on line 1`},
		{"<<: {p: }", `is not allowed as a key`},
		{"p: *none", `*none is not defined above`},
	} {
		e := element(t, "my-e", map[string]string{"package-installs.yaml": c.text})
		_, err := PackageInstalls([]Element{e}, map[string]string{"RELEASE": "x"})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "element 'my-e', package-installs.yaml: ") {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestPackageFormats: either file name may hold either format, and both files
// of an element count.
func TestPackageFormats(t *testing.T) {
	e := element(t, "e", map[string]string{
		"package-installs.json": "{\n\t\"a\": null, \"b\": [{\"phase\": \"pre-install.d\"}], \"c\": {\"build-only\": true, \"dib_python_version\": 3}}",
		"package-installs.yaml": "# packages\n%YAML\n",
	})
	if _, err := PackageInstalls([]Element{e}, nil); err == nil {
		t.Error("a wrong directive was accepted")
	}
	write(t, e.Path, map[string]string{"package-installs.yaml": "---\n# packages\nx: &same\n  phase: pre-install.d\n3to2: *same\non:\n1.0: !!map {}\n"})
	lists, err := PackageInstalls([]Element{e}, map[string]string{"DIB_PYTHON_VERSION": "3"})
	want := "+b/e@pre-install +x/e@pre-install +3to2/e@pre-install +a/e@install +c/e@install +on/e@install +1.0/e@install -c/e@install"
	if got := showList(lists); err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	empty := element(t, "e", map[string]string{"package-installs.json": "", "package-installs.yaml": "# nothing\n"})
	if lists, err := PackageInstalls([]Element{empty}, nil); err != nil || len(lists) != 0 {
		t.Errorf("empty: got %v, %v", lists, err)
	}
}

func TestPackageListsRoundTrip(t *testing.T) {
	want := map[Phase]PackageList{
		Install:    {Install: []PackageRequest{{"a", "e"}, {"b", "e"}}, Uninstall: []PackageRequest{{"b", "e"}}},
		PreInstall: {Uninstall: []PackageRequest{{"c", "f"}}},
	}
	data, err := EncodePackageInstalls(want)
	text := `{"install.d":{"install":[["a","e"],["b","e"]],"uninstall":[["b","e"]]},"pre-install.d":{"install":[],"uninstall":[["c","f"]]}}`
	if err != nil || string(data) != text {
		t.Errorf("got %s, %v", data, err)
	}
	if got, err := DecodePackageInstalls(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := DecodePackageInstalls([]byte("[]")); err == nil {
		t.Error("a list was accepted")
	}
}

func TestLegacyPackageInstalls(t *testing.T) {
	e := element(t, "e", map[string]string{
		"install.d/package-installs-e":       "# these\na\n  b # two\n-c\n\n",
		"install.d/package-installs-other":   "a\n",
		"install.d/package-installs-":        "x y\n",
		"install.d/sub/package-installs-x":   "x y\n",
		"post-install.d/package-installs-e":  "",
		"pre-install.d/package-installs-bad": "a\nb c\n",
		"finalise.d/package-installs-e":      "x\n",
	})
	tree := mustMerge(t, e)
	list, err := LegacyPackageInstalls(tree, Install)
	if got := showList(map[Phase]PackageList{Install: list}); err != nil || got != "+a/e@install +b/e@install +c/e@install +a/other@install -c/e@install" {
		t.Errorf("got %s, %v", got, err)
	}
	for _, p := range []Phase{PostInstall, Finalise} {
		if list, err := LegacyPackageInstalls(tree, p); err != nil || list.Install != nil {
			t.Errorf("%s: got %v, %v", p, list, err)
		}
	}
	if _, err := LegacyPackageInstalls(tree, PreInstall); err == nil || !strings.Contains(err.Error(), `line 2: found "b c"`) {
		t.Errorf("got %v", err)
	}
}

// FuzzPackageInstalls: a mistake names a line of the file; what is accepted says
// the same when it is written out in full.
func FuzzPackageInstalls(f *testing.F) {
	for _, seed := range []string{
		"p:", "p: {phase: install.d, arch: 'a, b', when: [A = b, C != d]}", `{"p": [{"uninstall": true}]}`,
		"a: &x {build-only: }\nb: *x\n", "? a\n: b\n", "p: |\n  x\n", "%YAML 1.2\n---\np: !!str 3\n",
		"p: [{not-arch: 'x,', installtype: s, dib_python_version: 3}, {when: 'A=\\\n'}]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parsePackageInstalls(data)
		checkPosition(t, data, err)
		for _, e := range entries {
			if err != nil || e.Package == "" || e.phase == "" {
				t.Errorf("%q: got %+v, %v", data, e, err)
			}
			if _, err := e.wanted(map[string]string{"A": "b"}); err != nil && !strings.Contains(err.Error(), "is not set") {
				t.Error(err)
			}
		}
		written, whole := inFull(entries)
		if len(entries) == 0 || !whole {
			return
		}
		again, err := parsePackageInstalls(written)
		for i := range again {
			again[i].line = 0
		}
		for i := range entries {
			entries[i].line = 0
		}
		if err != nil || !reflect.DeepEqual(entries, again) {
			t.Errorf("%q is %+v\nwritten in full, %s, %+v, %v", data, entries, written, again, err)
		}
	})
}

// inFull writes entries with every key; whole is false where JSON cannot hold
// their bytes.
func inFull(entries []packageEntry) (data []byte, whole bool) {
	var b strings.Builder
	for i, e := range entries {
		options := map[string]any{"phase": e.phase.Dir(), "uninstall": e.uninstall, "build-only": e.buildOnly}
		for key, text := range map[string]string{"installtype": e.installType, "dib_python_version": e.python, "arch": strings.Join(e.arch, ","), "not-arch": strings.Join(e.notArch, ",")} {
			if text != "" {
				options[key] = text
			}
		}
		var lines []string
		for _, c := range e.when {
			lines = append(lines, c.text)
		}
		if lines != nil {
			options["when"] = lines
		}
		name, _ := json.Marshal(e.Package)
		each, err := json.Marshal(options)
		if err != nil || !utf8.ValidString(fmt.Sprint(e.Package, options)) {
			return nil, false
		}
		switch {
		case i > 0 && e.Package == entries[i-1].Package:
			fmt.Fprintf(&b, ", %s", each)
		case i > 0:
			fmt.Fprintf(&b, "],\n%s: [%s", name, each)
		default:
			fmt.Fprintf(&b, "{%s: [%s", name, each)
		}
	}
	return []byte(b.String() + "]}\n"), true
}

var linePattern = regexp.MustCompile(`\bline (\d+)`)

// checkPosition: the error of a text names a line that the text has, or the one
// after its end.
func checkPosition(t *testing.T, data []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	m := linePattern.FindStringSubmatch(err.Error())
	if m == nil {
		t.Errorf("%q: no line in %v", data, err)
		return
	}
	breaks := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r"))
	if n, _ := strconv.Atoi(m[1]); n < 1 || n > breaks+1 {
		t.Errorf("%q: %d line breaks, and the error is %v", data, breaks, err)
	}
}
