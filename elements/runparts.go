package elements

import (
	"cmp"
	"io/fs"
	"regexp"
	"strings"
)

// hookNames are the file names that run-parts takes for hooks. Without dots,
// so that data such as foo.service may lie beside them.
var hookNames = regexp.MustCompile(`^[0-9A-Za-z_-]+$`)

// Eligible tells whether a file of a phase's folder is run: a regular file
// (mode is that of a link's target), executable, with a name that names
// matches. A nil names is the rule that holds unless RUN_PARTS_REGEX is set.
func Eligible(name string, mode fs.FileMode, names *regexp.Regexp) bool {
	if names == nil {
		names = hookNames
	}
	return mode.IsRegular() && mode&0o111 != 0 && names.MatchString(name)
}

// Less tells whether the hook called a runs before the one called b: by the
// number at the start, none counting as 0, then by bytes. This is the order of
// `LC_ALL=C sort -n`.
func Less(a, b string) bool { return compareHooks(a, b) < 0 }

func compareHooks(a, b string) int {
	return cmp.Or(compareNumbers(a, b), strings.Compare(a, b))
}

// compareNumbers compares the numbers at the start of two names. They are kept
// as digits: a name may hold more of them than an integer.
func compareNumbers(a, b string) int {
	na, nb := leadingNumber(a), leadingNumber(b)
	if na.negative != nb.negative {
		if na.negative {
			return -1
		}
		return 1
	}
	order := cmp.Or(
		cmp.Compare(len(na.whole), len(nb.whole)),
		strings.Compare(na.whole, nb.whole),
		strings.Compare(na.fraction, nb.fraction),
	)
	if na.negative {
		return -order
	}
	return order
}

// number is a decimal number without needless zeros; zero is not negative.
type number struct {
	negative        bool
	whole, fraction string
}

func leadingNumber(name string) number {
	var n number
	rest := strings.TrimLeft(name, " \t")
	rest, minus := strings.CutPrefix(rest, "-")
	n.whole, rest = digits(rest)
	if after, ok := strings.CutPrefix(rest, "."); ok {
		n.fraction, _ = digits(after)
	}
	n.whole = strings.TrimLeft(n.whole, "0")
	n.fraction = strings.TrimRight(n.fraction, "0")
	n.negative = minus && n.whole+n.fraction != ""
	return n
}

// digits cuts name after the digits it begins with.
func digits(name string) (string, string) {
	i := 0
	for i < len(name) && name[i] >= '0' && name[i] <= '9' {
		i++
	}
	return name[:i], name[i:]
}
