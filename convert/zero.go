package convert

import "bytes"

// isZero tells whether all of p is zero. Comparing p with itself shifted by
// eight bytes leaves the work to the runtime's vectorised memory compare and
// reads p only.
func isZero(p []byte) bool {
	if len(p) <= 8 {
		return allZero(p)
	}
	return allZero(p[:8]) && bytes.Equal(p[:len(p)-8], p[8:])
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// runs calls f for each run of blocks of size step in p that hold data, as
// offsets into p. A shorter last block counts as one.
func runs(p []byte, step int, f func(from, to int) error) error {
	start := -1
	for i := 0; i < len(p); i += step {
		zero := isZero(p[i:min(i+step, len(p))])
		if zero && start >= 0 {
			if err := f(start, i); err != nil {
				return err
			}
			start = -1
		} else if !zero && start < 0 {
			start = i
		}
	}
	if start < 0 {
		return nil
	}
	return f(start, len(p))
}
