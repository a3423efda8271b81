package fat

import "fmt"

// Stretch is a part of the file system with what it belongs to.
type Stretch struct {
	From, To int64 // bytes, To exclusive
	What     string
	// Path is set for a file's or folder's clusters; At is where From is in it.
	Path string
	At   int64
}

// Areas are the parts that are no clusters, in order.
func (v *Image) Areas() []Stretch {
	all := []Stretch{{From: 0, To: 512, What: "boot sector"}}
	if v.Bits == 32 && v.fsInfo > 0 && v.fsInfo < v.reserved {
		at := v.fsInfo * v.sector
		all = append(all, Stretch{From: 512, To: at, What: "reserved sectors"}, Stretch{From: at, To: at + 512, What: "FSInfo"},
			Stretch{From: at + 512, To: v.fat, What: "reserved sectors and the copy of the boot sector"})
	} else {
		all = append(all, Stretch{From: 512, To: v.fat, What: "reserved sectors"})
	}
	for i := range v.fats {
		all = append(all, Stretch{From: v.fat + i*v.fatSize, To: v.fat + (i+1)*v.fatSize, What: fmt.Sprintf("FAT %d", i+1)})
	}
	if v.Bits != 32 {
		all = append(all, Stretch{From: v.root, To: v.data, What: "folder", Path: "/"})
	}
	return all
}

// Stretches are the clusters of a file or folder.
func (v *Image) Stretches(f *File) ([]Stretch, error) {
	if f.root && v.Bits != 32 {
		return nil, nil
	}
	pieces, err := v.pieces(f)
	if err != nil {
		return nil, err
	}
	var all []Stretch
	at := int64(0)
	for _, p := range pieces {
		s := Stretch{From: p.at, To: p.at + p.n, What: "content of file", Path: "/" + f.Path, At: at}
		if f.Folder {
			s.What = "folder"
		}
		all, at = append(all, s), at+p.n
	}
	return all, nil
}
