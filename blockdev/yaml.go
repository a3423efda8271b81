package blockdev

import (
	"errors"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxValues bounds what aliases can blow up to: a configuration has a few
// hundred values.
const maxValues = 100_000

// readYAML parses one YAML document.
func readYAML(data []byte) (v *value, err error) {
	defer func() { // a parser of ours this is not: its panic is the input's fault
		if r := recover(); r != nil {
			v, err = nil, place{}.errorf("not YAML: %v", r)
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, yamlError(err)
	}
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			return nil, lineOf(d.Body).errorf("a second YAML document; one is allowed")
		}
		body = d.Body
	}
	if body == nil {
		return nil, place{}.errorf("the text is empty; a list of nodes is wanted")
	}
	r := yamlReader{anchors: map[string]*value{}}
	return r.read(body, 0)
}

func yamlError(err error) error {
	e := &ConfigError{Text: "not YAML: " + err.Error()}
	var at yaml.Error
	if errors.As(err, &at) {
		e.Text = "not YAML: " + at.GetMessage()
		if t := at.GetToken(); t != nil && t.Position != nil {
			e.Line = t.Position.Line
		}
	}
	return e
}

func lineOf(n ast.Node) place {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return place{}
	}
	return place{line: n.GetToken().Position.Line}
}

type yamlReader struct {
	anchors map[string]*value
	count   int
}

func (r *yamlReader) read(n ast.Node, depth int) (*value, error) {
	if depth > 100 {
		return nil, lineOf(n).errorf("nested deeper than 100 levels")
	}
	v := &value{line: lineOf(n).line}
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return v, nil
	case *ast.AnchorNode:
		return r.anchor(n, depth)
	case *ast.AliasNode:
		return r.alias(n)
	case *ast.TagNode:
		return r.read(n.Value, depth+1)
	case *ast.MappingNode:
		return v, r.mapping(v, n.Values, depth)
	case *ast.MappingValueNode:
		return v, r.mapping(v, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		return v, r.list(v, n.Values, depth)
	}
	return v, scalar(v, n)
}

func scalar(v *value, n ast.Node) error {
	switch n := n.(type) {
	case *ast.StringNode:
		v.kind, v.text = textValue, n.Value
	case *ast.LiteralNode:
		v.kind, v.text = textValue, n.Value.Value
	case *ast.BoolNode:
		v.kind, v.text = boolValue, n.GetToken().Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		v.kind, v.text = numberValue, n.GetToken().Value
	default:
		return lineOf(n).errorf("a YAML %s is not allowed here", n.Type())
	}
	return nil
}

func (r *yamlReader) anchor(n *ast.AnchorNode, depth int) (*value, error) {
	v, err := r.read(n.Value, depth+1)
	if err == nil && n.Name != nil {
		r.anchors[n.Name.GetToken().Value] = v
	}
	return v, err
}

func (r *yamlReader) alias(n *ast.AliasNode) (*value, error) {
	name := n.Value.GetToken().Value
	v, ok := r.anchors[name]
	if !ok {
		return nil, lineOf(n).errorf("alias *%s: no such anchor before it", name)
	}
	if r.count += size(v); r.count > maxValues {
		return nil, lineOf(n).errorf("aliases make more than %d values", maxValues)
	}
	return v, nil
}

func size(v *value) int {
	n := 1
	for _, c := range v.items {
		n += size(c)
	}
	for _, c := range v.vals {
		n += size(c)
	}
	return n
}

func (r *yamlReader) mapping(v *value, pairs []*ast.MappingValueNode, depth int) error {
	v.kind = mapValue
	for _, p := range pairs {
		if p.Key.IsMergeKey() {
			if err := r.merge(v, p.Value, depth); err != nil {
				return err
			}
			continue
		}
		key, err := r.read(keyNode(p.Key), depth+1)
		if err != nil {
			return err
		}
		if key.kind == listValue || key.kind == mapValue {
			return lineOf(p.Key).errorf("a key is %s; text is wanted", key.kind)
		}
		val, err := r.read(p.Value, depth+1)
		if err != nil {
			return err
		}
		if v.get(key.text) != nil {
			return lineOf(p.Key).errorf("key %q twice in one map", key.text)
		}
		v.keys, v.vals = append(v.keys, key.text), append(v.vals, withLine(val, lineOf(p.Key).line))
	}
	return nil
}

func keyNode(k ast.MapKeyNode) ast.Node {
	if m, ok := k.(*ast.MappingKeyNode); ok {
		return m.Value
	}
	return k
}

// merge puts the pairs of `<<: *anchor` into v where v has no such key yet.
func (r *yamlReader) merge(v *value, n ast.Node, depth int) error {
	from, err := r.read(n, depth+1)
	if err != nil {
		return err
	}
	if from.kind != mapValue {
		return lineOf(n).errorf("a merge key (<<) takes a map, found %s", from.kind)
	}
	for i, k := range from.keys {
		if v.get(k) == nil {
			v.keys, v.vals = append(v.keys, k), append(v.vals, from.vals[i])
		}
	}
	return nil
}

func (r *yamlReader) list(v *value, items []ast.Node, depth int) error {
	v.kind = listValue
	for _, it := range items {
		c, err := r.read(it, depth+1)
		if err != nil {
			return err
		}
		v.items = append(v.items, c)
	}
	return nil
}

// withLine gives a value the line of its key: a mistake in a nested map is
// looked for where the key stands. The value may be shared by aliases.
func withLine(v *value, line int) *value {
	if line == 0 {
		return v
	}
	c := *v
	c.line = line
	return &c
}
