package blockdev

import (
	"bytes"
	"encoding/json"
)

// readJSON reads text that json.Valid accepts. JSON is YAML by the book, but
// YAML parsers trip over its tabs, and this one is quicker and knows its lines.
func readJSON(data []byte) (*value, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	r := jsonReader{d: d, data: data, line: 1}
	return r.value(0)
}

type jsonReader struct {
	d      *json.Decoder
	data   []byte
	offset int64 // up to which lines are counted
	line   int
}

func (r *jsonReader) token() (json.Token, int, error) {
	t, err := r.d.Token()
	if err != nil {
		return nil, r.line, &ConfigError{Line: r.line, Text: "not JSON: " + err.Error()}
	}
	end := r.d.InputOffset()
	r.line += bytes.Count(r.data[r.offset:end], []byte("\n"))
	r.offset = end
	return t, r.line, nil
}

func (r *jsonReader) value(depth int) (*value, error) {
	t, line, err := r.token()
	if err != nil {
		return nil, err
	}
	if depth > 100 {
		return nil, place{line: line}.errorf("nested deeper than 100 levels")
	}
	v := &value{line: line}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return v, r.fillMap(v, depth)
		}
		return v, r.fillList(v, depth)
	case string:
		v.kind, v.text = textValue, t
	case json.Number:
		v.kind, v.text = numberValue, t.String()
	case bool:
		v.kind, v.text = boolValue, map[bool]string{true: "true", false: "false"}[t]
	}
	return v, nil
}

func (r *jsonReader) fillMap(v *value, depth int) error {
	v.kind = mapValue
	for r.d.More() {
		t, line, err := r.token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		c, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		if v.get(key) != nil {
			return place{line: line}.errorf("key %q twice in one map", key)
		}
		v.keys, v.vals = append(v.keys, key), append(v.vals, withLine(c, line))
	}
	_, _, err := r.token()
	return err
}

func (r *jsonReader) fillList(v *value, depth int) error {
	v.kind = listValue
	for r.d.More() {
		c, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		v.items = append(v.items, c)
	}
	_, _, err := r.token()
	return err
}
