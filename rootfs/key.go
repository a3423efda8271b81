package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"slices"
)

// stepVersion is part of every key. Raise it by hand when the runner, a deed or
// a command inside the target changes what a step leaves in the tree; the
// program's own hash is no part of a key, so that an upgrade reuses layers.
var stepVersion = 2 // a variable for the property test only

// inputs are named digests of what a step's result depends on. The names let a
// later "why was this built again?" say which input changed.
type inputs map[string]string

// add sets the digest of data under name.
func (in inputs) add(name string, data []byte) {
	in[name] = digest(data)
}

// key chains the inputs onto the parent's key.
func (in inputs) key(parent Key) Key {
	text, err := json.Marshal(struct {
		Version int
		Parent  Key
		Inputs  map[string]string // encoding/json sorts the names
	}{stepVersion, parent, in})
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	return Key(digest(text))
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// digestMap gives one digest for names and values, whatever the map's order.
func digestMap(m map[string]string) string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	return digest(text)
}

func digestFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
