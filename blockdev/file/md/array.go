package md

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"time"
)

// Device is a member. It must be as long as Array.Members says: reading within
// that gives all bytes asked for.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// Array describes one array. Level, Members and MemberIDs, UUID and Name are
// needed; Size and MemberSize do without UUID, Name and MemberIDs.
type Array struct {
	Level    int    // 0, 1, 5 or 10
	Metadata string // "1.2", 4 KiB from the members' start (the default), or "1.0", near their end

	UUID     string // 32 hexadecimal digits, as mdadm shows it (6cdc7b69:…) or in RFC form
	Name     string // letters, digits, '.', '_' and '-'; "host:name" gives the host itself
	HomeHost string // put before a Name without one, as mdadm does; may be empty

	Chunk  int64  // bytes, a power of two from 4 KiB to 64 MiB; 0 means 512 KiB. Not for level 1
	Layout string // level 10: n2 (""), n3, …, f2 …, o2 …; level 5: left-symmetric (""); else none

	Members   []int64  // bytes of each member, in order
	MemberIDs []string // device UUID of each, in either form of UUID

	Bitmap       bool // internal write-intent bitmap, as mdadm makes it for arrays of 100 GiB and more. Not for level 0
	AllowUnequal bool // members may differ by more than a chunk (1 MiB where there is none): the difference is lost
	NeedsResync  bool // what was not written differs between the members: see the package's precondition

	Time time.Time // of creation and of the last update, in seconds; the zero Time means 1970
}

const (
	sector       = 512
	defaultChunk = 512 << 10
	minChunk     = 4 << 10
	maxChunk     = 64 << 20
	maxMembers   = 1920    // what a superblock of 4 KiB has roles for
	maxMember    = 1 << 50 // bytes
	maxName      = 31      // bytes, of a field of 32
)

// Check tells whether WriteSuperblocks and Open would accept the array.
func (a Array) Check() error {
	_, err := a.plan()
	if err != nil {
		return err
	}
	_, err = a.identity()
	return err
}

// shape is the part of an Array that says how contents lie on the members.
type shape struct {
	level, n  int
	chunk     int64 // bytes; 0 for level 1
	near, far int   // copies; both 1 for level 0
	offset    bool  // far copies follow their row
}

// shape reads the part of a that does not depend on the members' sizes.
func (a Array) shape(members int) (shape, error) {
	s := shape{level: a.Level, n: members, near: 1, far: 1}
	least := map[int]int{0: 2, 1: 2, 5: 3, 10: 2}[a.Level]
	switch {
	case least == 0:
		return s, fmt.Errorf("level %d is not known; allowed are 0, 1, 5, 10", a.Level)
	case members < least && a.Level == 5:
		return s, fmt.Errorf("raid5 needs three members or more, %d given: with two the parity is a second copy, which raid1 makes cheaper", members)
	case members < least:
		return s, fmt.Errorf("raid%d needs two members or more, %d given", a.Level, members)
	case members > maxMembers:
		return s, fmt.Errorf("%d members; a superblock has room for %d", members, maxMembers)
	}
	if err := s.setChunk(a.Chunk); err != nil {
		return s, err
	}
	return s, s.setLayout(a.Layout)
}

func (s *shape) setChunk(chunk int64) error {
	switch {
	case s.level == 1 && chunk != 0:
		return fmt.Errorf("chunk of %d bytes: raid1 has no chunks", chunk)
	case s.level == 1:
		return nil
	case chunk == 0:
		chunk = defaultChunk
	case chunk < minChunk || chunk > maxChunk || bits.OnesCount64(uint64(chunk)) != 1:
		return fmt.Errorf("chunk of %d bytes: a power of two from %d to %d is allowed", chunk, minChunk, maxChunk)
	}
	s.chunk = chunk
	return nil
}

func (s *shape) setLayout(layout string) error {
	switch {
	case s.level == 10:
		return s.setCopies(layout)
	case layout == "" || s.level == 5 && layout == "left-symmetric":
		return nil
	case s.level == 5:
		return fmt.Errorf("layout %q of raid5 is not supported; allowed is left-symmetric", layout)
	}
	return fmt.Errorf("layout %q: raid%d has no layouts", layout, s.level)
}

// setCopies reads a raid10 layout.
func (s *shape) setCopies(layout string) error {
	if layout == "" {
		layout = "n2"
	}
	copies := int(layout[len(layout)-1] - '0')
	if len(layout) != 2 || !strings.Contains("nfo", layout[:1]) || copies < 2 || copies > 9 {
		return fmt.Errorf("layout %q of raid10 is not known; allowed are n, f or o and a number of copies from 2 to 9, such as n2", layout)
	}
	if copies > s.n {
		return fmt.Errorf("layout %q wants %d copies, there are %d members", layout, copies, s.n)
	}
	if layout[0] == 'n' {
		s.near = copies
	} else {
		s.far, s.offset = copies, layout[0] == 'o'
	}
	return nil
}

// layoutNumber is the layout as the superblock has it.
func (s shape) layoutNumber() uint32 {
	switch {
	case s.level == 0:
		return 1 // the original order of zones; with a single zone all are the same
	case s.level == 5:
		return 2
	case s.level == 10 && s.offset:
		return uint32(1<<16 | s.far<<8 | s.near)
	case s.level == 10:
		return uint32(s.far<<8 | s.near)
	}
	return 0
}

// unit is what each member's size is rounded down to: a chunk; for raid1 64 KiB,
// as mdadm does, so that it can become a raid5.
func (s shape) unit() int64 {
	if s.chunk == 0 {
		return 64 << 10
	}
	return s.chunk
}

// capacity is the bytes of an array whose members have used bytes each.
func (s shape) capacity(used int64) int64 {
	units := used / s.unit()
	switch s.level {
	case 1:
	case 5:
		units *= int64(s.n - 1)
	default:
		units = units / int64(s.far) * int64(s.n) / int64(s.near)
	}
	return units * s.unit()
}

// used is the least number of bytes of each member that gives capacity want.
func (s shape) used(want int64) int64 {
	units := max(1, ceil(want, s.unit()))
	switch s.level {
	case 1:
	case 5:
		units = ceil(units, int64(s.n-1))
	default:
		units = ceil(units*int64(s.near), int64(s.n)) * int64(s.far)
	}
	return units * s.unit()
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

// checkEqual refuses members whose difference would be lost.
func (a Array) checkEqual(s shape) error {
	tolerated := max(s.chunk, 1<<20)
	least, most := 0, 0
	for i, size := range a.Members {
		if size < 0 || size > maxMember {
			return fmt.Errorf("member %d has %d bytes; 0 to %d are allowed", i, size, int64(maxMember))
		}
		if size < a.Members[least] {
			least = i
		}
		if size > a.Members[most] {
			most = i
		}
	}
	if lost := a.Members[most] - a.Members[least]; lost > tolerated && !a.AllowUnequal {
		return fmt.Errorf("member %d has %d bytes and member %d has %d: %d bytes would be lost; make them equal, to %d bytes",
			least, a.Members[least], most, a.Members[most], lost, tolerated)
	}
	return nil
}

var errRaid0Bitmap = errors.New("a write-intent bitmap: raid0 has nothing to resync")
