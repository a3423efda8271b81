package elements

import "strings"

// nearest returns the candidate that name was most likely meant to be, or ""
// when none is close: a third of the letters may be wrong, and at least one.
func nearest(name string, candidates []string) string {
	best, limit := "", max(1, len(name)/3)
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d <= limit && c != name {
			best, limit = c, d-1
		}
	}
	return best
}

// distance counts the letters to insert, drop, replace or swap with their
// neighbour to turn a into b (optimal string alignment, three rows at a time).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// didYouMean is the end of an error about an unknown word, or "".
func didYouMean(name string, candidates []string) string {
	if near := nearest(name, candidates); near != "" {
		return "; did you mean '" + near + "'?"
	}
	return ""
}
