package blockdev

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// Parse reads a configuration as YAML or JSON, in any of the forms: tree,
// partition tree, graph, or the manual's list of levels. Every key and value is
// checked; errors are *ConfigError or *NotYetError and say where.
func Parse(data []byte) (Config, error) {
	v, err := read(data)
	if err != nil {
		return Config{}, err
	}
	if v.kind != listValue {
		return Config{}, place{line: v.line}.errorf("a list of nodes is wanted, found %s", v.kind)
	}
	p := treeReader{}
	if len(v.items) > 0 && v.items[0].kind == listValue {
		err = p.levels(v)
	} else {
		err = p.list(v)
	}
	if err != nil {
		return Config{}, err
	}
	c := Config{entries: p.entries}
	// Building the nodes is the check of every key; edges come with Graph,
	// which knows defaults.
	if _, err := c.nodes(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func read(data []byte) (*value, error) {
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

func (r *treeReader) list(v *value) error {
	for i, it := range v.items {
		at := place{}.index(i, it)
		if it.kind != mapValue || len(it.keys) != 1 {
			return &ConfigError{Head: singleDict, Path: at.path, Line: at.line, Text: shape(it)}
		}
		if err := r.entry(it.keys[0], it.vals[0], "", at); err != nil {
			return err
		}
	}
	return nil
}

// shape says how an entry differs from a map of one key.
func shape(v *value) string {
	switch {
	case v.kind != mapValue:
		return fmt.Sprintf("found %s; a node and its settings are wanted, such as {mkfs: {…}}", v.kind)
	case len(v.keys) == 0:
		return "found an empty map; one node is wanted"
	}
	return fmt.Sprintf("found the keys %s; one node per entry is wanted", strings.Join(v.keys, ", "))
}

// levels reads the manual's form: a list of levels, each a list of pairs of a
// node and its settings. A node must stand on its own level.
func (r *treeReader) levels(v *value) error {
	for level, l := range v.items {
		at := place{}.index(level, l)
		if l.kind != listValue {
			return at.errorf("found %s; level %d is wanted as a list of [node, {…}] pairs", l.kind, level)
		}
		if level > maxLevel {
			return at.errorf("level %d; the levels are 0 (%s) to %d (%s)", level, kindsOf(0), maxLevel, kindsOf(maxLevel))
		}
		for i, p := range l.items {
			if err := r.pair(level, p, at.index(i, p)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *treeReader) pair(level int, p *value, at place) error {
	if p.kind != listValue || len(p.items) != 2 || p.items[0].kind != textValue {
		return at.errorf("a pair of a node and its settings is wanted, such as [\"mkfs\", {…}]")
	}
	name := p.items[0].text
	if k := findKind(name); k != nil && k.level != level {
		return at.errorf("%s stands on level %d; here is level %d (%s)", name, k.level, level, kindsOf(level))
	}
	return r.entry(name, p.items[1], "", at)
}

func (r *treeReader) entry(name string, v *value, parent string, at place) error {
	k := findKind(name)
	if k == nil {
		return at.errorf("unknown node %q; %s", name, allowed(name, kindNames()))
	}
	at = at.key(name, v)
	if v.kind != mapValue {
		return at.errorf("found %s; a map of settings is wanted", v.kind)
	}
	e := entry{kind: k, at: at, v: v}
	if err := e.identify(parent); err != nil {
		return err
	}
	if k.items != "" {
		if err := e.readItems(); err != nil {
			return err
		}
	}
	r.entries = append(r.entries, e)
	return r.children(e)
}

// identify fills in base and name.
func (e *entry) identify(parent string) error {
	f := fields{e: *e}
	base := f.text("base")
	e.name = f.text("name")
	if f.err != nil {
		return f.err
	}
	if base == "" {
		base = parent
	}
	if base != "" {
		e.bases = []string{base}
	}
	if e.name == "" && base != "" {
		e.name = e.kind.name + "_" + base
	}
	if e.name == "" && !e.kind.nameless {
		return e.at.errorf("name is missing; a node without a base needs one")
	}
	return nil
}

// readItems reads the parts of a node that are nodes of their own.
func (e *entry) readItems() error {
	list := e.v.get(e.kind.items)
	if list == nil {
		return e.at.errorf("%s is missing", e.kind.items)
	}
	at := e.at.key(e.kind.items, list)
	if list.kind != listValue {
		return at.errorf("found %s; a list is wanted", list.kind)
	}
	for i, v := range list.items {
		it := item{at: at.index(i, v), v: v}
		if v.kind != mapValue {
			return it.at.errorf("found %s; a map of settings is wanted", v.kind)
		}
		f := fields{e: entry{kind: e.kind, at: it.at, v: v}}
		if it.name = f.text("name"); f.err != nil {
			return f.err
		}
		if it.name == "" {
			return it.at.errorf("name is missing")
		}
		e.items = append(e.items, it)
	}
	return nil
}

func (r *treeReader) children(e entry) error {
	if err := r.nested(e.v, e.name, e.at); err != nil {
		return err
	}
	for _, it := range e.items {
		if err := r.nested(it.v, it.name, it.at); err != nil {
			return err
		}
	}
	return nil
}

func (r *treeReader) nested(v *value, parent string, at place) error {
	for i, key := range v.keys {
		if findKind(key) == nil {
			continue
		}
		if err := r.entry(key, v.vals[i], parent, at); err != nil {
			return err
		}
	}
	return nil
}
