package fat

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// nameMax is the longest name, in UTF-16 units.
const nameMax = 255

// shortName is a name as old DOS has it: eight characters and three, padded with
// spaces, in upper case.
type shortName [11]byte

// checkName says whether a long name can be. Linux would take a space at the
// end; Windows and UEFI drop it, as all drop dots.
func checkName(name string) error {
	if !utf8.ValidString(name) {
		return errors.New("the name is not UTF-8; FAT's are Unicode")
	}
	for _, r := range name {
		if r < ' ' || r == 0xFFFF || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("FAT allows no %q in a name, nor any of \" * / : < > ? \\ | and control characters", r)
		}
	}
	if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return errors.New("FAT allows no dot or space at the end of a name")
	}
	if n := len(utf16.Encode([]rune(name))); n > nameMax {
		return fmt.Errorf("the name has %d UTF-16 units; FAT allows %d", n, nameMax)
	}
	return nil
}

// foldName returns what names that FAT takes for the same have in common.
func foldName(name string) string { return strings.Map(unicode.ToUpper, name) }

// shortChar returns a character as a short name has it. It is not lossless when
// there is none for it.
func shortChar(r rune) (c byte, lossless bool) {
	if r >= 'a' && r <= 'z' {
		return byte(r - 'a' + 'A'), true
	}
	if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r < 0x80 && strings.ContainsRune("!#$%&'()-@^_`{}~", r) {
		return byte(r), true
	}
	return '_', false
}

// exactShort returns the short name that is the long one but for case; ok is
// false when there is none.
func exactShort(name string) (s shortName, ok bool) {
	base, ext, dotted := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dotted && ext == "" {
		return s, false
	}
	s = padded(nil, nil)
	for i, r := range base {
		if s[i], ok = shortChar(r); !ok {
			return s, false
		}
	}
	for i, r := range ext {
		if s[8+i], ok = shortChar(r); !ok {
			return s, false
		}
	}
	return s, true
}

func padded(base, ext []byte) (s shortName) {
	copy(s[:], "           ")
	copy(s[:8], base)
	copy(s[8:], ext)
	return s
}

// roughShort returns the parts that a numeric tail is put between.
func roughShort(name string) (base, ext []byte) {
	name = strings.TrimLeft(name, ". ")
	stem, suffix := name, ""
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		stem, suffix = name[:i], name[i+1:]
	}
	base, ext = shortChars(stem, 6), shortChars(suffix, 3)
	if len(base) == 0 {
		base = []byte{'_'}
	}
	return base, ext
}

func shortChars(s string, most int) (cs []byte) {
	for _, r := range s {
		if r == ' ' || r == '.' {
			continue
		}
		if len(cs) == most {
			break
		}
		c, _ := shortChar(r)
		cs = append(cs, c)
	}
	return cs
}

// shortNames gives out short names in one folder: first to those that have one
// of their own, then BASE~N.EXT to the others, in order.
type shortNames struct {
	taken map[shortName]bool
	next  map[shortName]int // the next number to try after a base
}

// tailed returns a free short name for a long one.
func (t *shortNames) tailed(name string) shortName {
	base, ext := roughShort(name)
	key := padded(base, ext)
	for n := t.next[key] + 1; ; n++ {
		tail := "~" + strconv.Itoa(n)
		s := padded(append(base[:min(len(base), 8-len(tail)):min(len(base), 8-len(tail))], tail...), ext)
		if !t.taken[s] {
			t.next[key] = n
			t.taken[s] = true
			return s
		}
	}
}

// nameFolder checks the names in a folder and gives every entry its short name.
func nameFolder(children []*node) error {
	t := shortNames{taken: map[shortName]bool{}, next: map[shortName]int{}}
	seen := make(map[string]*node, len(children))
	for _, n := range children {
		if err := checkName(n.name); err != nil {
			return fmt.Errorf("%q: %w", n.path, err)
		}
		fold := foldName(n.name)
		if old := seen[fold]; old != nil {
			return fmt.Errorf("%q and %q: the names differ only in case, and are the same on FAT", old.path, n.path)
		}
		seen[fold] = n
		if s, ok := exactShort(n.name); ok {
			n.short = s
			n.long = n.name != strings.ToUpper(n.name)
			t.taken[s] = true
		}
	}
	for _, n := range children {
		if n.short[0] == 0 {
			n.short, n.long = t.tailed(n.name), true
		}
		if n.entries = 1; n.long {
			n.entries += (int64(len(utf16.Encode([]rune(n.name)))) + 12) / 13
		}
	}
	return nil
}
