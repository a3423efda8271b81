package blockdev

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Config is a parsed and checked configuration: one entry per node, names and
// bases filled in. It is never changed; Graph makes typed nodes of it.
type Config struct {
	entries []entry
}

// entry is one node kind with its values, as in diskimage-builder's graph form.
type entry struct {
	kind  *nodeKind
	name  string // "" where a kind needs none and none could be derived
	bases []string
	at    place
	v     *value // the map; nested nodes are still in it and skipped by kind
	items []item // of partitioning
}

// item is one partition of an entry.
type item struct {
	name string
	at   place
	v    *value
}

// Default is the configuration without a configuration: one image with one file
// system, mounted at /.
func Default() Config {
	c, err := Parse([]byte(`
- local_loop: {name: image0}
- mkfs: {name: mkfs_root, base: image0, mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}}
`))
	if err != nil {
		panic("blockdev: the built-in configuration: " + err.Error())
	}
	return c
}

// maxNodes keeps the time that linking them takes within a second.
const maxNodes = 1000

// Parse reads a configuration as YAML or JSON, in any of the forms: tree,
// partition tree, graph, or the manual's list of levels. Every key and value is
// checked, by Schema first; errors are *ConfigError and say where.
func Parse(data []byte) (Config, error) {
	v, err := readText(data)
	if err != nil {
		return Config{}, err
	}
	if err := checkSchema(v); err != nil {
		return Config{}, err
	}
	p := treeReader{}
	if len(v.items) > 0 && v.items[0].kind == listValue {
		p.levels(v)
	} else {
		p.list(v)
	}
	if len(p.entries) == 0 {
		return Config{}, place{line: v.line}.errorf("the configuration is empty; at least one disk (local_loop, physical_disk) is wanted")
	}
	if len(p.entries) > maxNodes {
		return Config{}, place{line: v.line}.errorf("%d nodes; at most %d are read", len(p.entries), maxNodes)
	}
	c := Config{entries: p.entries}
	// Building the nodes checks what the schema cannot; edges come with Graph,
	// which knows defaults.
	if _, err := c.nodes(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func readText(data []byte) (*value, error) {
	if len(data) > 1<<20 {
		return nil, place{}.errorf("%d bytes; at most 1 MiB is read", len(data))
	}
	if json.Valid(data) {
		return readJSON(data)
	}
	return readYAML(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
}

func (c Config) nodes() ([]Node, error) {
	var all []Node
	for _, e := range c.entries {
		nodes, err := e.kind.decode(e)
		if err != nil {
			return nil, err
		}
		all = append(all, nodes...)
	}
	return all, nil
}

// treeReader turns trees into entries:
//
//	entry {P: V}, parent B:
//	    base = V.base, else B;  name = V.name, else P_base
//	    emit P with V's own keys
//	    for every key K of V that is a node kind: entry {K: V.K}, parent name
//	    for every partition I of V: for every such key K of I: entry {K: I.K}, parent I.name
type treeReader struct {
	entries []entry
}

const singleDict = "Config entry top-level should be a single dict:"

func (r *treeReader) list(v *value) {
	for i, it := range v.items {
		r.entry(it.keys[0], it.vals[0], "", place{}.index(i, it))
	}
}

// shape says how a map differs from one of one key.
func shape(v *value) string {
	if len(v.keys) == 0 {
		return "found an empty map; one node is wanted"
	}
	return "found the keys " + clip(strings.Join(v.keys, ", ")) + "; one node per entry is wanted"
}

// levels reads the manual's form: a list of levels, each a list of pairs of a
// node and its settings.
func (r *treeReader) levels(v *value) {
	for level, l := range v.items {
		at := place{}.index(level, l)
		for i, p := range l.items {
			r.entry(p.items[0].text, p.items[1], "", at.index(i, p))
		}
	}
}

// entry reads a node that the schema has seen, and those in it.
func (r *treeReader) entry(name string, v *value, parent string, at place) {
	e := entry{kind: findKind(name), at: at.key(name, v), v: v}
	e.identify(parent)
	e.readItems()
	r.entries = append(r.entries, e)
	r.nested(e.v, e.name, e.at)
	for _, it := range e.items {
		r.nested(it.v, it.name, it.at)
	}
}

// identify fills in base and name. Only a disk has no base, and the schema wants
// its name.
func (e *entry) identify(parent string) {
	base := e.v.textOf("base")
	if base == "" {
		base = parent
	}
	e.name = e.v.textOf("name")
	if base == "" {
		return
	}
	e.bases = []string{base}
	if e.name == "" {
		e.name = e.kind.name + "_" + base
	}
}

// readItems reads the parts of a node that are nodes of their own.
func (e *entry) readItems() {
	if e.kind.items == "" {
		return
	}
	list := e.v.get(e.kind.items)
	at := e.at.key(e.kind.items, list)
	for i, v := range list.items {
		e.items = append(e.items, item{name: v.textOf("name"), at: at.index(i, v), v: v})
	}
}

func (r *treeReader) nested(v *value, parent string, at place) {
	for i, key := range v.keys {
		if findKind(key) != nil {
			r.entry(key, v.vals[i], parent, at)
		}
	}
}
