package blockdev

import (
	"fmt"
	"time"

	"github.com/lithify/lithify/blockdev/luks"
	"github.com/lithify/lithify/blockdev/lvm"
	"github.com/lithify/lithify/blockdev/md"
)

// What packages lvm, md and luks are told of a node or of its plan.

func (v *VolumeGroup) extents(device int64) int64 {
	return max(0, device-lvm.DataStart(v.Alignment)) / v.Extent
}

func (v *VolumeGroup) physicalSize(extents int64) int64 {
	return lvm.PhysicalSize(extents, v.Extent, v.Alignment)
}

func (e *Encrypted) overhead() int64 { return luks.Overhead(e.luks()) }

// luks is the volume without its size and id.
func (e *Encrypted) luks() luks.Options {
	return luks.Options{Version: e.Version, UUID: e.ownUUID, Label: e.Label, SectorSize: e.SectorSize, Cipher: e.Cipher, KeySize: e.KeySize,
		PBKDF: luks.PBKDF{Kind: e.PBKDF, Iterations: e.Iterations}}
}

// md is the array without sizes and ids.
func (a *Array) md() md.Array {
	return md.Array{Level: a.Level, Metadata: a.Metadata, Chunk: a.Chunk, Layout: a.Layout, Bitmap: a.Bitmap, Name: a.name}
}

func (a *Array) memberSize(want int64) int64 {
	return md.MemberSize(a.Level, len(a.bases), want, a.md())
}

func (a *Array) sizeOf(members []int64) (int64, error) {
	o := a.md()
	o.Members = members
	return o.Size()
}

// LVM is the group of a plan as package lvm writes it, made at a time.
func (p *VolumePlan) LVM(at time.Time) lvm.Group {
	g := lvm.Group{Name: p.Node, ID: p.Group.ID, ExtentSize: p.Group.Extent, Time: at}
	for _, v := range p.Group.Physical {
		g.Volumes = append(g.Volumes, lvm.Physical{Name: v.Node, ID: v.ID, Size: v.Size, DataAlignment: p.Group.Alignment})
	}
	for _, l := range p.Group.Logical {
		g.Logical = append(g.Logical, lvm.Logical{Name: l.Node, ID: l.ID, Size: l.Size, Stripes: l.Stripes, StripeSize: l.StripeSize})
	}
	return g
}

// MD is the array of a plan as package md writes it, made at a time.
func (p *VolumePlan) MD(at time.Time) md.Array {
	a := p.Array
	return md.Array{Level: a.Level, Metadata: a.Metadata, UUID: a.UUID, Name: p.Node, Chunk: a.Chunk, Layout: a.Layout,
		Members: a.Sizes, MemberIDs: a.Members, Bitmap: a.Bitmap, NeedsResync: a.Resync, Time: at}
}

// Encryption is the volume of a plan as package luks writes it, without a seed.
func (p *VolumePlan) Encryption() luks.Options {
	l := p.LUKS
	return luks.Options{Version: l.Version, UUID: l.UUID, Label: l.Label, SectorSize: l.SectorSize, Cipher: l.Cipher, KeySize: l.KeySize,
		PBKDF: luks.PBKDF{Kind: l.PBKDF, Iterations: l.Iterations}, Size: l.Device}
}

// checkLayout has package md look at what the configuration says, as far as it
// goes without sizes.
func (a *Array) checkLayout() error {
	o := a.md()
	for range a.bases {
		o.Members = append(o.Members, 10*gib)
	}
	if _, err := o.Size(); err != nil {
		return fmt.Errorf("array %q: %w", a.name, err)
	}
	return nil
}
