package blockdev

import (
	"strconv"
	"strings"
)

// valueKind says what one value of the configuration is.
type valueKind int

const (
	nullValue valueKind = iota
	textValue
	numberValue
	boolValue
	listValue
	mapValue
)

func (k valueKind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "a map"}[k]
}

// value is one value of the configuration with the line it stands on. It is the
// common ground of YAML and JSON: numbers keep their spelling, since `83` as a
// partition type is hexadecimal and as a size decimal.
type value struct {
	kind  valueKind
	text  string // the spelling of a scalar
	items []*value
	keys  []string // of a map, in the order of the source
	vals  []*value // beside keys
	line  int      // from 1
}

// get returns the value of a map's key, nil when there is none.
func (v *value) get(key string) *value {
	for i, k := range v.keys {
		if k == key {
			return v.vals[i]
		}
	}
	return nil
}

// textOf returns the spelling of a map's scalar, "" when there is none.
func (v *value) textOf(key string) string {
	if c := v.get(key); c != nil {
		return c.text
	}
	return ""
}

// place is where something stands in the configuration.
type place struct {
	path string // such as [1].partitioning.partitions[0].size
	line int    // from 1; 0 when it was never in a file
	node string // the name of the node around it; "" when it does not matter
}

func (p place) key(name string, v *value) place {
	if p.path != "" {
		name = p.path + "." + name
	}
	return p.at(name, v)
}

func (p place) index(i int, v *value) place {
	return p.at(p.path+"["+strconv.Itoa(i)+"]", v)
}

func (p place) at(path string, v *value) place {
	if v != nil && v.line > 0 {
		p.line = v.line
	}
	p.path = path
	return p
}

func (p place) String() string {
	path := p.path
	if path == "" {
		path = "top level"
	}
	var more []string
	if p.line > 0 {
		more = append(more, "line "+strconv.Itoa(p.line))
	}
	if p.node != "" {
		more = append(more, "node "+quote(p.node))
	}
	if len(more) == 0 {
		return path
	}
	return path + " (" + strings.Join(more, ", ") + ")"
}
