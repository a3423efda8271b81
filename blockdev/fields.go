package blockdev

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// fields reads the settings of one entry. The first mistake stays in err; what
// is read after it is zero.
type fields struct {
	e   entry
	err error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// place is where the key stands.
func (f *fields) place(key string) place {
	return f.e.at.key(key, f.e.v.get(key))
}

// scalar returns the spelling of a key's value and whether it is given.
func (f *fields) scalar(key string) (string, bool) {
	v := f.e.v.get(key)
	if v == nil || v.kind == nullValue {
		return "", false
	}
	if v.kind == listValue || v.kind == mapValue {
		f.fail(f.place(key).errorf("found %s; text is wanted", v.kind))
		return "", false
	}
	return v.text, true
}

// text returns a key's value as it is spelled; names may well be numbers.
func (f *fields) text(key string) string {
	s, _ := f.scalar(key)
	return s
}

// absolute returns a size in bytes, 0 when it is not given.
func (f *fields) absolute(key string) int64 {
	s, ok := f.scalar(key)
	if !ok {
		return 0
	}
	n, err := ParseSize(s)
	if err != nil {
		f.fail(f.place(key).errorf("%v", err))
	}
	return n
}

// relative returns a size that may be a percentage.
func (f *fields) relative(key string) Size {
	s, ok := f.scalar(key)
	if !ok {
		return Size{}
	}
	n, err := ParseRelativeSize(s)
	if err != nil {
		f.fail(f.place(key).errorf("%v", err))
	}
	return n
}

// integer returns a whole number from 0 on, def when it is not given.
func (f *fields) integer(key string, def int) int {
	s, ok := f.scalar(key)
	if !ok {
		return def
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n > math.MaxInt32 {
		f.fail(f.place(key).errorf("found %q; a whole number is wanted", s))
	}
	return int(n)
}

// words returns a list of words: a YAML list, or text split like a shell does.
func (f *fields) words(key string) []string {
	v := f.e.v.get(key)
	if v == nil || v.kind == nullValue {
		return nil
	}
	if v.kind != listValue {
		w, err := SplitWords(f.text(key))
		if err != nil {
			f.fail(f.place(key).errorf("%v", err))
		}
		return w
	}
	var words []string
	for i, it := range v.items {
		if it.kind == listValue || it.kind == mapValue || it.kind == nullValue {
			f.fail(f.place(key).index(i, it).errorf("found %s; text is wanted", it.kind))
		}
		words = append(words, it.text)
	}
	return words
}

// require fails when a key is missing or empty.
func (f *fields) require(keys ...string) {
	for _, k := range keys {
		if v := f.e.v.get(k); v == nil || v.kind == nullValue {
			f.fail(f.e.at.errorf("%s is missing", k))
		}
	}
}

// done checks that there is no other key and returns the first mistake.
func (f *fields) done(keys ...string) error {
	if f.err != nil {
		return f.err
	}
	for i, k := range f.e.v.keys {
		if slices.Contains(keys, k) || findKind(k) != nil {
			continue
		}
		at := f.e.at.key(k, f.e.v.vals[i])
		return at.errorf("unknown key %q; %s", k, allowed(k, append(slices.Clone(keys), kindNames()...)))
	}
	return nil
}

// subvolume returns the path of a btrfs subvolume within its file system,
// without a slash at either end, "" when it is not given.
func (f *fields) subvolume(key string) string {
	s, given := f.scalar(key)
	if !given {
		return ""
	}
	clean, err := cleanSubvolume(s)
	if err != nil {
		f.fail(f.place(key).errorf("%v", err))
	}
	return clean
}

func cleanSubvolume(s string) (string, error) {
	// The kernel reads it as a mount option, fstab as a word.
	if strings.ContainsAny(s, " \t\n,\\\x00#\"'") {
		return "", fmt.Errorf("subvolume %q: blanks, commas, quotes and backslashes would break mount options", s)
	}
	if slices.Contains(strings.Split(s, "/"), "..") {
		return "", fmt.Errorf("subvolume %q leads out of the file system by ..", s)
	}
	clean := strings.Trim(path.Clean("/"+s), "/")
	if clean == "" {
		return "", fmt.Errorf("subvolume %q: a name is wanted, such as @home", s)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > 255 {
			return "", fmt.Errorf("subvolume %q: a name of more than 255 bytes", s)
		}
	}
	return clean, nil
}

// subvolumes returns a list of subvolumes, each once.
func (f *fields) subvolumes(key string) []string {
	var all []string
	for _, w := range f.words(key) {
		clean, err := cleanSubvolume(w)
		if err == nil && slices.Contains(all, clean) {
			err = fmt.Errorf("subvolume %q is given twice", w)
		}
		if err != nil {
			f.fail(f.place(key).errorf("%v", err))
		}
		all = append(all, clean)
	}
	return all
}
