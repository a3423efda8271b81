package blockdev

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"198": 198, "154MiB": 161480704, "20TiB": 20 << 40, "1024KiB": 1 << 20, "1.2TB": 1200000000000,
		"2.4T": 2400000000000, "512B": 512, "364": 364, "": 1, "KiB": 1024, "1.5 GiB": 3 << 29, ".5K": 500, "1.9": 1, "1800M": 1800000000,
	} {
		if got, err := ParseSize(s); got != want || err != nil {
			t.Errorf("%q: %d %v, want %d", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"747InVaLiDUnIt": "unknown unit", "_+!HuHi+-=": "bad syntax", "-1": "bad syntax", "1  K": "bad syntax",
		"1.2.3": "bad number", ".": "bad number", "9999999TiB": "more than", "1gib": `did you mean "GiB"?`, "50%": "bad syntax",
		strings.Repeat("9", 1000): "bad number",
	} {
		if got, err := ParseSize(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d %v, want %s", s, got, err, want)
		}
	}
}

func TestRelativeSize(t *testing.T) {
	for _, c := range []struct {
		s          string
		free, want int64
	}{
		{"154MiB", 1, 161480704}, {"50%", 1000, 500}, {"33%", 1000, 330}, {"0.5%", 1001, 5},
		{"100%", math.MaxInt64 - 7, math.MaxInt64 - 7}, {"100 %", 12345678901, 12345678901}, {"10%", -5, 0},
	} {
		n, err := ParseRelativeSize(c.s)
		if err != nil || n.Of(c.free) != c.want {
			t.Errorf("%s of %d: %d %v, want %d", c.s, c.free, n.Of(c.free), err, c.want)
		}
	}
	for _, s := range []string{"%", "-1%", "0%", "101%", "NaN%", "1e400%", "x%"} {
		if n, err := ParseRelativeSize(s); err == nil {
			t.Errorf("%q: %v", s, n)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1.5GiB", "", "%", "50%", "99999999999999999999", "1..2K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err == nil && n < 0 {
			t.Errorf("%q is %d", s, n)
		}
		if err := ambiguous(s); err != nil {
			t.Error(err)
		}
		if n, err := ParseRelativeSize(s); err == nil && (n.Of(1000) < 0 || n.Relative && n.Of(1000) > 1000) {
			t.Errorf("%q of 1000 is %d", s, n.Of(1000))
		}
	})
}

var sizePatterns = sync.OnceValue(func() map[string]*regexp.Regexp {
	_, tree := schema()
	all := map[string]*regexp.Regexp{}
	for _, def := range []string{"size", "partitionSize"} {
		all[def] = regexp.MustCompile(lookUp(tree, "/$defs/"+def+"/pattern").(string))
	}
	return all
})

// ambiguous says where the schema's pattern, which editors go by, refuses a size
// that the program takes, or takes what is no number and unit.
func ambiguous(s string) error {
	_, err := ParseSize(s)
	_, shareErr := ParseRelativeSize(s)
	overflow := err != nil && (strings.Contains(err.Error(), "more than") || strings.Contains(err.Error(), "bad number"))
	size, share := sizePatterns()["size"].MatchString(s), sizePatterns()["partitionSize"].MatchString(s)
	if size != (err == nil) && !overflow || shareErr == nil && !share {
		return fmt.Errorf("%q: pattern %v, program %v; of a share %v, %v", s, size, err, share, shareErr)
	}
	return nil
}

func TestSplitWords(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a  b": "a|b", `-O '^a b' "c\"d"`: `-O|^a b|c"d`, `a\ b ''`: "a b|", "\t-i 4096\n": "-i|4096",
	} {
		w, err := SplitWords(s)
		if got := strings.Join(w, "|"); got != want || err != nil {
			t.Errorf("%q: %q %v, want %q", s, got, err, want)
		}
	}
	for _, s := range []string{`'`, `"a`, `a\`} {
		if w, err := SplitWords(s); err == nil {
			t.Errorf("%q: %q", s, w)
		}
	}
}
