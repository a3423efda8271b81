package blockdev

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/lithify/lithify/blockdev/fat"
)

// Single is one file system on its own: no disk around it, no place in a tree.
type Single struct {
	Name       string   // of what it is in, for messages
	FSType     string   // ext2, ext3, ext4, vfat (or fat), xfs, btrfs
	Label      string   // "": none
	UUID       string   // "": derived from the seed
	Options    []string // of the program that makes it: mke2fs, mkfs.fat, mkfs.xfs, mkfs.btrfs
	Release    string   // of the distribution that will read it; chooses the feature profile
	Offset     int64    // bytes
	Size       int64    // bytes; 0: computed from the content, as a disk's is
	SectorSize int      // bytes; 0: 512
}

// SingleTypes are the types that a Single may have, sorted.
func SingleTypes() []string {
	names := slices.DeleteFunc(fsTypeNames(), func(n string) bool { return n == "swap" || n == "fat" })
	slices.Sort(names)
	return names
}

// Plan computes size and ids. c is the content (Measure). Equal seeds, types,
// labels, options and given sizes give equal ids. grow makes a computed size half
// larger, after a *NoSpaceError. What a given size of xfs, btrfs or vfat cannot
// hold is a *SizeError; ext's writer counts for itself, to the last block.
func (s Single) Plan(c Content, seed string, grow bool) (*FSPlan, error) {
	n := &Mkfs{FSType: kernelName(s.FSType), Label: s.Label, Options: s.Options}
	if !slices.Contains(SingleTypes(), n.FSType) {
		return nil, fmt.Errorf("unknown file system %q; %s", s.FSType, allowed(s.FSType, SingleTypes()))
	}
	if err := s.check(n); err != nil {
		return nil, err
	}
	if s.SectorSize == 0 {
		s.SectorSize = 512
	}
	f := &FSPlan{
		Node: s.Name, Base: s.Name, Disk: s.Name, Offset: s.Offset, Size: s.Size, Explicit: s.Size > 0, SectorSize: s.SectorSize,
		FSType: n.FSType, Label: n.Label, Options: s.Options, Profile: profileOf(s.Release), Content: c,
	}
	derive := func(what string) [32]byte {
		return sha256.Sum256(fmt.Appendf(nil, "lithify single 1 %q %q %q %q %q %d", seed, what, f.FSType, f.Label, f.Options, s.Size))
	}
	if f.UUID = n.UUID; f.UUID == "" {
		f.UUID = n.deriveUUID(derive("uuid"))
	}
	f.HashSeed = uuid(derive("hash"))
	if err := f.sizeAlone(grow); err != nil {
		return nil, fmt.Errorf("file system %q: %w", s.Name, err)
	}
	return f, nil
}

// check finds mistakes in label, id and options.
func (s Single) check(n *Mkfs) (err error) {
	if limit := fsTypes[n.FSType].max; len(n.Label) > limit {
		return fmt.Errorf("label %q is too long for %s: %d bytes, at most %d", clip(n.Label), n.FSType, len(n.Label), limit)
	}
	switch n.FSType {
	case "vfat":
		if n.Label, err = fat.CleanLabel(n.Label); err != nil {
			return err
		}
		if s.UUID != "" {
			if n.UUID, err = cleanFATID(s.UUID); err != nil {
				return err
			}
		}
		return fat.ParseOptions(s.Options, new(fat.Options))
	case "btrfs":
		err = checkBtrfsOptions(s.Options)
	}
	if err == nil && s.UUID != "" {
		n.UUID, err = plainUUID(s.UUID)
	}
	return err
}

// sizeAlone settles the size of a file system that is not part of a layout.
func (f *FSPlan) sizeAlone(grow bool) error {
	m := f.model()
	if !f.Explicit {
		wanted, err := m.wants(f, f.Content.Bytes*2/3)
		if err != nil {
			return err
		}
		if grow {
			wanted += wanted / 2
		}
		f.Size = roundUp(wanted, 64*kib)
	}
	m.settle(f)
	if _, ext := m.(extModel); ext || !f.Explicit {
		return nil
	}
	needed, err := m.least(f)
	if err == nil && needed > f.Size {
		err = &SizeError{What: f.FSType, Needed: needed, Given: f.Size, Hint: fmt.Sprintf("content %s, %d files", FormatSize(f.Content.Bytes), f.Content.Inodes)}
	}
	return err
}

// plainUUID writes a UUID as every program reads it.
func plainUUID(s string) (string, error) {
	b, err := uuidBytes(s)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
