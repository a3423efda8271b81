package elements

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// value is a part of a JSON or YAML file, with the line it is on, which errors
// name. Both formats end up here so that what is said of a mistake does not
// depend on the spelling.
type value struct {
	kind   kindOfValue
	text   string  // of a text or word
	fields []field // of a mapping, in the order of the file
	items  []value // of a list
	line   int     // from 1
}

type field struct {
	key   string
	line  int
	value value
}

type kindOfValue string

// The names are for messages: "found a list".
const (
	isNothing kindOfValue = "nothing"
	isText    kindOfValue = "a text"
	isWord    kindOfValue = "a number or boolean"
	isMapping kindOfValue = "a mapping"
	isList    kindOfValue = "a list"
)

// scalar is the text of a value that is one word, number or text.
func (v value) scalar() (string, bool) {
	return v.text, v.kind == isText || v.kind == isWord
}

// describe says what was found, for an error.
func (v value) describe() string {
	if text, ok := v.scalar(); ok {
		return fmt.Sprintf("%.60q", text)
	}
	return string(v.kind)
}

// deepest limits nesting, so that a hostile file cannot exhaust the stack.
const deepest = 50

var errTooDeep = errors.New("nested too deeply")

// parseDocument reads JSON or YAML. An empty file is a value of kind nothing.
func parseDocument(data []byte) (value, error) {
	if json.Valid(data) {
		return parseJSON(data)
	}
	return parseYAML(data)
}

// parseJSON reads one JSON value; a key that occurs twice is a mistake.
func parseJSON(data []byte) (value, error) {
	r := jsonReader{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	r.decoder.UseNumber()
	v, err := r.value(deepest)
	if err != nil {
		return value{}, r.explain(err)
	}
	if _, err := r.decoder.Token(); !errors.Is(err, io.EOF) {
		return value{}, fmt.Errorf("line %d: text after the end of the JSON value", r.line())
	}
	return v, nil
}

type jsonReader struct {
	data    []byte
	decoder *json.Decoder
}

func (r *jsonReader) line() int { return lineAt(r.data, r.decoder.InputOffset()) }

func lineAt(data []byte, offset int64) int {
	offset = min(max(offset, 0), int64(len(data)))
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

func (r *jsonReader) explain(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("line %d: %w", lineAt(r.data, syntax.Offset), err)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: %w", lineAt(r.data, int64(len(r.data))), io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("line %d: %w", r.line(), err)
}

func (r *jsonReader) value(depth int) (value, error) {
	token, err := r.decoder.Token()
	if err != nil {
		return value{}, err
	}
	v := value{line: r.line()}
	switch token := token.(type) {
	case json.Delim:
		if depth == 0 {
			return value{}, errTooDeep
		}
		if token == '{' {
			err = r.mapping(&v, depth-1)
		} else {
			err = r.list(&v, depth-1)
		}
	case string:
		v.kind, v.text = isText, token
	case nil:
		v.kind = isNothing
	default:
		v.kind, v.text = isWord, fmt.Sprint(token)
	}
	return v, err
}

func (r *jsonReader) mapping(v *value, depth int) error {
	v.kind = isMapping
	seen := map[string]int{}
	for r.decoder.More() {
		token, err := r.decoder.Token()
		if err != nil {
			return err
		}
		key, ok := token.(string)
		if !ok {
			return fmt.Errorf("found %v, want a key", token)
		}
		f := field{key: key, line: r.line()}
		if first, twice := seen[key]; twice {
			return fmt.Errorf("%q is there already on line %d", key, first)
		}
		seen[key] = f.line
		if f.value, err = r.value(depth); err != nil {
			return err
		}
		v.fields = append(v.fields, f)
	}
	_, err := r.decoder.Token()
	return err
}

func (r *jsonReader) list(v *value, depth int) error {
	v.kind = isList
	for r.decoder.More() {
		item, err := r.value(depth)
		if err != nil {
			return err
		}
		v.items = append(v.items, item)
	}
	_, err := r.decoder.Token()
	return err
}

// parseYAML reads one YAML document.
func parseYAML(data []byte) (v value, err error) {
	// The parser is not ours, and what it gets comes from anybody.
	defer func() {
		if p := recover(); p != nil {
			v, err = value{}, fmt.Errorf("reading YAML: %v", p)
		}
	}()
	if err := CheckNesting(data); err != nil {
		return value{}, err
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return value{}, explainYAML(err)
	}
	r := yamlReader{anchors: map[string]value{}}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); doc.Body != nil && !directive {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return value{kind: isNothing, line: 1}, nil
	case 1:
		return r.value(bodies[0], deepest)
	}
	return value{}, fmt.Errorf("line %d: a second document begins; one is allowed", lineOf(bodies[1]))
}

// CheckNesting refuses what the YAML parser needs minutes for: it recurses, and
// its time grows with the square of the depth. Brackets in comments and texts
// count too; nobody writes that many.
func CheckNesting(data []byte) error {
	open, number := 0, 0
	for line := range bytes.Lines(data) {
		number++
		open += bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{"))
		if open > 4*deepest || prefixes(line) > 4*deepest {
			return fmt.Errorf("line %d: %w", number, errTooDeep)
		}
		open = max(0, open-bytes.Count(line, []byte("]"))-bytes.Count(line, []byte("}")))
	}
	return nil
}

// prefixes counts the marks of lists, keys, tags and anchors that a line has.
func prefixes(line []byte) int {
	n := 0
	for _, w := range bytes.Fields(line) {
		if bytes.IndexByte([]byte("-?!&"), w[0]) >= 0 {
			n++
		}
	}
	return n
}

func explainYAML(err error) error {
	syntax, ok := errors.AsType[*yaml.SyntaxError](err)
	if !ok || syntax.Token == nil || syntax.Token.Position == nil {
		return err
	}
	return fmt.Errorf("line %d: %s", syntax.Token.Position.Line, strings.TrimSpace(syntax.Message))
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

type yamlReader struct {
	anchors map[string]value
}

func (r *yamlReader) value(n ast.Node, depth int) (value, error) {
	if n == nil {
		return value{kind: isNothing}, nil
	}
	v := value{line: lineOf(n)}
	if depth == 0 {
		return value{}, fmt.Errorf("line %d: %w", v.line, errTooDeep)
	}
	switch n := n.(type) {
	case *ast.NullNode, *ast.CommentGroupNode:
		v.kind = isNothing
	case *ast.StringNode:
		v.kind, v.text = isText, n.Value
	case *ast.LiteralNode:
		v.kind, v.text = isText, n.Value.Value
	case *ast.TagNode:
		return r.value(n.Value, depth-1)
	case *ast.AnchorNode:
		return r.anchor(n, depth)
	case *ast.AliasNode:
		return r.alias(n)
	case *ast.MappingNode:
		return r.mapping(n.Values, v.line, depth)
	case *ast.MappingValueNode:
		return r.mapping([]*ast.MappingValueNode{n}, v.line, depth)
	case *ast.SequenceNode:
		return r.list(n, depth)
	case ast.ScalarNode:
		v.kind, v.text = isWord, n.GetToken().Value
	default:
		return value{}, fmt.Errorf("line %d: %s is not allowed here", v.line, n.Type())
	}
	return v, nil
}

func (r *yamlReader) anchor(n *ast.AnchorNode, depth int) (value, error) {
	v, err := r.value(n.Value, depth-1)
	if err == nil && n.Name != nil {
		r.anchors[n.Name.GetToken().Value] = v
	}
	return v, err
}

func (r *yamlReader) alias(n *ast.AliasNode) (value, error) {
	name := n.Value.GetToken().Value
	v, ok := r.anchors[name]
	if !ok {
		return value{}, fmt.Errorf("line %d: *%s is not defined above", lineOf(n), name)
	}
	return v, nil
}

func (r *yamlReader) list(n *ast.SequenceNode, depth int) (value, error) {
	v := value{kind: isList, line: lineOf(n)}
	for _, item := range n.Values {
		each, err := r.value(item, depth-1)
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, each)
	}
	return v, nil
}

func (r *yamlReader) mapping(values []*ast.MappingValueNode, line, depth int) (value, error) {
	v := value{kind: isMapping, line: line}
	seen := map[string]int{}
	for _, each := range values {
		f := field{line: lineOf(each.Key)}
		var err error
		if f.key, err = keyText(each.Key); err != nil {
			return value{}, err
		}
		if first, twice := seen[f.key]; twice {
			return value{}, fmt.Errorf("line %d: %q is there already on line %d", f.line, f.key, first)
		}
		seen[f.key] = f.line
		if f.value, err = r.value(each.Value, depth-1); err != nil {
			return value{}, err
		}
		v.fields = append(v.fields, f)
	}
	return v, nil
}

// keyText is a key as it is written: "3to2", "1.0" and "on" are names here,
// whatever YAML takes them for.
func keyText(key ast.MapKeyNode) (string, error) {
	var n ast.Node = key
	if k, ok := n.(*ast.MappingKeyNode); ok {
		n = k.Value
	}
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value, nil
	}
	if _, ok := n.(ast.ScalarNode); ok && !key.IsMergeKey() {
		return n.GetToken().Value, nil
	}
	return "", fmt.Errorf("line %d: %s is not allowed as a key; want a name", lineOf(key), key.Type())
}
