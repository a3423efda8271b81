package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/lithify/lithify/elements"
)

// yamlValue is a part of a YAML text with its line, for messages that name it.
// Aliases and merge keys (<<) are resolved.
type yamlValue struct {
	kind  yamlKind
	text  string // of a text or word
	line  int    // from 1
	keys  []yamlKey
	items []*yamlValue // of a list; of a map, in the order of keys
}

type yamlKey struct {
	name string
	line int
}

type yamlKind string

// The names are for messages: "found a list".
const (
	yamlNothing yamlKind = "nothing"
	yamlText    yamlKind = "a quoted text"
	yamlWord    yamlKind = "a word" // without quotes: text, number, boolean
	yamlMap     yamlKind = "a map"
	yamlList    yamlKind = "a list"
)

// found says what a value is, for messages.
func (v *yamlValue) found() string {
	if v.kind == yamlText || v.kind == yamlWord {
		return fmt.Sprintf("found %.60q", v.text)
	}
	return "found " + string(v.kind)
}

// zeroByte finds a text with a zero byte in it, which "\0" makes.
func (v *yamlValue) zeroByte() (text string, found bool) {
	for _, item := range v.items {
		if text, found := item.zeroByte(); found {
			return text, true
		}
	}
	return v.text, strings.Contains(v.text, "\x00")
}

func (v *yamlValue) get(name string) *yamlValue {
	for i, k := range v.keys {
		if k.name == name {
			return v.items[i]
		}
	}
	return nil
}

// maxYAML is more than anybody writes by hand.
const maxYAML = mib

// readYAMLTree reads a text of one document. Errors begin with the line.
func readYAMLTree(data []byte) (v *yamlValue, err error) {
	defer func() { // the parser is not ours, and what it gets comes from anybody
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("not YAML: %v", p)
		}
	}()
	if int64(len(data)) > maxYAML {
		return nil, fmt.Errorf("%d bytes; at most 1 MiB is read", len(data))
	}
	if err := elements.CheckNesting(data); err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), 0)
	if err != nil {
		return nil, yamlMistake(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); doc.Body == nil || directive {
			continue
		}
		if body != nil {
			return nil, fmt.Errorf("line %d: a second document begins; one is allowed", yamlLine(doc.Body))
		}
		body = doc.Body
	}
	if body == nil {
		return &yamlValue{kind: yamlNothing, line: 1}, nil
	}
	r := yamlTree{anchors: map[string]*yamlValue{}}
	return r.value(body, 20)
}

func yamlMistake(err error) error {
	var at yaml.Error
	if !errors.As(err, &at) {
		return fmt.Errorf("not YAML: %w", err)
	}
	text := "not YAML: " + strings.TrimSpace(at.GetMessage())
	if t := at.GetToken(); t != nil && t.Position != nil {
		return fmt.Errorf("line %d: %s", t.Position.Line, text)
	}
	return errors.New(text)
}

func yamlLine(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

type yamlTree struct{ anchors map[string]*yamlValue }

func (r *yamlTree) value(n ast.Node, depth int) (*yamlValue, error) {
	if n == nil {
		return &yamlValue{kind: yamlNothing}, nil
	}
	v := &yamlValue{line: yamlLine(n)}
	if depth == 0 {
		return nil, fmt.Errorf("line %d: nested too deeply", v.line)
	}
	switch n := n.(type) {
	case *ast.NullNode, *ast.CommentGroupNode:
		v.kind = yamlNothing
	case *ast.LiteralNode:
		v.kind, v.text = yamlText, n.Value.Value
	case *ast.StringNode:
		v.kind, v.text = yamlWord, n.Value
		if n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType {
			v.kind = yamlText
		}
	case *ast.TagNode:
		return r.value(n.Value, depth-1)
	case *ast.AnchorNode:
		return r.anchor(n, depth)
	case *ast.AliasNode:
		return r.alias(n)
	case *ast.MappingNode:
		return v, r.mapping(v, n.Values, depth)
	case *ast.MappingValueNode:
		return v, r.mapping(v, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		return v, r.list(v, n.Values, depth)
	case ast.ScalarNode:
		v.kind, v.text = yamlWord, n.GetToken().Value
	default:
		return nil, fmt.Errorf("line %d: a YAML %s is not allowed here", v.line, n.Type())
	}
	return v, nil
}

func (r *yamlTree) anchor(n *ast.AnchorNode, depth int) (*yamlValue, error) {
	v, err := r.value(n.Value, depth-1)
	if err == nil && n.Name != nil {
		r.anchors[n.Name.GetToken().Value] = v
	}
	return v, err
}

func (r *yamlTree) alias(n *ast.AliasNode) (*yamlValue, error) {
	name := n.Value.GetToken().Value
	if v, ok := r.anchors[name]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("line %d: *%s is not defined above", yamlLine(n), name)
}

func (r *yamlTree) list(v *yamlValue, items []ast.Node, depth int) error {
	v.kind = yamlList
	for _, item := range items {
		each, err := r.value(item, depth-1)
		if err != nil {
			return err
		}
		v.items = append(v.items, each)
	}
	return nil
}

func (r *yamlTree) mapping(v *yamlValue, pairs []*ast.MappingValueNode, depth int) error {
	v.kind = yamlMap
	var merged []*yamlValue
	for _, p := range pairs {
		each, err := r.value(p.Value, depth-1)
		if err != nil {
			return err
		}
		line := yamlLine(p.Key)
		if p.Key.IsMergeKey() {
			if each.kind != yamlMap {
				return fmt.Errorf("line %d: a merge key (<<) takes a map, %s", line, each.found())
			}
			merged = append(merged, each)
			continue
		}
		key, err := r.value(keyOf(p.Key), depth-1)
		if err != nil {
			return err
		}
		if key.kind != yamlText && key.kind != yamlWord {
			return fmt.Errorf("line %d: a key is a text, %s", line, key.found())
		}
		if v.get(key.text) != nil {
			return fmt.Errorf("line %d: key %.60q is there twice", line, key.text)
		}
		v.keys, v.items = append(v.keys, yamlKey{key.text, line}), append(v.items, each)
	}
	for _, m := range merged { // own keys win
		for i, k := range m.keys {
			if v.get(k.name) == nil {
				v.keys, v.items = append(v.keys, k), append(v.items, m.items[i])
			}
		}
	}
	return nil
}

func keyOf(k ast.MapKeyNode) ast.Node {
	if m, ok := k.(*ast.MappingKeyNode); ok {
		return m.Value
	}
	return k
}
