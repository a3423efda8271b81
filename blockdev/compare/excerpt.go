package compare

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

const (
	excerptBefore = 24 // bytes
	excerptLength = 72
	hexBefore     = 4
	hexLength     = 16
)

// excerpts shows both contents around a byte where they differ: as text when both
// are, from the line's beginning where that is near; else as numbers, whose places are counted from base.
func excerpts(a, b io.ReaderAt, at, base int64) []string {
	from := max(0, at-excerptBefore)
	pa, pb := readSome(a, from, excerptLength), readSome(b, from, excerptLength)
	if isText(pa) && isText(pb) {
		cut := lineStart(pa, int(at-from))
		return []string{fmt.Sprintf("A: %q", oneLine(pa[min(cut, len(pa)):])), fmt.Sprintf("B: %q", oneLine(pb[min(cut, len(pb)):]))}
	}
	from = max(0, at-hexBefore)
	return []string{
		fmt.Sprintf("A: %d: % x", base+from, readSome(a, from, hexLength)),
		fmt.Sprintf("B: %d: % x", base+from, readSome(b, from, hexLength)),
	}
}

func readSome(r io.ReaderAt, at int64, n int) []byte {
	b := make([]byte, n)
	got, _ := r.ReadAt(b, at)
	return b[:got]
}

// isText allows for characters that are cut at both ends.
func isText(b []byte) bool {
	for i := 0; i < 3 && len(b) > 0 && !utf8.RuneStart(b[0]); i++ {
		b = b[1:]
	}
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 && len(b) >= utf8.UTFMax {
			return false
		}
		if r != '\n' && r != '\t' && r != '\r' && r != utf8.RuneError && !unicode.IsPrint(r) {
			return false
		}
		b = b[n:]
	}
	return true
}

// lineStart is where the line begins that has the byte at i, or 0.
func lineStart(b []byte, i int) int {
	return bytes.LastIndexByte(b[:min(i, len(b))], '\n') + 1
}

// oneLine ends after the first line break.
func oneLine(b []byte) []byte {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1]
	}
	return b
}
