package ext4

import "fmt"

// mostLinks is how many names a file can have.
const mostLinks = 65000

type fileKey struct{ dev, ino uint64 }

func (it *item) key() fileKey { return fileKey{it.st.Dev, it.st.Ino} }

// link is a file of which more names may come.
type link struct {
	ino  uint32
	left uint64 // names, by the tree's count
	n    *inode
}

// link returns the file when an earlier name has brought it, and counts the name.
func (v *volume) link(it *item) *link {
	if it.st.Nlink < 2 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.links[it.key()]
	if k == nil {
		return nil
	}
	k.n.links++
	if k.left--; k.left == 0 && k.n.links <= mostLinks {
		v.tables.put(k.ino, k.n)
		delete(v.links, it.key())
	}
	return k
}

// remember keeps the inode of a file with several names until the last is
// there: how many are in this tree, nobody knows before.
func (v *volume) remember(it *item, n *inode) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.links[it.key()] = &link{ino: it.ino, left: uint64(it.st.Nlink) - 1, n: n}
}

// came says whether a file has been written under another name, so that a
// reader may spare its content.
func (v *volume) came(key fileKey) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.links[key] != nil
}

// finishLinks writes the files of which some names are not in this tree.
func (v *volume) finishLinks() error {
	for _, k := range v.links {
		if k.n.links > mostLinks {
			return fmt.Errorf("a file (inode %d) has %d names: allowed: %d", k.ino, k.n.links, mostLinks)
		}
		v.tables.put(k.ino, k.n)
	}
	return nil
}
