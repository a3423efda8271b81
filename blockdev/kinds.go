package blockdev

import "strings"

// nodeKind is one word of the configuration. Each kind has a file of its own;
// kinds is the one place that lists them.
type nodeKind struct {
	name     string
	level    int
	items    string                        // the key whose list holds nodes of their own
	nameless bool                          // it is no node itself, its items are
	decode   func(e entry) ([]Node, error) // of what the schema accepts
}

const maxLevel = 4

// kinds lists the node kinds, lowest level first.
func kinds() []nodeKind {
	return []nodeKind{localLoopKind(), physicalDiskKind(), partitioningKind(), lvmKind(), mdKind(), luksKind(), mkfsKind(), mountKind(), fstabKind()}
}

func findKind(name string) *nodeKind {
	for _, k := range kinds() {
		if k.name == name {
			return &k
		}
	}
	return nil
}

func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

func kindsOf(level int) string {
	var names []string
	for _, k := range kinds() {
		if k.level == level {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, ", ")
}
