package blockdev

import "strings"

// option is one option of mke2fs: -X value, or a flag without one, or with flag
// 0 a word of its own.
type option struct {
	flag  byte
	value string
	has   bool // it takes a value
	word  string
}

// mke2fsValues are the options of mke2fs 1.47 that take a value (mke2fs(8)).
const mke2fsValues = "bCdeEgGiIJlLmMNoOrstTUz"

// parseOptions reads options as getopt does, as far as mke2fs's are shaped.
func parseOptions(words []string) []option {
	var all []option
	for i := 0; i < len(words); i++ {
		w := words[i]
		if len(w) < 2 || w[0] != '-' {
			all = append(all, option{word: w})
			continue
		}
		o := option{flag: w[1], word: w}
		if strings.IndexByte(mke2fsValues, o.flag) >= 0 {
			o.has = true
			if o.value = w[2:]; o.value == "" && i+1 < len(words) {
				i++
				o.value = words[i]
			}
		}
		all = append(all, o)
	}
	return all
}

// joined returns the values of one flag joined by commas, and the options
// without it: mke2fs takes the last -E and the last -O alone.
func joined(all []option, flag byte) (string, []option) {
	var values []string
	var rest []option
	for _, o := range all {
		if o.flag == flag && o.has {
			values = append(values, o.value)
		} else {
			rest = append(rest, o)
		}
	}
	return strings.Join(values, ","), rest
}

func (o option) args() []string {
	if o.has {
		return []string{"-" + string(o.flag), o.value}
	}
	return []string{o.word}
}
