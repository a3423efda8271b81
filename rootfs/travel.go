package rootfs

import (
	"context"
	"fmt"
	"time"
)

// Cache carries sealed steps between the stores of several machines. Nothing of
// it can make a build fail: what it cannot do is as if it were not there.
type Cache interface {
	// Fetch puts the newest of a row of steps that it has into the store, sealed
	// under its key. The keys stand on each other, the first on parent. It tells
	// whether it put anything there; the error is that of an ended ctx only.
	Fetch(ctx context.Context, parent Key, keys []Key) (bool, error)
	// Offer names a sealed step that others may want. It returns at once.
	Offer(k Key)
}

// expensive is how long a step runs that is offered though its phase goes on.
// A shorter one is run again more cheaply than looked for and unpacked.
const expensive = 2 * time.Second

func (r *run) offer(k Key) {
	if r.o.Cache != nil && !r.o.Fresh && !r.unkept {
		r.o.Cache.Offer(k)
	}
}

// offerSealed offers what of a phase's sealed steps is worth the way: the last,
// and each that took long.
func (r *run) offerSealed(sealed []made) {
	for i, m := range sealed {
		if i == len(sealed)-1 || m.rec.Took >= expensive {
			r.offer(m.rec.Key)
		}
	}
}

// fetch asks the cache for steps newer than those that are there.
func (r *run) fetch(ctx context.Context, parent Key, keys []Key) (bool, error) {
	if r.o.Cache == nil || len(keys) == 0 {
		return false, nil
	}
	got, err := r.o.Cache.Fetch(ctx, parent, keys)
	if err != nil {
		return false, fmt.Errorf("asking the cache for steps: %w", err)
	}
	return got, nil
}
