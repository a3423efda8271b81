package blockdev

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// units are diskimage-builder's, case-sensitive.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", gib}, {"MiB", mib}, {"KiB", kib},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
	{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"K", 1e3}, {"B", 1}, {"", 1},
}

// percentGrammar leaves exponents, hexadecimal and NaN to others.
var percentGrammar = regexp.MustCompile(`^\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*$`)

var sizeGrammar = regexp.MustCompile(`^([\d.]*) ?([A-Za-z0-9_]*)$`)

// ParseSize reads an absolute size: a number, at most one blank, a unit. Both
// parts may be missing: no number is 1, no unit is bytes. The result is in
// bytes, truncated; it is never negative.
func ParseSize(s string) (int64, error) {
	m := sizeGrammar.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("size %q: bad syntax; a number and a unit are wanted, such as 1.5GiB", s)
	}
	factor, err := unit(m[2])
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, err)
	}
	number := m[1]
	if number == "" {
		number = "1"
	}
	// A long text of digits would make a big.Rat of any size.
	r, ok := new(big.Rat), len(number) <= 40
	if ok {
		_, ok = r.SetString(number)
	}
	if !ok {
		return 0, fmt.Errorf("size %q: bad number %q", s, number)
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, fmt.Errorf("size %q: more than %s", s, FormatSize(math.MaxInt64))
	}
	return n.Int64(), nil
}

func unit(name string) (int64, error) {
	var names []string
	for _, u := range units {
		if u.name == name {
			return u.bytes, nil
		}
		if u.name != "" {
			names = append(names, u.name)
		}
	}
	return 0, fmt.Errorf("unknown unit %q; %s", name, allowed(name, names))
}

// Size is a size as the configuration gives it: bytes, or a share of what is
// still free where it is asked for. The zero value means "not given".
type Size struct {
	Bytes    int64   `json:"bytes,omitempty"`
	Percent  float64 `json:"percent,omitempty"` // 0–100
	Relative bool    `json:"relative,omitempty"`
	Given    bool    `json:"given,omitempty"`
}

// Of returns the size in bytes where free bytes are left.
func (s Size) Of(free int64) int64 {
	if !s.Relative {
		return s.Bytes
	}
	if free <= 0 {
		return 0
	}
	n := float64(free) * s.Percent / 100
	if n >= float64(free) { // all of it, exactly
		return free
	}
	return int64(n)
}

func (s Size) String() string {
	if s.Relative {
		return strconv.FormatFloat(s.Percent, 'g', -1, 64) + "%"
	}
	return FormatSize(s.Bytes)
}

// ParseRelativeSize reads a size that may be a percentage.
func ParseRelativeSize(s string) (Size, error) {
	number, relative := strings.CutSuffix(s, "%")
	if !relative {
		n, err := ParseSize(s)
		return Size{Bytes: n, Given: err == nil}, err
	}
	p, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !percentGrammar.MatchString(number) || p <= 0 || p > 100 {
		return Size{}, fmt.Errorf("size %q: a percentage above 0 and up to 100 is wanted", s)
	}
	return Size{Percent: p, Relative: true, Given: true}, nil
}

// FormatSize writes bytes for people: the largest binary unit, two decimals.
func FormatSize(n int64) string {
	for _, u := range units[:4] {
		if n >= u.bytes {
			s := strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', 2, 64)
			return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// roundUp returns the smallest multiple of unit that is not below n.
func roundUp(n, unit int64) int64 {
	return (n + unit - 1) / unit * unit
}
