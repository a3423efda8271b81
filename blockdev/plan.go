package blockdev

// Plan holds every number of a layout. It is JSON, and it is all that a back
// end, the boot code and hooks need. Sizes and offsets are bytes.
type Plan struct {
	Disks       []DiskPlan `json:"disks"`
	FileSystems []FSPlan   `json:"filesystems"` // in mount order, then those without a mount
	Fstab       string     `json:"fstab"`
	Grown       bool       `json:"grown,omitempty"` // computed sizes are larger, after a first try ran full
}

// DiskPlan is one disk image.
type DiskPlan struct {
	Node       string          `json:"node"`
	Directory  string          `json:"directory,omitempty"` // of the image file, when the configuration says
	Size       int64           `json:"size"`
	Explicit   bool            `json:"explicit"` // the user gave the size: final
	SectorSize int             `json:"sector_size"`
	Label      string          `json:"label,omitempty"` // "mbr"; "" without a partition table
	DiskID     uint32          `json:"disk_id,omitempty"`
	Partitions []PartitionPlan `json:"partitions,omitempty"` // in order of their numbers' making
}

// Partition roles in an MBR.
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
	Type   byte   `json:"type"`
	Boot   bool   `json:"boot,omitempty"`
	EBR    int64  `json:"ebr,omitempty"` // where a logical one's own table is
}

// FSPlan is one file system: Size bytes at Offset of its disk.
type FSPlan struct {
	Node          string   `json:"node"`
	Base          string   `json:"base"` // the partition or disk it stands on
	Disk          string   `json:"disk"`
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
	MountPoint    string   `json:"mount_point,omitempty"`     // "" when it is not mounted
	Content       Content  `json:"content"`
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
	for i := range p.FileSystems {
		if f := &p.FileSystems[i]; f.MountPoint == mountPoint && mountPoint != "" {
			return f
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
}

// Request is what the user says about sizes.
type Request struct {
	ImageSize int64   // bytes of every disk without a size of its own; 0: computed
	ExtraSize int64   // bytes free on the file system at /; 0: FreeRoom
	FreeRoom  float64 // free room of a computed file system as a share of its content; 0: two thirds
	Grow      bool    // computed sizes by half larger, after a *NoSpaceError
}
