package ramdisk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// modules is what depmod(8) wrote about the modules of one kernel.
type modules struct {
	t        *tree
	dir      string              // /lib/modules/VERSION, without links
	depends  map[string][]string // path below dir → paths of all that it needs
	byName   map[string]string   // name → path below dir
	order    []string            // paths in the order of modules.dep
	builtin  map[string]bool     // names that need no module
	soft     map[string][]string // name → names or aliases, of modules.softdep and modules.weakdep
	aliases  []alias
	hasAlias map[string][]int // first word of plain aliases → index, since there are tens of thousands
}

// alias says that a name or pattern stands for a module.
type alias struct{ pattern, module string }

// moduleName is the name of a module by its file or as people write it: kernel and
// kmod take - and _ for the same.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readModules reads the lists at dir, a path in the tree.
func readModules(t *tree, dir string) (*modules, error) {
	f := t.follow(dir)
	if f.err != nil {
		return nil, f.err
	}
	m := &modules{t: t, dir: f.real, depends: map[string][]string{}, byName: map[string]string{}, builtin: map[string]bool{},
		soft: map[string][]string{}, hasAlias: map[string][]int{}}
	if !t.isFile(path.Join(dir, "modules.dep")) {
		return nil, &fs.PathError{Op: "open", Path: path.Join(dir, "modules.dep"), Err: fs.ErrNotExist}
	}
	for file, take := range map[string]func(string){"modules.dep": m.takeDep, "modules.builtin": m.takeBuiltin, "modules.softdep": m.takeSoft,
		"modules.weakdep": m.takeSoft, "modules.alias": m.takeAlias, "modules.builtin.alias": m.takeAlias} {
		text, err := t.read(path.Join(dir, file))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				take(line)
			}
		}
	}
	return m, nil
}

// takeDep: FILE: FILE…, all that is needed, near and far.
func (m *modules) takeDep(line string) {
	file, needs, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	m.depends[file] = strings.Fields(needs)
	m.byName[moduleName(file)] = file
	m.order = append(m.order, file)
}

func (m *modules) takeBuiltin(line string) { m.builtin[moduleName(line)] = true }

// takeSoft: softdep NAME pre: NAME… post: NAME…, and weakdep NAME NAME….
func (m *modules) takeSoft(line string) {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "softdep" && words[0] != "weakdep" {
		return
	}
	name := moduleName(words[1])
	for _, w := range words[2:] {
		if w != "pre:" && w != "post:" {
			m.soft[name] = append(m.soft[name], w)
		}
	}
}

// takeAlias: alias PATTERN NAME.
func (m *modules) takeAlias(line string) {
	words := strings.Fields(line)
	if len(words) != 3 || words[0] != "alias" {
		return
	}
	pattern := strings.ReplaceAll(words[1], "-", "_")
	key := "*"
	if !strings.ContainsAny(pattern, "*?[") {
		key = pattern
	}
	m.hasAlias[key] = append(m.hasAlias[key], len(m.aliases))
	m.aliases = append(m.aliases, alias{pattern, moduleName(words[2])})
}

// errNoModule says that no module has the name.
var errNoModule = errors.New("no module of this kernel")

// named gives the files of the modules that a word stands for:
//
//	virtio_net               a module, or an alias of some; built into the kernel: none
//	drivers/net/ethernet     a folder below kernel/, with all that is in it
//	drivers/net/**/*phy*     a pattern of path.Match below kernel/, ** for any folders
func (m *modules) named(word string) ([]string, error) {
	if strings.Contains(word, "/") {
		return m.below(word)
	}
	name := moduleName(word)
	if file, ok := m.byName[name]; ok {
		return []string{file}, nil
	}
	if m.builtin[name] {
		return nil, nil
	}
	known := false
	var files []string
	for _, i := range slices.Concat(m.hasAlias[name], m.hasAlias["*"]) {
		a := m.aliases[i]
		if ok, err := path.Match(a.pattern, name); err != nil || !ok && a.pattern != name {
			continue
		}
		known = known || m.builtin[a.module]
		if file, ok := m.byName[a.module]; ok {
			files = append(files, file)
		}
	}
	if len(files) == 0 && !known {
		return nil, errNoModule
	}
	return files, nil
}

// below gives the modules whose paths a word with slashes means.
func (m *modules) below(word string) ([]string, error) {
	want := strings.Split(strings.TrimPrefix(path.Clean("/" + word)[1:], "kernel/"), "/")
	var files []string
	for _, file := range m.order {
		rest, ok := strings.CutPrefix(file, "kernel/")
		if !ok {
			rest = file // extra/ and updates/ stand beside it
		}
		is, err := matchPath(want, strings.Split(rest, "/"))
		if err != nil {
			return nil, fmt.Errorf("%q is no pattern: %w", word, err)
		}
		if is {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, errNoModule
	}
	return files, nil
}

// matchPath says whether a path, or a folder that it is in, fits.
func matchPath(pattern, parts []string) (bool, error) {
	if len(pattern) == 0 {
		return true, nil
	}
	if pattern[0] == "**" {
		for i := range len(parts) + 1 {
			if ok, err := matchPath(pattern[1:], parts[i:]); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	if len(parts) == 0 {
		_, err := path.Match(pattern[0], "")
		return false, err
	}
	name := parts[0]
	if len(parts) == 1 && !strings.Contains(pattern[0], ".") { // a module may be named without its extension
		name, _, _ = strings.Cut(name, ".ko")
	}
	ok, err := path.Match(pattern[0], name)
	if !ok || err != nil {
		return false, err
	}
	return matchPath(pattern[1:], parts[1:])
}

// withNeeds adds to files all that they need, hard and soft. What is only soft and
// not there is left out, as modprobe does.
func (m *modules) withNeeds(files []string) []string {
	all := map[string]bool{}
	queue := slices.Clone(files)
	for len(queue) > 0 {
		file := queue[0]
		queue = queue[1:]
		if all[file] {
			continue
		}
		all[file] = true
		queue = append(queue, m.depends[file]...)
		for _, word := range m.soft[moduleName(file)] {
			if soft, err := m.named(word); err == nil {
				queue = append(queue, soft...)
			}
		}
	}
	var out []string
	for file := range all {
		out = append(out, file)
	}
	slices.Sort(out)
	return out
}

// all are the modules of the kernel but frame buffers' drivers, which take the
// console from a ramdisk that has no use for them.
func (m *modules) all() []string {
	return slices.DeleteFunc(slices.Clone(m.order), func(file string) bool {
		return strings.HasSuffix(moduleName(file), "fb") && strings.Contains(file, "/video/")
	})
}

// lists are the files that modprobe and udev read: those of the tree, whole. A
// module that is named there and not in the ramdisk is missing when it is asked
// for, whether or not the lists know it.
func (m *modules) lists() ([]string, error) {
	entries, err := os.ReadDir(m.t.host(m.dir))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), "modules.") && !strings.HasPrefix(e.Name(), "modules.symbols") {
			files = append(files, e.Name())
		}
	}
	return files, nil
}

// Kernels lists the versions for which the tree has modules, oldest first. root is
// a folder of the tree, "/" usually.
func Kernels(dir, root string) ([]string, error) {
	t := newTree(dir)
	f := t.follow(path.Join(root, "lib/modules"))
	if errors.Is(f.err, fs.ErrNotExist) {
		return nil, nil
	}
	if f.err != nil {
		return nil, f.err
	}
	entries, err := os.ReadDir(filepath.Join(dir, f.real))
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, e := range entries {
		if t.isFile(path.Join(f.real, e.Name(), "modules.dep")) {
			versions = append(versions, e.Name())
		}
	}
	slices.SortFunc(versions, CompareVersions)
	return versions, nil
}

// CompareVersions orders versions of kernels: numbers in them count as numbers, so
// that 6.10 comes after 6.9.
func CompareVersions(a, b string) int {
	for a != "" && b != "" {
		one, restA := chunk(a)
		other, restB := chunk(b)
		c := strings.Compare(one, other)
		if isDigit(one[0]) && isDigit(other[0]) {
			one, other = strings.TrimLeft(one, "0"), strings.TrimLeft(other, "0")
			if c = len(one) - len(other); c == 0 {
				c = strings.Compare(one, other)
			}
		}
		if c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return len(a) - len(b)
}

// chunk cuts a run of digits, or of other characters, off.
func chunk(s string) (head, rest string) {
	i := 1
	for i < len(s) && isDigit(s[i]) == isDigit(s[0]) {
		i++
	}
	return s[:i], s[i:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
