package md_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// model reads an array back from the members alone: what is said in their
// superblocks, and the layouts as md(4) describes them, chunk laid after chunk.
// Nothing of the package's own is in it. It checks copies and parity on the way.
type model struct {
	t                   *testing.T
	level, layout, n    int
	chunk, start, space int64   // bytes; space: of each member for data
	members             []image // their data
}

// image is a member in memory.
type image []byte

func (m image) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

func (m image) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, fmt.Errorf("%d bytes at %d are not in a member of %d", len(p), off, len(m))
	}
	return copy(m[off:], p), nil
}

// findSuper looks where the two versions have their superblock.
func findSuper(m image) []byte {
	for _, at := range []int{4096, (len(m)/512 - 16) / 8 * 4096} {
		if binary.LittleEndian.Uint32(m[at:]) == 0xa92b4efc {
			return m[at : at+4096]
		}
	}
	return nil
}

func newModel(t *testing.T, members []image) *model {
	t.Helper()
	m := &model{t: t, members: make([]image, len(members))}
	for i, member := range members {
		before := m.space
		sb := findSuper(member)
		if sb == nil {
			t.Fatal("a member has no superblock")
		}
		u32 := func(at int) int { return int(binary.LittleEndian.Uint32(sb[at:])) }
		u64 := func(at int) int64 { return int64(binary.LittleEndian.Uint64(sb[at:])) * 512 }
		m.level, m.layout, m.n, m.chunk = u32(72), u32(76), u32(92), int64(u32(88))*512
		m.start, m.space = u64(128), u64(80)
		if m.level == 0 { // no size but that of the data
			m.space = u64(136) / m.chunk * m.chunk
		}
		if i > 0 && m.space != before {
			t.Fatalf("member %d has %d bytes for data, the one before %d: that makes zones", i, m.space, before)
		}
		if m.start+u64(136) > int64(len(member)) || u64(80) > u64(136) {
			t.Fatalf("data of %d bytes at %d of a member of %d, %d used", u64(136), m.start, len(member), m.space)
		}
		role := int(binary.LittleEndian.Uint16(sb[256+2*u32(160):]))
		m.members[role] = member[m.start : m.start+m.space]
	}
	if m.n != len(members) {
		t.Fatalf("%d members, the superblock says %d", len(members), m.n)
	}
	return m
}

// contents is the whole array.
func (m *model) contents() []byte {
	switch m.level {
	case 0:
		return m.near(1)
	case 1:
		for i := range m.members {
			m.same(m.members[0], m.members[i], "copy")
		}
		return m.members[0]
	case 5:
		return m.leftSymmetric()
	}
	near, far := m.layout&0xff, m.layout>>8&0xff
	switch {
	case m.layout>>16 == 1:
		return m.offset(far)
	case far > 1:
		return m.far(far)
	}
	return m.near(near)
}

func (m *model) at(member int, chunk int64) []byte {
	return m.members[member][chunk*m.chunk : (chunk+1)*m.chunk]
}

func (m *model) same(a, b []byte, what string) {
	m.t.Helper()
	if !bytes.Equal(a, b) {
		m.t.Errorf("a %s differs", what)
	}
}

// near deals the chunks out like cards, each of them copies times.
func (m *model) near(copies int) []byte {
	var all []byte
	rows := m.space / m.chunk
	member, row := 0, int64(0)
	for row < rows {
		var first []byte
		for c := range copies {
			if row == rows {
				return all // not all copies have room: the chunk does not count
			}
			if c == 0 {
				first = m.at(member, row)
			}
			m.same(first, m.at(member, row), "near copy")
			if member++; member == m.n {
				member, row = 0, row+1
			}
		}
		all = append(all, first...)
	}
	return all
}

// far has as many sections as copies; each is a raid0, in the later ones every
// chunk is one member further.
func (m *model) far(copies int) []byte {
	var all []byte
	section := m.space / m.chunk / int64(copies)
	for row := range section {
		for member := range m.n {
			for c := range copies {
				m.same(m.at(member, row), m.at((member+c)%m.n, row+int64(c)*section), "far copy")
			}
			all = append(all, m.at(member, row)...)
		}
	}
	return all
}

// offset repeats each row in the rows behind it, turned by one member each time.
func (m *model) offset(copies int) []byte {
	var all []byte
	for row := int64(0); row+int64(copies) <= m.space/m.chunk; row += int64(copies) {
		for member := range m.n {
			for c := range copies {
				m.same(m.at(member, row), m.at((member+c)%m.n, row+int64(c)), "offset copy")
			}
			all = append(all, m.at(member, row)...)
		}
	}
	return all
}

// leftSymmetric: the parity begins on the last member and goes left row by row;
// data begin right of it and wrap around.
func (m *model) leftSymmetric() []byte {
	var all []byte
	parity := m.n - 1
	for row := range m.space / m.chunk {
		sum := make([]byte, m.chunk)
		for member := range m.n {
			for i, b := range m.at(member, row) {
				sum[i] ^= b
			}
		}
		m.same(sum, make([]byte, m.chunk), "parity")
		for member := parity + 1; member < m.n; member++ {
			all = append(all, m.at(member, row)...)
		}
		for member := range parity {
			all = append(all, m.at(member, row)...)
		}
		if parity--; parity < 0 {
			parity = m.n - 1
		}
	}
	return all
}
