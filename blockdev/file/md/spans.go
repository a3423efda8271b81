package md

// span is the bytes from lo up to, not including, hi.
type span struct{ lo, hi int64 }

// spans are ranges in ascending order that neither overlap nor touch.
type spans []span

// add gives the union of s and n.
func (s spans) add(n span) spans {
	if n.lo >= n.hi {
		return s
	}
	first := 0
	for first < len(s) && s[first].hi < n.lo {
		first++
	}
	last := first // the first behind all that n overlaps or touches
	for last < len(s) && s[last].lo <= n.hi {
		n.lo, n.hi = min(n.lo, s[last].lo), max(n.hi, s[last].hi)
		last++
	}
	if last == first {
		s = append(s, span{})
		copy(s[first+1:], s[first:])
		s[first] = n
		return s
	}
	s[first] = n
	return append(s[:first+1], s[last:]...)
}

// within gives the parts of s that lie in r.
func (s spans) within(r span) spans {
	var in spans
	for _, e := range s {
		if e.lo < r.hi && e.hi > r.lo {
			in = append(in, span{max(e.lo, r.lo), min(e.hi, r.hi)})
		}
	}
	return in
}

// missing gives the parts of r that do not lie in s.
func (s spans) missing(r span) spans {
	var out spans
	for _, e := range s.within(r) {
		if e.lo > r.lo {
			out = append(out, span{r.lo, e.lo})
		}
		r.lo = e.hi
	}
	if r.lo < r.hi {
		out = append(out, r)
	}
	return out
}
