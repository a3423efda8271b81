package elements

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// PackageRequest is a package that an element wants, by the name that the
// element's pkg-map translates.
type PackageRequest struct {
	Package, Element string
}

// PackageList is what the packages of a phase are: Install when it begins,
// Uninstall when it ends.
type PackageList struct {
	Install, Uninstall []PackageRequest
}

// PackageInstalls reads package-installs.json and package-installs.yaml of the
// elements and returns what is wanted in each phase that has something. env is
// the environment with what environment.d adds: ARCH, DIB_PYTHON_VERSION, the
// install types, and every variable that a `when` names.
//
// Entries are filtered first (installtype, arch, python version, when). Of
// those that remain: a package that any entry installs for good is not
// uninstalled; one that is needed for the build only is in both lists. The
// order is that of the elements and of their files; chance has no part in it.
func PackageInstalls(els []Element, env map[string]string) (map[Phase]PackageList, error) {
	var wanted []packageEntry
	for _, e := range els {
		for _, file := range []string{"package-installs.json", "package-installs.yaml"} {
			entries, err := e.packageInstalls(file, env)
			if err != nil {
				return nil, &FileError{e.Name, file, err}
			}
			wanted = append(wanted, entries...)
		}
	}
	lists := map[Phase]PackageList{}
	for _, p := range packagePhases() {
		if list := combine(wanted, p); len(list.Install)+len(list.Uninstall) > 0 {
			lists[p] = list
		}
	}
	return lists, nil
}

func (e Element) packageInstalls(file string, env map[string]string) ([]packageEntry, error) {
	data, err := e.read(file)
	if err != nil {
		return nil, err
	}
	entries, err := parsePackageInstalls(data)
	if err != nil {
		return nil, err
	}
	var wanted []packageEntry
	for _, entry := range entries {
		entry.Element = e.Name
		ok, err := entry.wanted(env)
		if err != nil {
			return nil, fmt.Errorf("line %d, package %q: %w", entry.line, entry.Package, err)
		}
		if ok {
			wanted = append(wanted, entry)
		}
	}
	return wanted, nil
}

// combine makes the lists of one phase: install wins.
func combine(entries []packageEntry, p Phase) PackageList {
	var list PackageList
	stays := map[string]bool{}
	for _, e := range entries {
		if e.phase == p && !e.uninstall && !e.buildOnly {
			stays[e.Package] = true
		}
	}
	for _, e := range entries {
		if e.phase != p {
			continue
		}
		if !e.uninstall || e.buildOnly {
			list.Install = addRequest(list.Install, e.PackageRequest)
		}
		if (e.uninstall || e.buildOnly) && !stays[e.Package] {
			list.Uninstall = addRequest(list.Uninstall, e.PackageRequest)
		}
	}
	return list
}

func addRequest(all []PackageRequest, r PackageRequest) []PackageRequest {
	if slices.Contains(all, r) {
		return all
	}
	return append(all, r)
}

// LegacyPackageInstalls reads the files <phase>.d/package-installs-<element>:
// a package a line, '#' begins a comment. A package with '-' in front is
// installed when the phase begins and removed when it ends.
func LegacyPackageInstalls(t *Tree, p Phase) (PackageList, error) {
	var list PackageList
	if !slices.Contains(packagePhases(), p) {
		return list, nil
	}
	for _, f := range t.Files() {
		element, ok := strings.CutPrefix(f.Path, p.Dir()+"/package-installs-")
		if !ok || element == "" || strings.Contains(element, "/") {
			continue
		}
		data, err := t.Open(f.Path)
		if err != nil {
			return PackageList{}, err
		}
		if err := list.addLegacy(data, element); err != nil {
			return PackageList{}, &FileError{f.Element, f.Path, err}
		}
	}
	return list, nil
}

func (l *PackageList) addLegacy(data []byte, element string) error {
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		text, _, _ := strings.Cut(line, "#")
		name, remove := strings.CutPrefix(strings.TrimSpace(text), "-")
		if name == "" && !remove {
			continue
		}
		if name == "" || len(strings.Fields(name)) != 1 || strings.TrimSpace(name) != name {
			return fmt.Errorf("line %d: found %q; allowed is one package a line, with '-' in front to remove it", number, strings.TrimSpace(text))
		}
		request := PackageRequest{name, element}
		l.Install = addRequest(l.Install, request)
		if remove {
			l.Uninstall = addRequest(l.Uninstall, request)
		}
	}
	return nil
}

// EncodePackageInstalls writes lists as package-installs-v2 reads them in the
// target: {"install.d": {"install": [[package, element], …], "uninstall": …}}.
// Equal lists give equal bytes.
func EncodePackageInstalls(lists map[Phase]PackageList) ([]byte, error) {
	out := map[string]map[string][][2]string{}
	for p, l := range lists {
		out[p.Dir()] = map[string][][2]string{"install": pairs(l.Install), "uninstall": pairs(l.Uninstall)}
	}
	return json.Marshal(out)
}

func pairs(requests []PackageRequest) [][2]string {
	all := [][2]string{}
	for _, r := range requests {
		all = append(all, [2]string{r.Package, r.Element})
	}
	return all
}

// DecodePackageInstalls reads what EncodePackageInstalls wrote.
func DecodePackageInstalls(data []byte) (map[Phase]PackageList, error) {
	var in map[string]map[string][][2]string
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("reading the list of packages: %w", err)
	}
	lists := map[Phase]PackageList{}
	for dir, l := range in {
		lists[Phase(strings.TrimSuffix(dir, ".d"))] = PackageList{requests(l["install"]), requests(l["uninstall"])}
	}
	return lists, nil
}

func requests(pairs [][2]string) []PackageRequest {
	var all []PackageRequest
	for _, p := range pairs {
		all = append(all, PackageRequest{p[0], p[1]})
	}
	return all
}
