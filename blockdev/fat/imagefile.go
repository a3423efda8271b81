package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// File is a file or folder of an Image.
type File struct {
	Name   string // the long one where there is one
	Short  string
	Path   string // from the root folder, which is ""
	Folder bool
	Size   int64
	Attr   byte // bits: read-only 1, hidden 2, system 4, volume 8, folder 16, archive 32
	// Times are as they lie there, local: 2006-01-02 15:04:05, to two seconds;
	// Created with hundredths, Accessed a day.
	Modified, Created, Accessed string

	cluster int64
	root    bool
}

const mostEntries = 65536 // of a folder

// Root is the folder at the top.
func (v *Image) Root() *File { return &File{Folder: true, root: true, cluster: v.rootCluster} }

// pieces are where a file's or folder's content lies.
func (v *Image) pieces(f *File) ([]clusterRun, error) {
	what := fmt.Sprintf("%q", "/"+f.Path)
	switch {
	case f.root && v.Bits != 32:
		return []clusterRun{{v.root, v.rootSize}}, nil
	case f.Folder:
		return v.chain("folder "+what, f.cluster, mostEntries*entrySize/v.cluster+1)
	case f.Size == 0:
		return nil, nil
	}
	need := (f.Size + v.cluster - 1) / v.cluster
	all, err := v.chain("file "+what, f.cluster, need)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		need -= p.n / v.cluster
	}
	if need > 0 {
		return nil, fmt.Errorf("file %s: its %d bytes need %d more clusters than it has", what, f.Size, need)
	}
	return all, nil
}

// ReadDir reads what is in a folder, without "." and "..", in the order of the disk.
// The volume's label is among it, in the root folder (Attr 8).
func (v *Image) ReadDir(f *File) ([]*File, error) {
	where, err := v.pieces(f)
	if err != nil {
		return nil, err
	}
	d := folderReader{folder: f}
	b := make([]byte, v.cluster)
	for _, p := range where {
		for at := int64(0); at < p.n && !d.ended; at += v.cluster {
			b = b[:min(v.cluster, p.n-at)]
			if err := v.read(b, p.at+at); err != nil {
				return nil, fmt.Errorf("folder %q: %w", "/"+f.Path, err)
			}
			d.entries(b)
		}
	}
	return d.all, nil
}

// folderReader puts long names together with the entries that they belong to.
type folderReader struct {
	folder *File
	all    []*File
	ended  bool
	long   []uint16
	sum    byte
	due    byte // the order of the part that comes next; 0: none
}

func (d *folderReader) entries(b []byte) {
	for ; len(b) >= entrySize; b = b[entrySize:] {
		switch e := b[:entrySize]; {
		case e[0] == 0:
			d.ended = true
			return
		case e[0] == 0xe5: // removed
			d.due, d.long = 0, nil
		case e[11]&0x3f == attrLong:
			d.part(e)
		default:
			d.entry(e)
		}
	}
}

func (d *folderReader) part(e []byte) {
	if e[0]&0x40 != 0 {
		d.long, d.sum, d.due = nil, e[13], e[0]&0x3f
	} else if d.due--; e[0] != d.due || e[13] != d.sum {
		d.due, d.long = 0, nil
		return
	}
	var units []uint16
	for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		units = append(units, binary.LittleEndian.Uint16(e[at:]))
	}
	d.long = append(units, d.long...)
}

func (d *folderReader) entry(e []byte) {
	le := binary.LittleEndian
	short := shortName(e[:11])
	f := &File{
		Short: shownShort(short), Attr: e[11], Folder: e[11]&attrFolder != 0, Size: int64(le.Uint32(e[28:])),
		Modified: shownTime(le.Uint16(e[24:]), le.Uint16(e[22:])),
		Created:  fmt.Sprintf("%s+%d.%02d", shownTime(le.Uint16(e[16:]), le.Uint16(e[14:])), e[13]/100, e[13]%100),
		Accessed: shownTime(le.Uint16(e[18:]), 0)[:10],
		cluster:  int64(le.Uint16(e[20:]))<<16 | int64(le.Uint16(e[26:])),
	}
	f.Name = f.Short
	if d.due == 1 && d.sum == checksum(short) {
		f.Name = fromUTF16(d.long)
	}
	d.due, d.long = 0, nil
	if f.Short == "." || f.Short == ".." {
		return
	}
	if f.Path = f.Name; d.folder.Path != "" {
		f.Path = d.folder.Path + "/" + f.Name
	}
	d.all = append(d.all, f)
}

func fromUTF16(units []uint16) string {
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

func shownShort(s shortName) string {
	name, ext := strings.TrimRight(string(s[:8]), " "), strings.TrimRight(string(s[8:]), " ")
	if ext != "" {
		name += "." + ext
	}
	return name
}

func shownTime(day, clock uint16) string {
	return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d", 1980+int(day>>9), day>>5&15, day&31, clock>>11, clock>>5&63, clock&31*2)
}

// Reader reads what a file has.
type Reader struct {
	v      *Image
	size   int64
	pieces []clusterRun
}

// Open gives the content of a file. Files that are open at the same time may be
// read at the same time.
func (v *Image) Open(f *File) (*Reader, error) {
	all, err := v.pieces(f)
	return &Reader{v, f.Size, all}, err
}

// ReadAt is io.ReaderAt's.
func (c *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	want := p[:n]
	for _, k := range c.pieces {
		if off >= k.n {
			off -= k.n
			continue
		}
		some := min(k.n-off, int64(len(want)))
		if err := c.v.read(want[:some], k.at+off); err != nil {
			return 0, err
		}
		if want = want[some:]; len(want) == 0 {
			break
		}
		off = 0
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
