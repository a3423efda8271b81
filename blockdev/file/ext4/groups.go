package ext4

// group is what its descriptor says.
type group struct {
	blockBitmap, inodeBitmap, table int64
	used                            int64 // blocks
	inodes                          int64 // in use; they are the first ones
	dirs                            int64
	bits                            []byte // of used blocks; nil: none
	touched                         bool   // more is used than a driver can work out by itself
}

// space knows which blocks are used.
type space struct {
	*layout
	groups []group
	cursor int64 // no block for content is free before it
	lacks  int64 // blocks that content got beyond the end
}

// newSpace places the tables of all groups.
func newSpace(l *layout) (*space, error) {
	s := &space{layout: l, groups: make([]group, l.groups), cursor: l.first}
	for g := range s.groups {
		if n := l.copies(int64(g)); n > 0 {
			s.mark(l.groupStart(int64(g)), n)
			s.groups[g].touched = false
		}
	}
	for g := range s.groups {
		if err := s.place(int64(g)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// place gives a group its bitmaps and its table: in its own blocks, or beside
// those of the groups before in the same flex group.
func (s *space) place(g int64) error {
	lead := g / s.flex * s.flex
	last := min(lead+s.flex, int64(len(s.groups))) - 1
	at := &s.groups[g]
	var before group
	if g > lead {
		before = s.groups[g-1]
		before.blockBitmap, before.inodeBitmap, before.table = before.blockBitmap+1, before.inodeBitmap+1, before.table+s.table
	}
	for _, t := range []struct {
		to   *int64
		hint int64 // behind the one of the group before
		next func() int64
		size int64
	}{
		{&at.blockBitmap, before.blockBitmap, func() int64 { return 0 }, 1},
		{&at.inodeBitmap, before.inodeBitmap, func() int64 { return at.blockBitmap + s.stride(lead, last) }, 1},
		{&at.table, before.table, func() int64 { return at.inodeBitmap + s.stride(lead, last) }, s.layout.table},
	} {
		if t.hint == 0 {
			t.hint = t.next()
		}
		if s.flex == 1 {
			t.hint = 0
		}
		start, ok := s.findTable(t.hint, lead, last, (last-g+1)*t.size, t.size)
		if !ok {
			return s.tooSmall(t.size)
		}
		*t.to = start
		s.markTable(g, start, t.size)
	}
	return nil
}

// stride is how far the first bitmap of a kind is from that of another kind: room
// for the groups there are; for one group alone mke2fs leaves room for all.
func (s *space) stride(lead, last int64) int64 {
	if lead == last {
		return s.flex
	}
	return last - lead + 1
}

// findTable finds size free blocks: at the hint; where all that is still to come
// of its kind fits; or anywhere between two groups.
func (s *space) findTable(hint, from, to, all, size int64) (int64, bool) {
	start, end := s.groupStart(from), s.groupEnd(to)
	if hint > 0 && s.isFree(hint, size) {
		return hint, true
	}
	if at, ok := s.findFree(start, end, max(size, min(all, s.perGroup/4))); ok {
		return at, true
	}
	return s.findFree(start, end, size)
}

func (s *space) isFree(at, n int64) bool {
	return at+n <= s.blocks && s.freeRun(at, n) == n
}

// findFree finds the first n free blocks in a row.
func (s *space) findFree(from, to, n int64) (int64, bool) {
	for at := s.nextFree(from, to); at+n <= to; at = s.nextFree(at, to) {
		run := s.freeRun(at, n)
		if run == n {
			return at, true
		}
		at += run
	}
	return 0, false
}

// nextFree returns the first free block of a range, its end when there is none.
func (s *space) nextFree(at, to int64) int64 {
	for at < to {
		g := s.groupOf(at)
		b, i := s.groups[g].bits, at-s.groupStart(g)
		switch {
		case b == nil || b[i/8]&(1<<(i%8)) == 0:
			return at
		case i%8 == 0 && b[i/8] == 0xff:
			at += 8
		default:
			at++
		}
	}
	return to
}

// freeRun counts the free blocks at a place, up to n.
func (s *space) freeRun(at, n int64) int64 {
	from, end := at, min(at+n, s.blocks)
	for at < end {
		g := s.groupOf(at)
		b, i := s.groups[g].bits, at-s.groupStart(g)
		switch {
		case b == nil:
			at = s.groupStart(g + 1)
		case b[i/8]&(1<<(i%8)) != 0:
			return at - from
		case i%8 == 0 && b[i/8] == 0:
			at += min(8, s.groupStart(g+1)-at)
		default:
			at++
		}
	}
	return min(at, end) - from
}

// mark takes n blocks.
func (s *space) mark(at, n int64) {
	for n > 0 {
		g := s.groupOf(at)
		k := min(n, s.groupStart(g+1)-at)
		gr := &s.groups[g]
		if gr.bits == nil {
			gr.bits = make([]byte, s.bs)
		}
		setBits(gr.bits, at-s.groupStart(g), k)
		gr.used += k
		gr.touched = true
		at, n = at+k, n-k
	}
}

// markTable takes blocks for a table of a group. A driver knows of those that
// lie in the group itself.
func (s *space) markTable(g, at, n int64) {
	own := s.groups[g].touched
	s.mark(at, n)
	if s.groupOf(at) == g && s.groupOf(at+n-1) == g {
		s.groups[g].touched = own
	}
}

func setBits(b []byte, at, n int64) {
	for n > 0 && at%8 != 0 {
		b[at/8] |= 1 << (at % 8)
		at, n = at+1, n-1
	}
	for ; n >= 8; at, n = at+8, n-8 {
		b[at/8] = 0xff
	}
	for ; n > 0; at, n = at+1, n-1 {
		b[at/8] |= 1 << (at % 8)
	}
}

// run is blocks in a row.
type run struct{ at, n int64 }

// take gives away the next free blocks, n of them or fewer in a row. When none
// is left they lie beyond the end, so that at last it is known how many lack.
func (s *space) take(n int64) run {
	s.cursor = s.nextFree(s.cursor, s.blocks)
	if s.cursor >= s.blocks {
		r := run{s.blocks + s.lacks, n}
		s.lacks += n
		return r
	}
	r := run{s.cursor, s.freeRun(s.cursor, n)}
	s.mark(r.at, r.n)
	s.cursor += r.n
	return r
}

// takeOne gives away one block.
func (s *space) takeOne() int64 { return s.take(1).at }

func (s *space) freeBlocks() int64 {
	n := s.blocks - s.first
	for g := range s.groups {
		n -= s.groups[g].used
	}
	return n
}
