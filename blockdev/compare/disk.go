package compare

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// disks compares two disks whose bytes are not equal.
type disks struct {
	ctx    context.Context
	o      Options
	r      *Report
	a, b   region
	ta, tb *table
	// diff is of the bytes that both have.
	diff *difference
}

func (d *disks) compare() error {
	if d.a.size != d.b.size {
		d.r.section("disk", d.o).change("", "size", bytesText(d.a.size), bytesText(d.b.size))
	}
	var errA, errB error
	d.ta, errA = readTable(d.a)
	d.tb, errB = readTable(d.b)
	s := d.r.section("partition table", d.o)
	if err := sideErrors(errA, errB); err != nil {
		s.note("%v", err)
	}
	if d.ta.label == "" && d.tb.label == "" {
		return d.fileSystem("disk", d.a, d.b, d.diff.spans)
	}
	if d.ta.label != d.tb.label {
		s.change("", "kind", orNone(d.ta.label), orNone(d.tb.label))
		d.bytes(s, "", d.a, d.b, 0)
		return nil
	}
	d.table(s)
	d.areas(s)
	for _, p := range d.pairs() {
		if err := d.partition(s, p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

func bytesText(n int64) string { return fmt.Sprintf("%d bytes", n) }

func (d *disks) table(s *Section) {
	compareFacts(s, "", d.ta.facts, d.tb.facts, d.o)
}

// compareFacts tells of facts that differ, one difference each.
func compareFacts(s *Section, item string, a, b []fact, o Options) {
	for _, fa := range a {
		for _, fb := range b {
			if fa.name == fb.name && fa.value != fb.value && !(o.IgnoreTimes && slices.Contains(superTimes, fa.name)) {
				s.change(item, fa.name, fa.value, fb.value)
			}
		}
	}
}

// superTimes are facts of superblocks that IgnoreTimes leaves out.
var superTimes = []string{"made", "last mounted", "last written", "last checked", "kilobytes ever written"}

// pairs puts partitions of one number together; one of two may be missing.
func (d *disks) pairs() [][2]*partition {
	by := map[int]*[2]*partition{}
	for side, t := range []*table{d.ta, d.tb} {
		for i := range t.parts {
			p := &t.parts[i]
			if by[p.number] == nil {
				by[p.number] = &[2]*partition{}
			}
			by[p.number][side] = p
		}
	}
	var all [][2]*partition
	for _, p := range by {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b [2]*partition) int { return cmp.Compare(numberOf(a), numberOf(b)) })
	return all
}

func numberOf(p [2]*partition) int {
	if p[0] != nil {
		return p[0].number
	}
	return p[1].number
}

func (d *disks) partition(s *Section, a, b *partition) error {
	item := fmt.Sprintf("partition %d", numberOf([2]*partition{a, b}))
	if a == nil || b == nil {
		c := Change{What: onlyIn}
		if a != nil {
			c.A = partText(a)
		} else {
			c.B = partText(b)
		}
		s.add(Difference{Item: item, Changes: []Change{c}})
		return nil
	}
	s.change(item, "start", bytesText(a.start), bytesText(b.start))
	s.change(item, "size", bytesText(a.size), bytesText(b.size))
	compareFacts(s, item, a.facts, b.facts, d.o)
	for _, side := range []struct {
		p    *partition
		d    region
		name string
	}{{a, d.a, "A"}, {b, d.b, "B"}} {
		if side.p.size < 0 || side.p.start > side.d.size || side.p.size > side.d.size-side.p.start {
			s.note("%s: %s goes to byte %d, beyond the end of the disk", side.name, item, side.p.start+side.p.size)
		}
	}
	if a.extended {
		return nil
	}
	pa, pb := d.a.part(a.start, a.size), d.b.part(b.start, b.size)
	var spans []span
	if a.start == b.start {
		spans = d.diff.within(a.start, min(pa.size, pb.size))
	} else {
		found, err := differ(d.ctx, pa, pb, min(pa.size, pb.size))
		if err != nil {
			return err
		}
		spans = found.spans
	}
	if len(spans) == 0 && pa.size == pb.size {
		return nil
	}
	return d.fileSystem(item, pa, pb, spans)
}

func partText(p *partition) string {
	return fmt.Sprintf("bytes %d to %d", p.start, p.start+p.size-1)
}

// areas compares what lies outside of partitions.
func (d *disks) areas(s *Section) {
	layout := func(t *table) string {
		text := ""
		for _, p := range t.parts {
			text += fmt.Sprintln(p.number, p.start, p.size)
		}
		return text
	}
	same := layout(d.ta) == layout(d.tb)
	if !same {
		s.note("partitions lie at different places: of what lies outside of them only the boot code is compared")
	}
	tableDiffers := s.found() > 0 || !sameParts(d.ta, d.tb)
	for _, a := range d.outside() {
		if !same && a.name != "boot code" || a.table && tableDiffers {
			continue
		}
		if len(d.diff.within(a.from, a.to-a.from)) > 0 {
			item := fmt.Sprintf("%s (bytes %d to %d)", a.name, a.from, a.to-1)
			d.bytes(s, item, d.a.part(a.from, a.to-a.from), d.b.part(a.from, a.to-a.from), a.from)
		}
	}
}

func sameParts(a, b *table) bool {
	return slices.EqualFunc(a.parts, b.parts, func(p, q partition) bool {
		return p.start == q.start && p.size == q.size && slices.Equal(p.facts, q.facts)
	})
}

// outside is the disk of A without its partitions, in order, cut where areas with
// a name begin and end.
func (d *disks) outside() []area {
	known := slices.Clone(d.ta.areas)
	for _, p := range d.ta.parts {
		if !p.extended {
			known = append(known, area{from: p.start, to: p.start + p.size})
		}
	}
	slices.SortFunc(known, func(a, b area) int { return cmp.Compare(a.from, b.from) })
	var all []area
	at := int64(0)
	for _, k := range append(known, area{from: d.a.size, to: d.a.size}) {
		if k.from > at {
			all = append(all, area{at, k.from, "gap", false})
		}
		if k.name != "" {
			all = append(all, k)
		}
		at = max(at, k.to)
	}
	return all
}

// bytes tells of two stretches what can be told of any: where they differ first,
// and by how much. base is added to places.
func (d *disks) bytes(s *Section, item string, a, b region, base int64) {
	found, err := differ(d.ctx, a, b, min(a.size, b.size))
	switch {
	case err != nil:
		s.note("%s: %v", item, err)
	case found.any():
		first := base + found.first
		s.add(Difference{Item: item, First: &first, Bytes: found.bytes,
			Changes: []Change{{What: theContent}}, Detail: excerpts(a, b, found.first, base)})
	case a.size != b.size:
		s.note("the first %d bytes are equal", min(a.size, b.size))
	}
}
