package lvm

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

const (
	minExtent  = 4096
	maxExtent  = 1 << 40 // its sectors are counted in 32 bits
	minStripe  = 4096
	maxStripes = 128
	maxSize    = 1 << 62 // so that no sum of two overflows
)

// Check tells whether the group can be written: names as LVM allows them, ids,
// sizes, nothing twice, and room for every logical volume. All that is wrong is
// in the error, one cause a line; room is looked at when nothing else is wrong.
func (g Group) Check() error {
	_, err := g.Layout()
	return err
}

func (g Group) checkRules() error {
	errs := []error{CheckGroupName(g.Name), checkID(g.ID), checkTags(g.Tags), checkPlain("host", g.host())}
	if g.unix() < 0 {
		errs = append(errs, fmt.Errorf("time %s: 1970 and later are allowed", g.Time.UTC().Format("2006-01-02")))
	}
	if len(g.Volumes) == 0 {
		errs = append(errs, errors.New("there is no physical volume; at least one is needed"))
	}
	// Other sizes mean nothing without that of an extent.
	if err := g.checkExtentSize(); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, g.checkVolumes()...)
	}
	errs = append(errs, g.checkTwice()...)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("volume group %q: %w", g.Name, err)
	}
	return nil
}

func (g Group) checkExtentSize() error {
	e := g.extentSize()
	if e < minExtent || e > maxExtent || !powerOfTwo(e) {
		return fmt.Errorf("extent size %d: powers of two from %d to %d are allowed", e, minExtent, int64(maxExtent))
	}
	return nil
}

func (g Group) checkVolumes() (errs []error) {
	for i, p := range g.Volumes {
		if err := g.checkPhysical(i, p); err != nil {
			errs = append(errs, fmt.Errorf("physical volume %q: %w", g.pvName(i), err))
		}
	}
	for _, l := range g.Logical {
		if err := g.checkLogical(l); err != nil {
			errs = append(errs, fmt.Errorf("logical volume %q: %w", l.Name, err))
		}
	}
	return errs
}

func (g Group) checkPhysical(i int, p Physical) error {
	if err := errors.Join(checkID(p.ID), checkTags(p.Tags), checkPlain("device", p.Device)); err != nil {
		return err
	}
	if a := p.DataAlignment; a < 0 || a > maxExtent || a%4096 != 0 {
		return fmt.Errorf("data alignment %d: multiples of 4096 up to %d are allowed", a, int64(maxExtent))
	}
	if p.Size < MinPhysical || p.Size > maxSize || p.Size%sector != 0 {
		return fmt.Errorf("size %d: multiples of %d from %d bytes on are allowed", p.Size, sector, MinPhysical)
	}
	if g.Extents(i) == 0 {
		return fmt.Errorf("size %d: no extent of %d bytes has room behind the first %d; at least %d bytes are needed",
			p.Size, g.extentSize(), DataStart(p.DataAlignment), PhysicalSize(1, g.extentSize(), p.DataAlignment))
	}
	return nil
}

func (g Group) checkLogical(l Logical) error {
	if err := errors.Join(CheckLogicalName(g.Name, l.Name), checkID(l.ID), checkTags(l.Tags)); err != nil {
		return err
	}
	e := g.extentSize()
	if l.Size <= 0 || l.Size > maxSize || l.Size%e != 0 {
		return fmt.Errorf("size %d: multiples of the extent size, %d bytes, are allowed", l.Size, e)
	}
	if l.Stripes < 0 || l.Stripes > maxStripes {
		return fmt.Errorf("%d stripes: 1 to %d are allowed", l.Stripes, maxStripes)
	}
	if l.Stripes > len(g.Volumes) {
		return fmt.Errorf("%d stripes need as many physical volumes, and the group has %d", l.Stripes, len(g.Volumes))
	}
	if s := l.stripeSize(e); s < minStripe || s > e || !powerOfTwo(s) {
		return fmt.Errorf("stripe size %d: powers of two from %d to the extent size, %d, are allowed", s, minStripe, e)
	}
	return nil
}

// checkTwice finds names and ids that are there twice.
func (g Group) checkTwice() (errs []error) {
	ids, names := map[string]string{}, map[string]bool{}
	id := func(id, owner string) {
		if other, ok := ids[id]; ok && id != "" {
			errs = append(errs, fmt.Errorf("%s and %s have the same id %s", other, owner, id))
		}
		ids[id] = owner
	}
	id(g.ID, "the group")
	for i, p := range g.Volumes {
		id(p.ID, fmt.Sprintf("physical volume %q", g.pvName(i)))
	}
	for _, l := range g.Logical {
		id(l.ID, fmt.Sprintf("logical volume %q", l.Name))
		if names[l.Name] {
			errs = append(errs, fmt.Errorf("two logical volumes are called %q", l.Name))
		}
		names[l.Name] = true
	}
	return errs
}

// checkRoom compares the sum alone, for the clearest message. Sums stop at
// MaxInt64.
func (g Group) checkRoom() error {
	e := g.extentSize()
	var have, need int64
	for i := range g.Volumes {
		have += g.Extents(i)
	}
	for _, l := range g.Logical {
		if need += g.Rounded(l) / e; need < 0 {
			need = math.MaxInt64 / e
		}
	}
	if have > math.MaxUint32 {
		return fmt.Errorf("volume group %q: its physical volumes have %s, at most %d are allowed; take a larger extent size",
			g.Name, amount(have, e), uint32(math.MaxUint32))
	}
	if need <= have {
		return nil
	}
	var each []string
	for i := range g.Volumes {
		each = append(each, fmt.Sprintf("%q %d", g.pvName(i), g.Extents(i)))
	}
	return fmt.Errorf("volume group %q: its logical volumes need %s, its physical volumes have %s (%s)",
		g.Name, amount(need, e), amount(have, e), strings.Join(each, ", "))
}

// amount says a number of extents in both units.
func amount(extents, size int64) string {
	high, low := bits.Mul64(uint64(extents), uint64(size))
	if high != 0 {
		return fmt.Sprintf("%d extents of %d bytes", extents, size)
	}
	return fmt.Sprintf("%d extents (%d bytes)", extents, low)
}

func powerOfTwo(n int64) bool { return n > 0 && n&(n-1) == 0 }
