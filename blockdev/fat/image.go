package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
)

// ErrNone says that there is no FAT file system.
var ErrNone = errors.New("no FAT file system")

// Image is a FAT file system that is open for reading. Nothing in it is trusted:
// what cannot be is an error that says where, and a folder, which FAT limits to
// 65536 entries, is the most that is kept in memory.
type Image struct {
	r io.ReaderAt
	// Bits is 12, 16 or 32.
	Bits int

	boot                      []byte
	sector, cluster           int64 // bytes
	fat, fatSize, fats        int64 // bytes, bytes, how many
	root, rootSize, data      int64 // bytes; FAT32 has its root folder in clusters
	rootCluster, clusters     int64
	sectors, reserved, fsInfo int64

	page   [4096]byte // of the FAT
	pageAt int64
	pageOK bool
}

// OpenImage reads the boot sector of a file system that fills size bytes of r. The
// error is ErrNone when there is none.
func OpenImage(r io.ReaderAt, size int64) (*Image, error) {
	v := &Image{r: r, boot: make([]byte, 512)}
	if size < 512 {
		return nil, ErrNone
	}
	if err := v.read(v.boot, 0); err != nil {
		return nil, fmt.Errorf("reading the boot sector: %w", err)
	}
	if !looksLikeFAT(v.boot) {
		return nil, ErrNone
	}
	return v, v.geometry(size)
}

func looksLikeFAT(b []byte) bool {
	sector, per := binary.LittleEndian.Uint16(b[11:]), b[13]
	return b[510] == 0x55 && b[511] == 0xaa && (b[0] == 0xeb || b[0] == 0xe9) &&
		sector >= 512 && sector <= 4096 && bits.OnesCount16(sector) == 1 && bits.OnesCount8(per) == 1 &&
		binary.LittleEndian.Uint16(b[14:]) > 0 && b[16] >= 1 && b[16] <= 4 && b[21] >= 0xf0
}

// geometry computes where things are (fatgen103).
func (v *Image) geometry(size int64) error {
	le, b := binary.LittleEndian, v.boot
	v.sector = int64(le.Uint16(b[11:]))
	v.cluster, v.reserved, v.fats = int64(b[13])*v.sector, int64(le.Uint16(b[14:])), int64(b[16])
	v.sectors, v.fatSize = int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if v.sectors == 0 {
		v.sectors = int64(le.Uint32(b[32:]))
	}
	large := v.fatSize == 0
	if large {
		v.fatSize = int64(le.Uint32(b[36:]))
	}
	v.rootSize = int64(le.Uint16(b[17:])) * entrySize
	rootSectors := (v.rootSize + v.sector - 1) / v.sector
	v.fat, v.root = v.reserved*v.sector, (v.reserved+v.fats*v.fatSize)*v.sector
	v.fatSize *= v.sector
	v.data = v.root + rootSectors*v.sector
	v.clusters = (v.sectors*v.sector - v.data) / v.cluster
	if v.sectors*v.sector > size {
		return fmt.Errorf("boot sector: it counts %d sectors of %d bytes; there are %d bytes", v.sectors, v.sector, size)
	}
	if v.clusters < 1 {
		return fmt.Errorf("boot sector: %d sectors leave no room for files", v.sectors)
	}
	switch {
	case large:
		v.Bits, v.rootCluster, v.fsInfo = 32, int64(le.Uint32(b[44:])), int64(le.Uint16(b[48:]))
	case v.clusters < 4085:
		v.Bits = 12
	default:
		v.Bits = 16
	}
	if need := ((v.clusters+2)*int64(v.Bits) + 7) / 8; need > v.fatSize {
		return fmt.Errorf("boot sector: %d clusters need a FAT of %d bytes; it has %d", v.clusters, need, v.fatSize)
	}
	return nil
}

func (v *Image) read(p []byte, at int64) error {
	n, err := v.r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(p), at, err)
}

// next is a cluster's entry in the first FAT.
func (v *Image) next(cluster int64) (int64, error) {
	at, n := cluster*int64(v.Bits)/8, v.Bits/8
	if v.Bits == 12 {
		n = 2
	}
	var b [4]byte
	for i := range n {
		c, err := v.fatByte(at + int64(i))
		if err != nil {
			return 0, err
		}
		b[i] = c
	}
	e := int64(binary.LittleEndian.Uint32(b[:]))
	switch {
	case v.Bits == 32:
		e &= 0x0fffffff
	case v.Bits == 12 && cluster%2 == 1:
		e >>= 4
	case v.Bits == 12:
		e &= 0xfff
	}
	return e, nil
}

func (v *Image) fatByte(at int64) (byte, error) {
	if page := at &^ 4095; !v.pageOK || page != v.pageAt {
		v.pageOK = false
		if err := v.read(v.page[:min(4096, v.fatSize-page)], v.fat+page); err != nil {
			return 0, err
		}
		v.pageAt, v.pageOK = page, true
	}
	return v.page[at-v.pageAt], nil
}

// clusterRun is a run of clusters, as bytes of the image.
type clusterRun struct{ at, n int64 }

// chain follows at most most clusters. What is longer is cut, for a file's size
// counts; a circle is an error, as it cannot end.
func (v *Image) chain(what string, first, most int64) ([]clusterRun, error) {
	var all []clusterRun
	end := int64(1)<<v.Bits - 8
	if v.Bits == 32 {
		end = 0x0ffffff8
	}
	for n, c := int64(0), first; n < most && (c < end || n == 0); n++ {
		if c < 2 || c >= v.clusters+2 {
			return nil, fmt.Errorf("%s: cluster %d, after %d others, is none; there are 2 to %d", what, c, n, v.clusters+1)
		}
		if n > v.clusters {
			return nil, fmt.Errorf("%s: its clusters go round in a circle", what)
		}
		at := v.data + (c-2)*v.cluster
		if i := len(all) - 1; i >= 0 && all[i].at+all[i].n == at {
			all[i].n += v.cluster
		} else {
			all = append(all, clusterRun{at, v.cluster})
		}
		var err error
		if c, err = v.next(c); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	return all, nil
}

// Fact is one field of the boot sector in words.
type Fact struct{ Name, Value string }

// Facts tells what the boot sector says.
func (v *Image) Facts() []Fact {
	b, le, ext := v.boot, binary.LittleEndian, 36
	if v.Bits == 32 {
		ext = 64
	}
	return []Fact{
		{"FAT", fmt.Sprintf("%d bits", v.Bits)}, {"label", quoted(b[ext+7 : ext+18])},
		{"volume id", fmt.Sprintf("%04X-%04X", le.Uint16(b[ext+5:]), le.Uint16(b[ext+3:]))},
		{"made by", quoted(b[3:11])}, {"sectors", fmt.Sprint(v.sectors)}, {"bytes of a sector", fmt.Sprint(v.sector)},
		{"bytes of a cluster", fmt.Sprint(v.cluster)}, {"clusters", fmt.Sprint(v.clusters)},
		{"reserved sectors", fmt.Sprint(v.reserved)}, {"FATs", fmt.Sprintf("%d of %d bytes", v.fats, v.fatSize)},
		{"entries of the root folder", fmt.Sprint(v.rootSize / entrySize)}, {"media", fmt.Sprintf("%#x", b[21])},
		{"geometry", fmt.Sprintf("%d sectors, %d heads, %d hidden sectors", le.Uint16(b[24:]), le.Uint16(b[26:]), le.Uint32(b[28:]))},
		{"drive", fmt.Sprintf("%#x, state %#x", b[ext], b[ext+1])}, {"type", quoted(b[ext+18 : ext+26])},
		{"root folder", fmt.Sprintf("cluster %d", v.rootCluster)},
	}
}

func quoted(b []byte) string { return fmt.Sprintf("%q", strings.TrimRight(string(b), " ")) }
