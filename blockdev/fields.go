package blockdev

import "strconv"

// fields reads the settings of one entry, which the schema has checked. The first
// error stays in err; what is read after it is zero.
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

// text returns a key's value as it is spelled, "" when it is not given; names
// may well be numbers.
func (f *fields) text(key string) string { return f.e.v.textOf(key) }

// field has a function make something of a key's value. Without the value
// nothing is read.
func field[T any](f *fields, key string, by func(string) (T, error)) T {
	var none T
	if f.e.v.get(key) == nil {
		return none
	}
	v, err := by(f.text(key))
	if err != nil {
		f.fail(f.place(key).errorf("%v", err))
		return none
	}
	return v
}

// integer returns a whole number from 0 on, def when it is not given.
func (f *fields) integer(key string, def int) int {
	if f.e.v.get(key) == nil {
		return def
	}
	return field(f, key, strconv.Atoi)
}

// words returns a list of words: a YAML list, or text split like a shell does.
func (f *fields) words(key string) []string {
	v := f.e.v.get(key)
	if v == nil {
		return nil
	}
	if v.kind != listValue {
		return field(f, key, SplitWords)
	}
	var words []string
	for _, it := range v.items {
		words = append(words, it.text)
	}
	return words
}
