package main

import (
	"math"
	"math/big"
	"regexp"
)

// sizeUnits are the block-device configuration's units, so that a size means
// the same in both places.
var sizeUnits = map[string]int64{
	"B": 1, "K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var sizeShape = regexp.MustCompile(`^([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}) ?([A-Za-z]*)$`)

// parseSize reads a number with an optional unit and returns whole bytes,
// rounded down. Without a unit it counts in the given one, which unitName names
// for messages.
func parseSize(where, v string, unit int64, unitName string) (int64, error) {
	parts := sizeShape.FindStringSubmatch(v)
	if parts == nil {
		return 0, usagef("%s: %q is not a size; give a number of %s, or a number with a unit, such as 5GiB", where, v, unitName)
	}
	if parts[2] != "" {
		var ok bool
		if unit, ok = sizeUnits[parts[2]]; !ok {
			return 0, usagef("%s: unknown unit %q in %q; units are KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers of 1000) and B",
				where, parts[2], v)
		}
	}
	number, _ := new(big.Rat).SetString(parts[1])
	number.Mul(number, new(big.Rat).SetInt64(unit))
	whole := new(big.Int).Quo(number.Num(), number.Denom())
	if !whole.IsInt64() || whole.Int64() > math.MaxInt64/2 {
		return 0, usagef("%s: %q is more than any disk holds", where, v)
	}
	return whole.Int64(), nil
}
