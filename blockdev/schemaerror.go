package blockdev

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// fault is one of the validator's errors, found again in the configuration.
type fault struct {
	at    place
	found *value
	order []int // its place in the text, the index on each level
	rule  map[string]any
	path  []string // in the configuration
	def   string   // where the rule stands in the schema, such as /$defs/entry
	kind  jsonschema.ErrorKind
	tree  any // the schema
}

// translate makes a *ConfigError of the mistake that comes first in the text.
// The validator tells all and in any order; one, with a place, helps more.
func translate(root *value, err *jsonschema.ValidationError, tree any) error {
	var all []fault
	collect(root, err, tree, &all)
	return slices.MinFunc(all, func(a, b fault) int { return slices.Compare(a.order, b.order) }).configError()
}

func collect(root *value, err *jsonschema.ValidationError, tree any, all *[]fault) {
	for _, c := range err.Causes {
		collect(root, c, tree, all)
	}
	if len(err.Causes) > 0 {
		return
	}
	k, isUnknown := err.ErrorKind.(*kind.AdditionalProperties)
	if !isUnknown {
		*all = append(*all, newFault(root, err.InstanceLocation, err, tree))
		return
	}
	for _, key := range k.Properties {
		*all = append(*all, newFault(root, append(slices.Clone(err.InstanceLocation), key), err, tree))
	}
}

func newFault(root *value, path []string, err *jsonschema.ValidationError, tree any) fault {
	m := fault{found: root, path: path, kind: err.ErrorKind, tree: tree, at: place{line: root.line}}
	for _, step := range path {
		m.descend(step)
	}
	if _, missing := m.kind.(*kind.Required); missing {
		// A typo in another key of the map says more.
		m.order = append(m.order, math.MaxInt)
	}
	_, pointer, _ := strings.Cut(err.SchemaURL, "#")
	m.def, _ = url.PathUnescape(pointer)
	m.rule, _ = lookUp(tree, m.def).(map[string]any)
	return m
}

// descend goes to a key or an index of what is found. The words of a text have
// an index in the validator's path only.
func (m *fault) descend(step string) {
	i := slices.Index(m.found.keys, step)
	if m.found.kind == listValue {
		i, _ = strconv.Atoi(step)
		m.at, m.found = m.at.index(i, m.found.items[i]), m.found.items[i]
	} else if i >= 0 {
		m.at, m.found = m.at.key(step, m.found.vals[i]), m.found.vals[i]
	}
	if name := m.found.get("name"); name != nil && name.text != "" {
		m.at.node = name.text
	}
	m.order = append(m.order, i)
}

// lookUp follows a JSON pointer.
func lookUp(tree any, pointer string) any {
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	for _, step := range strings.Split(pointer, "/")[1:] {
		switch t := tree.(type) {
		case map[string]any:
			tree = t[unescape.Replace(step)]
		case []any:
			if i, err := strconv.Atoi(step); err == nil && i < len(t) {
				tree = t[i]
			}
		}
	}
	return tree
}

func (m fault) configError() error {
	e := &ConfigError{Path: m.at.path, Line: m.at.line, Node: m.at.node, Text: m.text()}
	if m.def == "/$defs/entry" {
		if _, unknown := m.kind.(*kind.AdditionalProperties); !unknown {
			e.Head = singleDict
		}
	}
	return e
}

func (m fault) text() string {
	switch k := m.kind.(type) {
	case *kind.Type:
		return "found " + m.spelled() + "; " + m.wanted(k.Want)
	case *kind.AdditionalProperties:
		return m.unknownKey()
	case *kind.Required:
		return strings.TrimSuffix(k.Missing[0]+" is missing: "+m.message(), ": ")
	case *kind.Enum:
		return m.unknownWord(k)
	case *kind.Format:
		return k.Err.Error()
	case *kind.MinLength:
		return "the text is empty; " + m.message()
	case *kind.MinItems, *kind.MaxItems:
		return "found " + count(len(m.found.items), "entry", "entries") + "; " + m.message()
	case *kind.MinProperties, *kind.MaxProperties:
		return shape(m.found)
	}
	return "found " + m.spelled() + "; " + m.message()
}

func count(n int, one, many string) string {
	switch n {
	case 0:
		return "no " + one
	case 1:
		return "one " + one
	}
	return strconv.Itoa(n) + " " + many
}

// message is what the schema says to be wanted.
func (m fault) message() string {
	s, _ := m.rule["errorMessage"].(string)
	return s
}

func (m fault) wanted(types []string) string {
	switch s := m.message(); {
	case s != "":
		return s
	case m.def == "/$defs/entry":
		return "a node and its settings are wanted, such as {mkfs: {…}}"
	case slices.Contains(types, "object"):
		return "a map of settings is wanted"
	case slices.Contains(types, "array"):
		return "words are wanted, as text or as a list"
	}
	return "text is wanted"
}

// spelled is what was found, as it was written.
func (m fault) spelled() string {
	switch m.found.kind {
	case textValue:
		return quote(m.found.text)
	case numberValue, boolValue:
		return clip(m.found.text)
	}
	return m.found.kind.String()
}

func quote(s string) string { return strconv.Quote(clip(s)) }

func clip(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "…"
}

func (m fault) unknownKey() string {
	properties, _ := m.rule["properties"].(map[string]any)
	var keys []string
	for k := range properties {
		keys = append(keys, k)
	}
	what, key := "key", m.path[len(m.path)-1]
	if m.def == "/$defs/entry" {
		what = "node"
	}
	if owners := m.owners(key); len(owners) > 0 {
		return fmt.Sprintf("unknown %s %s: it is one of %s; %s", what, quote(key), wordList(owners), allowed("", keys))
	}
	return fmt.Sprintf("unknown %s %s; %s", what, quote(key), allowed(key, keys))
}

// owners says which nodes take a key that this one does not.
func (m fault) owners(key string) []string {
	var all []string
	for _, k := range kindNames() {
		if properties, _ := lookUp(m.tree, "/$defs/"+k+"/properties").(map[string]any); properties[key] != nil {
			all = append(all, k)
		}
	}
	for _, label := range []string{"mbr", "gpt"} {
		if properties, _ := lookUp(m.tree, "/$defs/"+label+"Partition/properties").(map[string]any); properties[key] != nil {
			all = append(all, "a partition ("+label+")")
		}
	}
	return all
}

func (m fault) unknownWord(k *kind.Enum) string {
	var words []string
	for _, w := range k.Want {
		if s := fmt.Sprint(w); !slices.Contains(words, s) {
			words = append(words, s)
		}
	}
	found, text := m.spelled(), m.found.text
	if s, ok := k.Got.(string); ok && m.found.kind == textValue { // may be one word of many
		found, text = quote(s), s
	}
	if node := findKind(text); node != nil && strings.HasPrefix(m.def, "/$defs/levels/") {
		level, _ := strconv.Atoi(m.path[0])
		return fmt.Sprintf("%s stands on level %d; here is level %d (%s)", text, node.level, level, kindsOf(level))
	}
	title, _ := m.rule["title"].(string)
	first, size := utf8.DecodeRuneInString(title)
	return fmt.Sprintf("unknown %c%s %s; %s", unicode.ToLower(first), title[size:], found, allowed(text, words))
}

// wordList is "a, b and c".
func wordList(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
