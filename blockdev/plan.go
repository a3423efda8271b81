package blockdev

import "slices"

// Plan holds every number of a layout. It is JSON, and it is all that a back
// end, the boot code and hooks need. Sizes and offsets are bytes.
type Plan struct {
	Disks       []DiskPlan   `json:"disks"`
	Volumes     []VolumePlan `json:"volumes,omitempty"` // what is made of devices, bases first
	FileSystems []FSPlan     `json:"filesystems"`       // in the order of their first mounts, then those without one
	Mounts      []FSMount    `json:"mounts"`            // parents before children
	Fstab       string       `json:"fstab"`
	Grown       bool         `json:"grown,omitempty"` // computed sizes are larger, after a first try ran full
}

// DiskPlan is one disk image, or one device.
type DiskPlan struct {
	Node       string          `json:"node"`
	Device     string          `json:"device,omitempty"`    // of a physical disk: it is written onto
	Directory  string          `json:"directory,omitempty"` // of the image file, when the configuration says
	Size       int64           `json:"size"`
	Explicit   bool            `json:"explicit"` // the user gave the size: final
	SectorSize int             `json:"sector_size"`
	Label      string          `json:"label,omitempty"`      // "mbr", "gpt"; "" without a partition table
	DiskID     uint32          `json:"disk_id,omitempty"`    // mbr
	DiskGUID   string          `json:"disk_guid,omitempty"`  // gpt
	Partitions []PartitionPlan `json:"partitions,omitempty"` // in order of their numbers' making
}

// Partition roles. A GPT knows only primary ones.
const (
	RolePrimary  = "primary"
	RoleExtended = "extended" // holds the logical ones; it has no node
	RoleLogical  = "logical"
)

// PartitionPlan is one partition of a disk.
type PartitionPlan struct {
	Node   string `json:"node,omitempty"`
	Number int    `json:"number"` // as the kernel counts: logical ones from 5
	Role   string `json:"role"`
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
	Type   byte   `json:"type,omitempty"` // mbr
	Boot   bool   `json:"boot,omitempty"` // mbr
	EBR    int64  `json:"ebr,omitempty"`  // mbr: where a logical one's own table is

	TypeGUID   string `json:"type_guid,omitempty"` // gpt; GUIDs are in lower case
	GUID       string `json:"guid,omitempty"`
	Name       string `json:"name,omitempty"`
	Attributes uint64 `json:"attributes,omitempty"`
}

// VolumePlan is a volume group, an array or an encrypted volume: one of Group,
// Array and LUKS says which.
type VolumePlan struct {
	Node  string   `json:"node"`
	Bases []string `json:"bases"` // the devices that it lies on, in order
	Size  int64    `json:"size"`  // of the array or encrypted volume; what the extents of a group hold

	Group *GroupPlan `json:"group,omitempty"`
	Array *ArrayPlan `json:"array,omitempty"`
	LUKS  *LUKSPlan  `json:"luks,omitempty"`
}

// GroupPlan is an LVM volume group.
type GroupPlan struct {
	ID        string         `json:"id"`
	Extent    int64          `json:"extent"`
	Alignment int64          `json:"alignment,omitempty"` // of the data, where it is not the usual
	Physical  []PhysicalPlan `json:"physical"`            // beside VolumePlan.Bases
	Logical   []LogicalPlan  `json:"logical"`
}

// PhysicalPlan is a physical volume.
type PhysicalPlan struct {
	Node string `json:"node"`
	ID   string `json:"id"`
	Size int64  `json:"size"` // of its device
}

// LogicalPlan is a logical volume, a device of its own.
type LogicalPlan struct {
	Node       string `json:"node"`
	ID         string `json:"id"`
	Size       int64  `json:"size"`
	Stripes    int    `json:"stripes,omitempty"`
	StripeSize int64  `json:"stripe_size,omitempty"`

	Pool     bool   `json:"pool,omitempty"`      // no device: thin volumes take their blocks from it
	Chunk    int64  `json:"chunk,omitempty"`     // of a pool
	Metadata int64  `json:"metadata,omitempty"`  // of a pool, beside its size; the group keeps as much in reserve
	ThinPool string `json:"thin_pool,omitempty"` // a thin volume's; its size is a promise
}

// ArrayPlan is an md array.
type ArrayPlan struct {
	Level    int      `json:"level"`
	Metadata string   `json:"metadata"`
	Chunk    int64    `json:"chunk,omitempty"`
	Layout   string   `json:"layout,omitempty"`
	Bitmap   bool     `json:"bitmap,omitempty"`
	UUID     string   `json:"uuid"`
	Members  []string `json:"members"`          // their ids
	Sizes    []int64  `json:"sizes"`            // of their devices
	Resync   bool     `json:"resync,omitempty"` // what is not written differs from member to member
}

// LUKSPlan is an encrypted volume. No secret is in it.
type LUKSPlan struct {
	Version    int    `json:"version"`
	UUID       string `json:"uuid"`
	Label      string `json:"label,omitempty"`
	Cipher     string `json:"cipher,omitempty"`
	KeySize    int    `json:"key_size,omitempty"`
	PBKDF      string `json:"pbkdf,omitempty"`
	Iterations int    `json:"iterations,omitempty"`
	SectorSize int    `json:"sector_size,omitempty"`
	Device     int64  `json:"device"` // bytes of what it lies on
	Seeded     bool   `json:"seeded,omitempty"`
}

// FSPlan is one file system: Size bytes at Offset of its disk, or, where Disk is
// empty, all of the volume Base.
type FSPlan struct {
	Node          string   `json:"node"`
	Base          string   `json:"base"` // the device it stands on
	Disk          string   `json:"disk"` // "" on a volume
	Offset        int64    `json:"offset"`
	Size          int64    `json:"size"`
	Explicit      bool     `json:"explicit"` // no part of the size was computed
	SectorSize    int      `json:"sector_size"`
	FSType        string   `json:"fs_type"`
	Label         string   `json:"label"`
	UUID          string   `json:"uuid"`
	HashSeed      string   `json:"hash_seed,omitempty"`
	Options       []string `json:"options,omitempty"`
	BytesPerInode int64    `json:"bytes_per_inode,omitempty"` // 0: the options say
	MountPoint    string   `json:"mount_point,omitempty"`     // of its first mount; "" when it is not mounted
	Subvolumes    []string `json:"subvolumes,omitempty"`      // of btrfs, in the order of the configuration
	Profile       string   `json:"profile,omitempty"`         // of features: what the target's release can read
	ESP           bool     `json:"esp,omitempty"`             // firmware reads it
	Content       Content  `json:"content"`
}

// FSMount is a file system, or one subvolume of it, at its place in the tree.
type FSMount struct {
	Node       string `json:"node"` // the mkfs node
	MountPoint string `json:"mount_point"`
	Subvolume  string `json:"subvolume,omitempty"`
}

// Partition returns the plan of a partition's node and its disk's, nil when there
// is none.
func (p *Plan) Partition(node string) (*PartitionPlan, *DiskPlan) {
	for i := range p.Disks {
		for k := range p.Disks[i].Partitions {
			if pp := &p.Disks[i].Partitions[k]; pp.Node == node && node != "" {
				return pp, &p.Disks[i]
			}
		}
	}
	return nil, nil
}

// Volume returns the plan of the array or encrypted volume that a device is, or
// of the group that it is a logical volume of; nil when it is none.
func (p *Plan) Volume(device string) *VolumePlan {
	for i := range p.Volumes {
		v := &p.Volumes[i]
		if v.Node == device && v.Group == nil || v.Group != nil && slices.ContainsFunc(v.Group.Logical, func(l LogicalPlan) bool { return l.Node == device }) {
			return v
		}
	}
	return nil
}

// Scrambled says whether what was never written to a device does not read as
// zeros: it is encrypted.
func (p *Plan) Scrambled(device string) bool {
	v := p.Volume(device)
	return v != nil && (v.LUKS != nil || slices.ContainsFunc(v.Bases, p.Scrambled))
}

// MountsOf returns the mounts of one file system, parents before children.
func (p *Plan) MountsOf(node string) []FSMount {
	var all []FSMount
	for _, m := range p.Mounts {
		if m.Node == node {
			all = append(all, m)
		}
	}
	return all
}

// Disk returns the plan of a disk node, nil when there is none.
func (p *Plan) Disk(node string) *DiskPlan {
	for i := range p.Disks {
		if p.Disks[i].Node == node {
			return &p.Disks[i]
		}
	}
	return nil
}

// FileSystem returns the plan of the file system at a mount point, nil when
// there is none.
func (p *Plan) FileSystem(mountPoint string) *FSPlan {
	for _, m := range p.Mounts {
		if m.MountPoint == mountPoint {
			return p.MadeBy(m.Node)
		}
	}
	return nil
}

// MadeBy returns the plan of a mkfs node, nil when there is none.
func (p *Plan) MadeBy(node string) *FSPlan {
	for i := range p.FileSystems {
		if p.FileSystems[i].Node == node {
			return &p.FileSystems[i]
		}
	}
	return nil
}

// Content is what a tree puts into one file system.
type Content struct {
	Bytes  int64 `json:"bytes"`  // in blocks of 4 KiB: data, folders, long symlinks, extended attributes
	Inodes int64 `json:"inodes"` // a hard-linked file once
	Dirs   int64 `json:"dirs"`
	// Indirect is what the maps of long files cost in bytes where there are no
	// extents (ext2, ext3).
	Indirect int64 `json:"indirect,omitempty"`
	// Inline is what of Bytes may lie in the inode of other file systems:
	// extended attributes, long symlinks.
	Inline int64 `json:"inline,omitempty"`
}

// Request is what the user says about sizes.
type Request struct {
	ImageSize int64   // bytes of the disk of / where it has no size of its own; 0: computed
	ExtraSize int64   // bytes free on the file system at /; 0: FreeRoom
	FreeRoom  float64 // free room of a computed file system as a share of its content; 0: two thirds
	Grow      bool    // computed sizes by half larger, after a *NoSpaceError
}
