package blockdev

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

// editor changes a configuration as bytes say: what fuzzing plain text rarely
// gets to is right in all but one or two places.
type editor struct {
	bytes []byte
	words []any // keys and values that occur somewhere
}

func (e *editor) next(n int) int {
	if len(e.bytes) == 0 || n == 0 {
		return 0
	}
	b := int(e.bytes[0])
	e.bytes = e.bytes[1:]
	return b % n
}

func (e *editor) word() any { return e.words[e.next(len(e.words))] }

// edit walks down to a value and replaces, removes, doubles or renames it.
func (e *editor) edit(v any) any {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if len(keys) == 0 {
			return e.word()
		}
		k := keys[e.next(len(keys))]
		switch e.next(8) {
		case 0:
			delete(v, k)
		case 1:
			if w, ok := e.word().(string); ok {
				v[w] = v[k]
			}
		case 2:
			v[k] = e.word()
		default:
			v[k] = e.edit(v[k])
		}
		return v
	case []any:
		if len(v) == 0 {
			return append(v, e.word())
		}
		i := e.next(len(v))
		switch e.next(8) {
		case 0:
			return slices.Delete(v, i, i+1)
		case 1:
			return append(v, v[i])
		case 2:
			slices.Reverse(v)
		default:
			v[i] = e.edit(v[i])
		}
		return v
	}
	return e.word()
}

func (e *editor) collect(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			e.words = append(e.words, k)
			e.collect(v[k])
		}
	case []any:
		for _, c := range v {
			e.collect(c)
		}
	}
	e.words = append(e.words, v)
}

// Configurations that are nearly right become a plan, or the error says where.
func FuzzEdits(f *testing.F) {
	all := slices.Sorted(slices.Values(seeds))
	words := editor{words: []any{nil, true, -1, 0, 1.5, 83, 4096, "", " ", "none", "50%", "xfs", "vfat", "btrfs", "swap", "@home", "a/b", "é", "subvolume", "uuid", "lvm",
		"6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11", "ABCD-1234", "1.5GiB", "\x00", "EF00", "'", []any{}, map[string]any{}}}
	for _, s := range all {
		words.collect(tree(f, s))
	}
	for i := range all {
		f.Add(byte(i), []byte{3, 1, 4, 1, 5, 9, 2, 6})
	}
	f.Fuzz(func(t *testing.T, which byte, edits []byte) {
		e := editor{bytes: edits, words: words.words}
		v := tree(t, all[int(which)%len(all)])
		for range 6 {
			if len(e.bytes) > 0 {
				v = e.edit(v)
			}
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Skip(err)
		}
		plan(t, data)
	})
}

// tree is a configuration as JSON has it, no part of it shared.
func tree(t testing.TB, config string) any {
	v, err := readText([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(v.view())
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
