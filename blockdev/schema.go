package blockdev

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/lithify/lithify/blockdev/lvm"
	"github.com/lithify/lithify/blockdev/md"
)

// Schema is the JSON Schema (draft 2020-12) of the configuration, for editors.
// It is also what Parse validates with: what a key is called, what it takes and
// what it means is said there and nowhere else. What the schema's language
// cannot say of one value is a format, whose name stands in the schema and whose
// rule is in formats; what concerns several nodes is Graph's.
//
// Beside the draft's keywords it has two: errorMessage, which says what is wanted
// (some editors show it), and words, a schema for each word of a text that is
// split like a shell does.
//
//go:embed schema.json
var Schema []byte

const schemaURL = "https://github.com/lithify/lithify/blob/main/blockdev/schema.json"

// formats are the rules for one value. Numbers come as they are spelled.
var formats = map[string]func(string) error{
	"file-name":      checkFileName,
	"disk-size":      checkDiskSize,
	"folder":         checkFolder,
	"device":         checkDevicePath,
	"alignment":      checkAlignment,
	"partition-size": checkPartitionSize,
	"mbr-type":       func(s string) error { _, err := mbrType(s); return err },
	"gpt-type":       func(s string) error { _, err := gptType(s); return err },
	"gpt-name":       checkGPTName,
	"gpt-attribute":  func(s string) error { _, err := gptAttribute(s); return err },
	"fat-id":         checkFATID,
	"mount-point":    checkMountPath,
	"subvolume":      func(s string) error { _, err := cleanSubvolume(s); return err },
	"mount-option":   checkMountOption,
	"group-name":     lvm.CheckGroupName,
	"volume-name":    checkVolumeName,
	"lvm-extents":    checkExtents,
	"md-name":        md.CheckName,
	"luks-name":      checkMappedName,
}

// schema returns the compiled schema, and its text as a tree.
var schema = sync.OnceValues(func() (*jsonschema.Schema, any) {
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		panic("blockdev: schema.json: " + err.Error())
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is read or fetched
	c.AssertFormat()
	c.AssertVocabs()
	c.RegisterVocabulary(&jsonschema.Vocabulary{URL: schemaURL + "#words", Compile: compileWords,
		Subschemas: []jsonschema.SchemaPath{{jsonschema.Prop("words")}}})
	for name, check := range formats {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := spelling(v); ok {
				return check(s)
			}
			return nil
		}})
	}
	if err = c.AddResource(schemaURL, tree); err == nil {
		var s *jsonschema.Schema
		if s, err = c.Compile(schemaURL); err == nil {
			return s, tree
		}
	}
	panic("blockdev: schema.json: " + err.Error())
})

// spelling returns the text of a scalar of a view.
func spelling(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// wordsRule is the keyword words.
type wordsRule struct{ each *jsonschema.Schema }

func compileWords(ctx *jsonschema.CompilerContext, obj map[string]any) (jsonschema.SchemaExt, error) {
	if _, ok := obj["words"]; !ok {
		return nil, nil
	}
	return wordsRule{ctx.Enqueue([]string{"words"})}, nil
}

func (r wordsRule) Validate(ctx *jsonschema.ValidatorContext, v any) {
	s, ok := v.(string)
	if !ok {
		return
	}
	words, err := SplitWords(s)
	if err != nil {
		ctx.AddError(&kind.Format{Got: v, Want: "words", Err: err})
		return
	}
	for i, w := range words {
		if err := ctx.Validate(r.each, w, []string{strconv.Itoa(i)}); err != nil {
			ctx.AddErr(err)
		}
	}
}

// checkSchema validates the whole configuration.
func checkSchema(v *value) error {
	s, tree := schema()
	err := s.Validate(v.view())
	if err == nil {
		return nil
	}
	var all *jsonschema.ValidationError
	if !errors.As(err, &all) {
		return fmt.Errorf("block-device configuration: %w", err)
	}
	return translate(v, all, tree)
}

// plainNumber is what JSON and Go agree to be a number, and not a huge one.
var plainNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$`)

// view is the value as the validator has it. Numbers that JSON cannot spell (0x83,
// 0755, 8E00) are text in it, so that the schema judges what was written.
func (v *value) view() any {
	switch v.kind {
	case textValue:
		return v.text
	case numberValue:
		if plainNumber.MatchString(v.text) {
			return json.Number(v.text)
		}
		return v.text
	case boolValue:
		return v.text == "true"
	case listValue:
		list := make([]any, len(v.items))
		for i, it := range v.items {
			list[i] = it.view()
		}
		return list
	case mapValue:
		m := make(map[string]any, len(v.keys))
		for i, k := range v.keys {
			m[k] = v.vals[i].view()
		}
		return m
	}
	return nil
}
